"""Restore, against interpolating every score at every voxel in float64."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.alignment import ALIGNMENTS, CORNERS, FIRST_VOXEL, positions
from app.grid import Box, Grid, grid_at_spacing, grid_from_first_voxel, grid_of_shape, whole
from app.models.bundle import Resampling
from app.steps.classify import classify
from app.steps.resample import resample
from app.steps.restore import restore


def interpolate_every_voxel_then_argmax(scores, shape):
    return interpolate_every_voxel(scores, shape).argmax(0).astype(np.uint8)


def interpolate_every_voxel(scores, shape):
    """Plain and slow: each axis in turn, every class at full resolution."""
    full = scores.astype(np.float64)
    for axis, size in enumerate(shape, 1):
        fine = full.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * fine / size - 0.5, 0, fine - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, fine - 1)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        full = full.take(low, axis) * (1 - weight) + full.take(high, axis) * weight
    return full


@pytest.mark.parametrize(
    ("fine", "shape"),
    [
        pytest.param((1, 1, 1), (1, 1, 1), id="one voxel"),
        pytest.param((1, 1, 1), (3, 4, 5), id="one fine voxel for all"),
        pytest.param((1, 5, 4), (7, 9, 1), id="one slice, one column"),
        pytest.param((4, 5, 6), (4, 5, 6), id="same grid"),
        pytest.param((9, 8, 7), (4, 3, 5), id="coarser than the fine grid"),
        pytest.param((6, 7, 8), (23, 31, 17), id="finer than the fine grid"),
        pytest.param((2, 9, 3), (40, 9, 6), id="mixed"),
    ],
)
def test_restore_equals_the_plain_interpolation(fine, shape):
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(14, *fine)).astype(np.float32)
    box = Box((0, 0, 0), shape)
    got = restore(scores, classify(scores), box, Grid(shape, (1.0, 1.0, 1.0)))
    assert_array_equal(got, interpolate_every_voxel_then_argmax(scores, shape), strict=True)


def test_quantised_scores_are_restored_as_the_same_in_float32():
    scores = np.random.default_rng(4).integers(-16384, 16256, size=(14, 6, 7, 8)).astype(np.int16)
    box, grid = Box((0, 0, 0), (23, 31, 17)), Grid((23, 31, 17), (1.0, 1.0, 1.0))
    got = restore(scores, classify(scores), box, grid)
    assert_array_equal(got, interpolate_every_voxel_then_argmax(scores, grid.shape), strict=True)


def test_restore_of_smooth_scores_takes_the_short_way_and_is_still_exact():
    """Large uniform areas: most cells have eight equal corners and are never interpolated."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (12, 14, 16)), indexing="ij")
    scores = np.stack([np.full_like(z, 0.5), 1 - z**2 - y**2 - x**2, x - 0.4]).astype(np.float32)
    shape = (31, 45, 37)
    got = restore(scores, classify(scores), Box((0, 0, 0), shape), Grid(shape, (1.0, 1.0, 1.0)), threads=2)
    assert set(np.unique(got)) == {0, 1, 2}
    assert_array_equal(got, interpolate_every_voxel_then_argmax(scores, shape), strict=True)


def test_outside_the_box_is_background():
    scores = np.zeros((2, 1, 1, 1), np.float32)
    scores[1] = 1
    got = restore(scores, classify(scores), Box((0, 1, 2), (1, 2, 4)), Grid((1, 3, 5), (1.0, 1.0, 1.0)))
    assert_array_equal(got, np.array([[[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]]], np.uint8), strict=True)


def test_a_class_that_wins_between_two_others_is_found():
    """Second everywhere, first in the middle: only a true interpolation of all classes sees it."""
    scores = np.array([[[[10.0, 0.0]]], [[[9.0, 9.0]]], [[[0.0, 10.0]]]], np.float32)
    got = restore(scores, classify(scores), Box((0, 0, 0), (1, 1, 8)), Grid((1, 1, 8), (1.0, 1.0, 1.0)))
    # at x = 0.5 voxels a quarter of a fine voxel apart: weights of the right one 0, 0, 1/8, 3/8, 5/8, 7/8, 1, 1
    assert_array_equal(got, np.array([[[0, 0, 1, 1, 1, 1, 2, 2]]], np.uint8), strict=True)


def test_slabs_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    scores = rng.normal(size=(5, 6, 7, 8)).astype(np.float32)
    shape = (21, 13, 20)
    arguments = (scores, classify(scores), Box((0, 0, 0), shape), Grid(shape, (1.0, 1.0, 1.0)))
    whole = restore(*arguments)
    monkeypatch.setattr("app.steps.restore.SLAB_VOXELS", 1)
    monkeypatch.setattr("app.steps.restore.POINTS_AT_ONCE", 7)
    assert_array_equal(restore(*arguments, threads=3), whole, strict=True)


def test_where_the_winners_agree_no_score_is_looked_at():
    """Labels are what counts there: 1 % of a scan is interpolated, not all of it."""
    scores = np.zeros((3, 2, 3, 4), np.float32)
    scores[2] = 1  # as if the third class won
    labels = np.ones((2, 3, 4), np.uint8)
    got = restore(scores, labels, Box((0, 0, 0), (5, 6, 7)), Grid((5, 6, 7), (1.0, 1.0, 1.0)))
    assert_array_equal(got, np.ones((5, 6, 7), np.uint8), strict=True)


