import pytest

from app.grid import Box, whole
from app.models.engine import Model
from app.system.definition import Stage
from app.system.rules import OrganBox
from evaluation.maintenance.box_figures import box_ratio, measure, recall, table, tightest_box
from evaluation.maintenance.phase_one import Localiser
from tests.evaluation.maintenance.example_case import case
from tests.models import LOCALISER, nothing, tissue_is_liver

STAGE = Stage("localiser", "openvino-int8", "f32")
RULE = OrganBox(min_component_ml=0.0, min_component_share=0.0, margin_mm=0.0)


def known(engine=None):
    return Localiser(Model(LOCALISER, engine or tissue_is_liver(LOCALISER)), STAGE, RULE)


def test_recall_counts_organ_voxels_in_the_box():
    labels = case().labels
    assert recall(labels, Box((8, 4, 4), (24, 12, 12))) == 1
    assert recall(labels, Box((8, 4, 4), (16, 12, 12))) == 0.5
    assert recall(labels, Box((0, 0, 0), (8, 4, 4))) == 0
    assert recall(labels, None) == 1  # all of it is processed
    assert recall(labels * 0, Box((0, 0, 0), (1, 1, 1))) == 1


def test_the_box_against_the_tightest_one():
    one = case()
    assert tightest_box(one.labels) == Box((8, 4, 4), (24, 12, 12))
    assert box_ratio(one.labels, tightest_box(one.labels), one.grid) == 1
    assert box_ratio(one.labels, None, one.grid) == pytest.approx(8)
    assert box_ratio(one.labels, whole(one.grid), one.grid) == pytest.approx(8)


def test_a_perfect_localiser_and_one_that_sees_nothing():
    one, other = case(), case("b")
    figures = measure(one, [other], known())
    assert (figures.recall, figures.worst_slab_recall, figures.padded_recall) == (1, 1, 1)
    assert figures.stitched_recall == 1
    assert figures.box_ratio == pytest.approx(1)
    assert figures.dice["liver"] == pytest.approx(1, abs=0.06)  # 32 voxels a side against 128
    blind = measure(one, [other], known(nothing))
    assert (blind.recall, blind.box_ratio, blind.dice["liver"]) == (1, pytest.approx(8), 0)
    assert blind.slabs_without_box == blind.slabs
    assert blind.without_box == ("scan", "padded", "stitched")
    assert "a: nothing found in it scan, padded, stitched" in table([blind])


def test_a_localiser_that_cuts_is_seen():
    def upper_half(volume):
        scores = tissue_is_liver(LOCALISER)(volume)
        scores[1, : volume.shape[0] // 2] = -1
        return scores

    figures = measure(case(), [case("b")], known(upper_half))
    assert figures.recall == pytest.approx(0.5)
    assert figures.worst_slab_recall <= 0.5
    assert "0.5000" in table([figures])
