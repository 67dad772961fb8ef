from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

from app.grid import Box, Grid
from app.models.engine import Model
from app.run.stage import run_stage
from app.system.definition import Stage
from app.system.rules import Cleaning, LargeParts, LargeRegionsIfUnlocated
from tests.models import FINE, LOCALISER, tissue_is_liver

GRID = Grid((32, 16, 48), (5.0, 4.0, 3.0))
STAGE = Stage("any", "openvino-int8", "f32")


def run(voxels, box=None, stage=STAGE, bundle=LOCALISER, engine=None, **choices):
    model = Model(bundle, engine or tissue_is_liver(bundle))
    return run_stage(voxels, GRID, box, stage, model, timed=lambda _: nullcontext(), **choices)


def block():
    """Tissue in air, z 8..16, y 4..12, x 12..24."""
    voxels = np.full(GRID.shape, -1000, np.int16)
    voxels[8:16, 4:12, 12:24] = 40
    return voxels


def test_a_model_of_a_shape_sees_all_at_once_on_its_own_grid():
    answer = run(block())
    assert answer.labels.shape == LOCALISER.shape == GRID.shape
    assert answer.scores.shape == (14, *GRID.shape)
    assert ((answer.labels == 1) == (block() > 0)).all()
    assert answer.box == Box((0, 0, 0), GRID.shape)


def test_a_model_of_a_spacing_sees_the_box_on_a_grid_of_its_extent():
    """Of 10 x 12 x 20 voxels, 50 x 48 x 60 mm, at 4 x 3 x 2 mm: 12 (of 12.5), 16 and 30."""
    box = Box((6, 2, 8), (16, 14, 28))
    answer = run(block(), box, bundle=FINE)
    assert answer.labels.shape == (12, 16, 30)
    assert answer.box == box
    assert not answer.labels[:2].any()
    assert answer.labels[3:, 4:12, 8:22].all()


def test_the_grid_is_told_before_anything_is_made_on_it():
    told = []

    def refuse(grid, bundle):
        told.append((grid.shape, bundle.name))
        raise MemoryError

    with pytest.raises(MemoryError):
        run(block(), bundle=FINE, engine=lambda _: pytest.fail("the network was run"), check=refuse)
    assert told == [((40, 21, 72), "fine")]


def two_parts():
    """Liver of 24 voxels, 1.44 ml, and one of 12, 0.72 ml."""
    voxels = np.full(GRID.shape, -1000, np.int16)
    voxels[4:8, 4:6, 4:7] = 40
    voxels[20:22, 4:6, 4:7] = 40
    return voxels


def test_scores_follow_what_the_rules_leave():
    plain = run(two_parts())
    cleaned = run(two_parts(), stage=replace(STAGE, clean=(LargeParts(0.6), LargeRegionsIfUnlocated(1.0))))
    assert plain.labels[20:22].any()
    assert not cleaned.labels[20:22].any()
    assert (cleaned.labels[:16] == plain.labels[:16]).all()
    assert (cleaned.scores.argmax(0) == cleaned.labels).all()


def test_rules_are_told_whether_there_was_a_box():
    large = replace(STAGE, clean=(LargeRegionsIfUnlocated(1.5),))
    assert not run(two_parts(), stage=large).labels.any()
    located = run(two_parts(), Box((0, 0, 0), GRID.shape), stage=large)
    assert (located.labels == run(two_parts()).labels).all()


def test_rules_are_applied_in_their_order():
    """The small part of the liver lies beside spleen, 2.16 ml together: it is the largest once the other has gone."""
    voxels = two_parts()
    voxels[22:26, 4:6, 4:7] = 900
    parts, regions = LargeParts(0.6), LargeRegionsIfUnlocated(2.0)
    assert not run(voxels, stage=replace(STAGE, clean=(parts, regions))).labels.any()
    left = run(voxels, stage=replace(STAGE, clean=(regions, parts))).labels
    assert np.bincount(left.ravel()).tolist() == [left.size - 36, 12, 0, 24]
    assert (left[20:22, 4:6, 4:7] == 1).all()


class Everything(Cleaning):
    """Liver becomes spleen, in a new array or in place."""

    def __init__(self, in_place):
        self.in_place = in_place

    def __call__(self, labels, grid, seen):
        del grid, seen
        changed = labels if self.in_place else labels.copy()
        changed[changed == 1] = 3
        return changed


def test_a_rule_may_rename_and_the_scores_follow():
    answer = run(block(), stage=replace(STAGE, clean=(Everything(in_place=False),)))
    assert set(np.unique(answer.labels)) == {0, 3}
    assert (answer.scores.argmax(0) == answer.labels).all()


def test_a_rule_that_works_in_place_is_stopped():
    with pytest.raises(ValueError, match="read-only"):
        run(block(), stage=replace(STAGE, clean=(Everything(in_place=True),)))


def test_rules_measure_on_the_grid_of_the_labels_which_may_be_coarser_than_the_models():
    """The block is 46 ml, on whatever grid: of scores half as fine 96 voxels of 0.48 ml."""

    def half(volume):
        return tissue_is_liver(LOCALISER)(volume)[:, ::2, ::2, ::2]

    for least, kept in ((45.0, True), (47.0, False)):
        stage = replace(STAGE, clean=(LargeRegionsIfUnlocated(least),))
        assert bool(run(block(), stage=stage, engine=half).labels.any()) == kept
