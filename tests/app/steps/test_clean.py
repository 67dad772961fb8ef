import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.steps.classify import classify
from app.steps.clean import drop_small, drop_small_regions, swap_winners

#          parts of 1: 5 and 1 voxels; of 2: 2 and 1; of 3: one
ROW = [1, 1, 1, 1, 1, 0, 1, 0, 2, 2, 0, 2, 3]


@pytest.mark.parametrize(
    ("min_share", "expected"),
    [
        pytest.param(0.0, ROW, id="all kept"),
        pytest.param(0.2, ROW, id="one in five is not below 0.2"),
        pytest.param(0.21, [1, 1, 1, 1, 1, 0, 0, 0, 2, 2, 0, 2, 3], id="one in five is below, one in two is not"),
        pytest.param(1.0, [1, 1, 1, 1, 1, 0, 0, 0, 2, 2, 0, 0, 3], id="the largest only"),
    ],
)
def test_share_of_the_organs_own_largest_part(min_share, expected):
    labels = np.array(ROW, np.uint8).reshape(1, 1, -1)
    assert_array_equal(drop_small(labels, min_share=min_share), np.array([[expected]], np.uint8), strict=True)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4)])
@pytest.mark.parametrize("value", [0, 13])
def test_nothing_to_remove_keeps_values_and_dtype(shape, value):
    labels = np.full(shape, value, np.uint8)
    assert_array_equal(drop_small(labels, min_share=1.0), labels, strict=True)


def test_parts_that_touch_by_a_corner_are_one():
    labels = np.zeros((2, 2, 4), np.uint8)
    labels[0, 0, :3] = labels[1, 1, 3] = 4  # apart, the single voxel would be dropped
    assert_array_equal(drop_small(labels, min_share=1.0), labels, strict=True)


def test_neighbouring_organs_are_apart():
    labels = np.array([[[1, 1, 2, 1]]], np.uint8)
    assert_array_equal(drop_small(labels, min_share=1.0), np.array([[[1, 1, 2, 0]]], np.uint8), strict=True)


def test_scores_win_as_cleaned():
    scores = np.array([[1, 1, 3], [2, 5, 0], [0, 4, 0]], np.float32).reshape(3, 1, 1, 3)
    labels = classify(scores)
    assert labels.tolist() == [[[1, 1, 0]]]
    cleaned = np.array([[[1, 0, 0]]], np.uint8)
    swap_winners(scores, labels, cleaned)
    assert_array_equal(classify(scores), cleaned)
    assert scores[:, 0, 0, 1].tolist() == [5, 1, 4]  # swapped with background
    assert scores[:, 0, 0, 0].tolist() == [1, 2, 0]  # untouched


def test_what_is_renamed_or_filled_wins_too():
    scores = np.array([[1, 1, 3], [2, 5, 0], [0, 4, 1]], np.float32).reshape(3, 1, 1, 3)
    renamed_and_filled = np.array([[[1, 2, 2]]], np.uint8)
    swap_winners(scores, classify(scores), renamed_and_filled)
    assert_array_equal(classify(scores), renamed_and_filled)
    assert scores[:, 0, 0, 1].tolist() == [1, 4, 5]
    assert scores[:, 0, 0, 2].tolist() == [1, 0, 3]


def test_regions_of_all_organs_together_by_their_size():
    labels = np.zeros((1, 4, 6), np.uint8)
    labels[0, 0, :2] = 1
    labels[0, 1, 1] = 2  # touches: three voxels together
    labels[0, 3, 3:5] = 3
    labels[0, 2, 5] = 3  # by an edge only: regions of two voxels and of one, not of three
    got = drop_small_regions(labels, min_voxels=3)
    assert (got == np.where(labels < 3, labels, 0)).all()
    assert (drop_small_regions(labels, min_voxels=1) == labels).all()
    assert not drop_small_regions(labels, min_voxels=3.1).any()
    assert not drop_small_regions(labels * 0, min_voxels=1).any()