def interpolate_at(scores, positions):
    """Plain and slow: every class at every position, each axis in turn; beyond the outermost centres the edge."""
    full = scores.astype(np.float64)
    for axis, position in enumerate(positions, 1):
        fine = full.shape[axis]
        position = np.clip(position, 0, fine - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, fine - 1)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        full = full.take(low, axis) * (1 - weight) + full.take(high, axis) * weight
    return full.argmax(0).astype(np.uint8)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((1, 1, 1), (1.0, 1.0, 1.0)), ((13, 6, 2), (2.5, 0.8, 0.7)), ((4, 1, 9), (0.5, 3.0, 1.9))],
)
def test_restore_equals_the_plain_interpolation_however_it_is_aligned(shape, spacing, alignment):
    grid, wanted = Grid(shape, spacing), (1.9, 1.3, 1.1)
    model = grid_from_first_voxel(grid, wanted) if alignment == FIRST_VOXEL else grid_at_spacing(grid, wanted)
    where = positions(grid, model, model.shape, alignment)
    scores = np.random.default_rng(6).normal(size=(4, *model.shape)).astype(np.float32)
    got = restore(scores, classify(scores), whole(grid), grid, positions=where)
    assert_array_equal(got, interpolate_at(scores, where), strict=True)


def test_corners_aligned_then_the_winner():
    """As paper 003's 0.6 to 0.2 against 0.4 to 0.8, of two to five: the two are equal at the second."""
    scores = np.array([[0.5, 0.25], [0.375, 0.625]], np.float32).reshape(2, 2, 1, 1)
    # 0.5, 0.4375, 0.375, 0.3125, 0.25 against 0.375, 0.4375, 0.5, 0.5625, 0.625: exact in binary, unlike the paper's
    grid = Grid((5, 1, 1), (1.0, 1.0, 1.0))
    where = positions(grid, grid_of_shape(grid, (2, 1, 1)), (2, 1, 1), CORNERS)
    got = restore(scores, classify(scores), whole(grid), grid, positions=where)
    assert got.ravel().tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_a_voxels_label_comes_back_where_it_was(alignment):
    """Each voxel of a scan in turn, through a grid twice as fine or thrice, in a box of the scan."""
    box = Box((1, 0, 2), (4, 2, 6))
    scan, crop = Grid((5, 3, 8), (2.0, 3.0, 1.0)), Grid(box.shape, (2.0, 3.0, 1.0))
    spacing = (1.0, 1.0, 0.5)
    model = grid_from_first_voxel(crop, spacing) if alignment == FIRST_VOXEL else grid_at_spacing(crop, spacing)
    how = Resampling(averages=False, alignment=alignment)
    where = positions(crop, model, model.shape, alignment)
    for voxel in np.ndindex(*box.shape):
        one = np.zeros(box.shape, np.float32)
        one[voxel] = 1
        seen = resample(one, crop, model, how)
        scores = np.stack([np.full_like(seen, 0.2), seen])
        got = restore(scores, classify(scores), box, scan, positions=where)
        expected = np.zeros(scan.shape, np.uint8)
        expected[tuple(a + b for a, b in zip(voxel, box.start, strict=True))] = 1
        assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize("shape", [(7, 9, 12), (4, 3, 5), (23, 31, 17)])
def test_regions_are_painted_of_interpolated_scores(shape):
    """Where large areas are alike, and where they are not; ids in another order than the channels."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 7, 8)), indexing="ij")
    smooth = np.stack([0.7 - z**2 - y**2 - x**2, x - 0.2, y + z + 0.013])
    box, grid = Box((0, 0, 0), shape), Grid(shape, (1.0, 1.0, 1.0))
    for scores in (smooth.astype(np.float32), np.random.default_rng(5).normal(size=(3, 6, 7, 8)).astype(np.float32)):
        got = restore(scores, classify(scores, (3, 1, 2)), box, grid, regions=(3, 1, 2))
        full = interpolate_every_voxel(scores, shape)
        expected = np.where(full[2] > 0, 2, np.where(full[1] > 0, 1, np.where(full[0] > 0, 3, 0)))
        assert_array_equal(got, expected.astype(np.uint8), strict=True)


def test_along_an_axis_apart_labels_are_those_of_the_nearest_plane():
    """Two planes for five, at -0.3, 0.1, 0.5, ...: where a tenth of the stronger one's scores would win."""
    scores = np.array([[[[1.0]], [[0.0]]], [[[0.0]], [[10.0]]]], np.float32)
    grid, model_grid = Grid((5, 1, 1), (1.0, 1.0, 1.0)), Grid((2, 1, 1), (2.5, 1.0, 1.0))
    for apart, expected in ((None, [0, 1, 1, 1, 1]), (0, [0, 0, 1, 1, 1])):
        where = positions(grid, model_grid, (2, 1, 1), "half-pixel", apart)
        assert restore(scores, classify(scores), whole(grid), grid, positions=where).ravel().tolist() == expected
