import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.steps.classify import classify
from app.steps.clean import drop_far, drop_small, drop_small_regions, swap_winners, without

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


def test_of_quantised_scores_what_is_gone_has_the_least_there_is():
    """Organ 2 is dropped; between its neighbours, both 1, it would win again in their mean, 60 to 50."""
    scores = np.array([[0, 0, 0], [100, 0, 100], [20, 100, 20]], np.int16).reshape(3, 1, 1, 3)
    swap_winners(scores, classify(scores), np.array([[[1, 0, 1]]], np.uint8))
    assert scores[:, 0, 0].tolist() == [[0, 100, 0], [100, 0, 100], [-32768] * 3]


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


def test_of_equals_the_first_is_the_largest():
    """Paper 003's example: organ 4 has parts of two, two and one voxels; parts of 7 and 14 may not go."""
    row = np.array([4, 4, 0, 4, 4, 0, 4, 7, 0, 7, 14, 0, 14], np.uint8).reshape(1, 1, -1)
    got = drop_small(row, min_share=1, of=[1, 2, 3, 4, 5, 6, 9, 10, 11, 13])
    assert got.ravel().tolist() == [4, 4, 0, 0, 0, 0, 0, 7, 0, 7, 14, 0, 14]
    assert drop_small(row, min_share=1).ravel().tolist() == [4, 4, 0, 0, 0, 0, 0, 7, 0, 0, 14, 0, 0]
    assert drop_small(row, min_share=0.99).ravel().tolist() == [4, 4, 0, 4, 4, 0, 0, 7, 0, 7, 14, 0, 14]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_comes_first_is_first_in_z_then_y_then_x(axis):
    labels = np.zeros((4, 4, 4), np.uint8)
    first, last = [0, 0, 0], [2, 2, 2]
    first[axis], last[axis] = last[axis], first[axis]
    labels[tuple(first)] = labels[tuple(last)] = 5
    got = drop_small(labels, min_share=1)
    assert np.argwhere(got).tolist() == [min(first, last)]


def test_parts_that_touch_by_corners_alone_are_one_in_three_dimensions():
    """Paper 003's example: (0, 0, 0), (1, 1, 1) and (2, 2, 2)."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[range(3), range(3), range(3)] = 3
    assert_array_equal(drop_small(labels, min_share=1, of=[3]), labels, strict=True)


def test_without():
    labels = np.array([[[0, 1, 7, 8, 12, 13]]], np.uint8)
    labels.flags.writeable = False
    assert_array_equal(without(labels, [7, 8, 12]), np.array([[[0, 1, 0, 0, 0, 13]]], np.uint8), strict=True)
    assert_array_equal(without(labels, []), labels, strict=True)


def centroids():
    """Paper 003's example: liver about plane 40, and a speck of it; regions at 96.5, 97 and 110.5."""
    labels = np.zeros((120, 5, 5), np.uint8)
    labels[38:43, 1:4, 1:4] = 1
    labels[20:22, 4, 4] = 1
    labels[96:98, 2, 2] = 2
    labels[97, 4, 0] = 3
    labels[110:112, 0, 4] = 9
    return labels


@pytest.mark.parametrize(
    ("most", "gone"),
    [
        pytest.param(170 / 3, (3, 9), id="the papers 56.67"),
        pytest.param(56.5, (3, 9), id="just as far is not too far"),
        pytest.param(57, (9,), id="a plane more"),
        pytest.param(56.4, (2, 3, 9), id="a little less"),
        pytest.param(70.5, (), id="all"),
    ],
)
def test_regions_far_from_the_liver_along_z(most, gone):
    labels = centroids()
    got = drop_far(labels, label=1, max_planes=most)
    assert_array_equal(got, np.where(np.isin(labels, gone), 0, labels).astype(np.uint8), strict=True)


def test_the_speck_of_liver_is_near_and_its_largest_part_the_reference():
    labels = centroids()
    assert_array_equal(np.unique(drop_far(labels, label=1, max_planes=19)), [0, 1])
    near = drop_far(labels, label=1, max_planes=19.4)
    assert np.count_nonzero(near) == 45  # 19.5 planes off, the speck goes
    assert np.count_nonzero(drop_far(labels, label=1, max_planes=19.5)) == 47


def test_regions_are_of_all_organs_together_and_the_livers_own_always_stays():
    """A spleen of 30 planes hangs on the liver: the middle of both is 15 planes off, and stays; one beside goes."""
    labels = np.zeros((50, 1, 5), np.uint8)
    labels[0:2, 0, 0] = 1
    labels[2:32, 0, 0] = 2
    labels[13, 0, 4] = 3
    got = drop_far(labels, label=1, max_planes=5)
    assert (got[:, 0, 0] == labels[:, 0, 0]).all()
    assert not got[:, :, 4].any()


def test_regions_that_touch_by_a_corner_are_one():
    labels = np.zeros((10, 2, 2), np.uint8)
    labels[0, 0, 0] = 1
    labels[range(1, 7), [1, 0] * 3, [1, 0] * 3] = 2  # by corners alone
    assert_array_equal(drop_far(labels, label=1, max_planes=0), labels, strict=True)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(np.zeros((2, 3, 4), np.uint8), id="nothing"),
        pytest.param(np.full((2, 3, 4), 2, np.uint8), id="no liver"),
        pytest.param(np.full((2, 3, 4), 1, np.uint8), id="nothing but liver"),
        pytest.param(np.full((1, 1, 1), 1, np.uint8), id="one voxel"),
    ],
)
def test_where_there_is_nothing_to_compare_all_stays(labels):
    got = drop_far(labels, label=1, max_planes=0)
    assert_array_equal(got, labels, strict=True)
    assert got is not labels


def test_the_papers_blobs():
    """Paper 001's example: a block of 8, a bar of 7, two plates of 4 that touch by an edge only."""
    labels = np.zeros((8, 8, 8), np.uint8)
    block = (slice(0, 2),) * 3
    labels[block] = 1
    labels[5, 0, 0:7] = 1
    labels[4:6, 4:6, 4] = labels[6, 5:7, 5:7] = 1
    got = drop_small_regions(labels, min_voxels=8)
    assert got[block].all()
    assert got.sum() == 8


def test_a_label_that_is_gone_does_not_win_between_two_others():
    """At either place it is a good second."""
    scores = np.array([[0.0, 4.8], [5.0, 0.0], [4.9, 5.0]], np.float32).reshape(3, 1, 1, 2)  # background, kept, dropped
    labels = np.array([1, 2], np.uint8).reshape(1, 1, 2)
    swap_winners(scores, labels, without(labels, [2]))
    assert scores.argmax(0).ravel().tolist() == [1, 0]
    assert scores.mean(-1).argmax(0).ravel().tolist() != [2]
