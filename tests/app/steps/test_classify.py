import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.steps import classify as module
from app.steps.classify import classify


def test_the_highest_wins_and_the_lower_id_where_equal():
    scores = np.array([[0, 5, 2, -1], [1, 5, 3, -2], [0, 5, 3, -3]], np.float32).reshape(3, 1, 1, 4)
    assert_array_equal(classify(scores), np.array([[[1, 0, 1, 0]]], np.uint8), strict=True)


def test_it_is_argmax_and_only_reads():
    scores = np.random.default_rng(0).normal(size=(14, 5, 6, 7)).astype(np.float32)
    scores.flags.writeable = False
    assert_array_equal(classify(scores), scores.argmax(0).astype(np.uint8), strict=True)


@pytest.mark.parametrize("slab_voxels", [1, 42, 100, 1 << 18])  # a plane has 42
@pytest.mark.parametrize("threads", [1, 3])
def test_neither_slabs_nor_threads_change_a_label(slab_voxels, threads, monkeypatch):
    monkeypatch.setattr(module, "SLAB_VOXELS", slab_voxels)
    scores = np.random.default_rng(1).normal(size=(14, 5, 6, 7)).astype(np.float32)
    assert_array_equal(classify(scores, threads=threads), scores.argmax(0).astype(np.uint8), strict=True)


def test_of_no_voxel_there_is_no_label():
    assert classify(np.zeros((3, 0, 2, 2), np.float32)).shape == (0, 2, 2)
    assert classify(np.zeros((3, 2, 2, 0), np.float32)).shape == (2, 2, 0)


def test_regions_are_painted_in_their_order_where_their_score_is_above_zero():
    """Three regions, painted as 2, 1 and 3: nothing, the first, the second over it, the third over both, the third."""
    scores = np.array([[-1, 2, 3, 1, 0], [-5, 0, 1, 9, -1], [-2, -1, -1, 0.1, 1]], np.float32).reshape(3, 1, 1, 5)
    scores.flags.writeable = False
    assert_array_equal(classify(scores, (2, 1, 3)), np.array([[[0, 2, 1, 3, 3]]], np.uint8), strict=True)
