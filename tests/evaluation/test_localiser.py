import json
import sys

import numpy as np
import pytest

from app.grid import Box, Grid, whole
from app.models.engine import Model
from app.system.definition import Stage
from app.system.rules import OrganBox
from evaluation import localiser
from evaluation.localiser import Case, Localiser, box_ratio, padded, recall, slabs, stitched, tightest_box
from tests.models import LOCALISER, nothing, tissue_is_liver
from tests.shared import SHARED, needs_cases

STAGE = Stage("localiser", "openvino-int8", "f32")
RULE = OrganBox(min_component_ml=0.0, min_component_share=0.0, margin_mm=0.0)


def case(name="a", shape=(32, 16, 16), organ=(slice(8, 24), slice(4, 12), slice(4, 12)), spacing=(10.0, 5.0, 5.0)):
    """A block of tissue, all of it liver, in air."""
    labels = np.zeros(shape, np.uint8)
    labels[organ] = 1
    voxels = np.where(labels, 40, -1000).astype(np.int16)
    return Case(name, voxels, labels, Grid(shape, spacing))


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


def test_slabs_go_from_end_to_end():
    cuts = slabs(case(), 100.0, 40.0)  # 32 slices of 10 mm: 10 slices each, from 0, 4, ... and the last possible
    assert [cut.name for cut in cuts] == [f"a[{start}:{start + 10}]" for start in (0, 4, 8, 12, 16, 20, 22)]
    assert all(cut.grid.shape == (10, 16, 16) for cut in cuts)
    assert cuts[2].labels.all(axis=0)[4:12, 4:12].all()
    assert len(slabs(case(), 1000.0, 40.0)) == 1  # a scan that is lower than a slab


def test_padding_keeps_the_scan_in_the_middle_of_air():
    body = padded(case(), 1200.0)
    assert body.grid.shape == (120, 16, 16)
    assert (body.voxels[:44] == -1024).all()
    assert (body.voxels[44:76] == case().voxels).all()
    assert body.labels.sum() == case().labels.sum()
    assert padded(case(), 100.0).grid.shape == (32, 16, 16)


def test_stitching_end_to_end_with_the_narrower_amid_air():
    narrow = case("b", (32, 8, 16), (slice(8, 24), slice(2, 6), slice(4, 12)))
    body = stitched([case(), narrow], 700.0)
    assert body.grid.shape == (70, 16, 16)  # 32 + 32 + 6 slices of the first again
    assert (body.labels[:32] == case().labels).all()
    assert (body.labels[32:64, 4:12] == narrow.labels).all()
    assert (body.voxels[32:64, :4] == -1024).all()
    other = stitched([case(), case(spacing=(5.0, 5.0, 5.0)), narrow], 640.0)  # the second has another spacing
    assert (other.labels[32:64, 4:12] == narrow.labels).all()


def test_a_perfect_localiser_and_one_that_sees_nothing():
    one, other = case(), case("b")
    figures = localiser.measure(one, [other], known())
    assert (figures.recall, figures.worst_slab_recall, figures.padded_recall) == (1, 1, 1)
    assert figures.stitched_recall == 1
    assert figures.box_ratio == pytest.approx(1)
    assert figures.dice["liver"] == pytest.approx(1, abs=0.06)  # 32 voxels a side against 128
    blind = localiser.measure(one, [other], known(nothing))
    assert (blind.recall, blind.box_ratio, blind.dice["liver"]) == (1, pytest.approx(8), 0)
    assert blind.slabs_without_box == blind.slabs
    assert blind.without_box == ("scan", "padded", "stitched")
    assert "a: nothing found in it scan, padded, stitched" in localiser.table([blind])


def test_a_localiser_that_cuts_is_seen():
    def upper_half(volume):
        scores = tissue_is_liver(LOCALISER)(volume)
        scores[1, : volume.shape[0] // 2] = -1
        return scores

    figures = localiser.measure(case(), [case("b")], known(upper_half))
    assert figures.recall == pytest.approx(0.5)
    assert figures.worst_slab_recall <= 0.5
    assert "0.5000" in localiser.table([figures])


@needs_cases
@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    for name in ("chaos_3_0000.nii.gz", "chaos_3.nii.gz"):
        (tmp_path / name).symlink_to(SHARED / "data" / "val" / name)
    arguments = [str(tmp_path), "--engine", "openvino-int8", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["localiser", *arguments])
    localiser.main()
    row = json.loads((tmp_path / "out.json").read_text())["openvino-int8"][0]
    assert row["recall"] >= 0.995
    assert row["dice"]["liver"] > 0.8
    assert "chaos_3" in capsys.readouterr().out


def test_no_scans(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["localiser", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        localiser.main()
    assert stopped.value.code == 2
    assert "no scans" in capsys.readouterr().err
