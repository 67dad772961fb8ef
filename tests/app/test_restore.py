"""Restore, against interpolating every score at every voxel in float64."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.classify import classify
from app.grid import Box, Grid
from app.restore import restore


def interpolate_every_voxel_then_argmax(scores, shape):
    """Plain and slow: each axis in turn, every class at full resolution."""
    full = scores.astype(np.float64)
    for axis, size in enumerate(shape, 1):
        fine = full.shape[axis]
        position = np.clip((np.arange(size) + 0.5) * fine / size - 0.5, 0, fine - 1)
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, fine - 1)
        weight = (position - low).reshape([-1 if a == axis else 1 for a in range(4)])
        full = full.take(low, axis) * (1 - weight) + full.take(high, axis) * weight
    return full.argmax(0).astype(np.uint8)


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
    monkeypatch.setattr("app.restore.SLAB_VOXELS", 1)
    monkeypatch.setattr("app.restore.POINTS_AT_ONCE", 7)
    assert_array_equal(restore(*arguments, threads=3), whole, strict=True)


def test_where_the_winners_agree_no_score_is_looked_at():
    """Labels are what counts there: 1 % of a scan is interpolated, not all of it."""
    scores = np.zeros((3, 2, 3, 4), np.float32)
    scores[2] = 1  # as if the third class won
    labels = np.ones((2, 3, 4), np.uint8)
    got = restore(scores, labels, Box((0, 0, 0), (5, 6, 7)), Grid((5, 6, 7), (1.0, 1.0, 1.0)))
    assert_array_equal(got, np.ones((5, 6, 7), np.uint8), strict=True)
