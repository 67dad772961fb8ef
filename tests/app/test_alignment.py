import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.alignment import ALIGNMENTS, CORNERS, FIRST_VOXEL, HALF_PIXEL, axis_apart, nearest, placed, positions
from app.grid import Grid, grid_at_spacing, grid_from_first_voxel, grid_of_shape

SOURCE = Grid((10, 4, 1), (1.0, 5.0, 2.0))


@pytest.mark.parametrize(
    ("alignment", "shape", "expected"),
    [
        # 10 voxels in 4: 2.5 apart, the first centred at 0.75; 4 in 8: half a voxel apart, a quarter before the first
        pytest.param(HALF_PIXEL, (4, 8, 1), ((0.75, 2.5), (-0.25, 0.5), (0, 1)), id="faces"),
        pytest.param(CORNERS, (4, 7, 1), ((0, 3), (0, 0.5), (0, 1)), id="outermost centres"),
        pytest.param(CORNERS, (1, 4, 2), ((0, 1), (0, 1), (0, 0.5)), id="one voxel on a side: the first"),
    ],
)
def test_where_voxels_of_a_shape_lie(alignment, shape, expected):
    assert_allclose(placed(SOURCE, grid_of_shape(SOURCE, shape), alignment), expected)


def test_where_voxels_of_a_spacing_lie_from_the_first_on():
    """Paper 001's sizes: 5 voxels of 3 mm at 2 mm are 7, two thirds of a voxel apart."""
    source = Grid((5, 7, 11), (3.0, 0.7, 0.8))
    target = grid_from_first_voxel(source, (2.0, 1.5, 1.5))
    assert_allclose(placed(source, target, FIRST_VOXEL), ((0, 2 / 3), (0, 1.5 / 0.7), (0, 1.5 / 0.8)))


@pytest.mark.parametrize(
    ("alignment", "expected"),
    [
        # of ten voxels among four that are 2.5 apart from 0.75 on: (i - 0.75) / 2.5
        pytest.param(HALF_PIXEL, (np.arange(10) - 0.75) / 2.5, id="faces"),
        pytest.param(CORNERS, np.arange(10) / 3, id="outermost centres"),
    ],
)
def test_the_way_back(alignment, expected):
    target = grid_of_shape(SOURCE, (4, 4, 1))
    z, y, x = positions(SOURCE, target, target.shape, alignment)
    assert_allclose(z, expected, atol=1e-12)
    assert_allclose(y, [0, 1, 2, 3], atol=1e-12)
    assert_allclose(x, [0])


def test_the_way_back_from_the_first_voxel_may_end_beyond_the_last():
    """7 voxels of 0.7 mm on 4 of 1.5: the last lies 2.8 steps off; 10 of 5 mm on 24 of 2, 22.5 steps."""
    source = Grid((7, 10, 1), (0.7, 5.0, 2.0))
    target = grid_from_first_voxel(source, (1.5, 2.0, 1.5))
    z, y, x = positions(source, target, target.shape, FIRST_VOXEL)
    assert_allclose(z, np.arange(7) * 0.7 / 1.5)
    assert_allclose(y, np.arange(10) * 2.5)
    assert_allclose(x, [0])


@pytest.mark.parametrize(("size", "count", "scores"), [(7, 3, 3), (49, 11, 11), (333, 97, 13)])
def test_where_faces_are_held_fast_nothing_is_rounded_twice(size, count, scores):
    """To the last bit, so that masks of this project's own models stay as they were."""
    source, model = Grid((size, 1, 1), (1.0, 1.0, 1.0)), Grid((count, 1, 1), (size / count, 1.0, 1.0))
    z, _, _ = positions(source, model, (scores, 1, 1), HALF_PIXEL)
    assert_array_equal(z, (np.arange(size) + 0.5) * scores / size - 0.5)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_there_and_back_again(alignment):
    source = Grid((13, 6, 2), (2.5, 0.8, 0.7))
    spacing = (2.0, 1.7, 0.4)
    target = grid_from_first_voxel(source, spacing) if alignment == FIRST_VOXEL else grid_at_spacing(source, spacing)
    back = positions(source, target, target.shape, alignment)
    for index, (first, step), size in zip(back, placed(source, target, alignment), source.shape, strict=True):
        assert_allclose(first + index * step, np.arange(size), atol=1e-9)


@pytest.mark.parametrize("alignment", ALIGNMENTS)
def test_coarser_scores_cover_what_the_model_saw(alignment):
    """Of 8 voxels two to a score: voxel i of the model's grid lies at (i + 0.5) / 2 - 0.5 among the four."""
    source = Grid((8, 4, 2), (1.0, 1.0, 1.0))
    z, y, x = positions(source, source, (4, 4, 1), alignment)
    assert_allclose(z, np.arange(8) / 2 - 0.25)
    assert_allclose(y, range(4), atol=1e-12)
    assert_allclose(x, [-0.25, 0.25])


def test_one_voxel_enlarged_with_corners_aligned_is_all_about_that_voxel():
    source = Grid((1, 1, 1), (1.0, 1.0, 1.0))
    z, _, _ = positions(source, grid_of_shape(source, (3, 1, 1)), (3, 1, 1), CORNERS)
    assert_allclose(z, [0])


@pytest.mark.parametrize(
    ("first", "then", "above", "axis"),
    [
        pytest.param((5.0, 0.8, 0.8), (1.0, 1.0, 1.0), None, None, id="never"),
        pytest.param((5.0, 0.8, 0.8), (1.0, 1.0, 1.0), 3.0, 0, id="the first counts"),
        pytest.param((1.0, 1.0, 1.0), (0.8, 5.0, 0.8), 3.0, 1, id="or else the second"),
        pytest.param((0.8, 0.8, 5.0), (5.0, 0.8, 0.8), 3.0, 2, id="the first where both would do"),
        pytest.param((3.0, 1.0, 1.0), (2.0, 2.0, 2.0), 3.0, None, id="three times is not more than that"),
        pytest.param((3.01, 1.0, 1.0), (2.0, 2.0, 2.0), 3.0, 0, id="a little more is"),
        pytest.param((0.24, 1.25, 1.25), (5.0, 0.8, 0.8), 3.0, None, id="two long sides, whatever the second"),
        pytest.param((5.0, 1.0, 4.9), (1.0, 1.0, 1.0), 3.0, 0, id="two that are only nearly the same"),
        pytest.param((1.0, 1.0, 1.0), (2.0, 2.0, 2.0), 1.0, None, id="cubes"),
    ],
)
def test_the_axis_along_which_the_nearest_is_taken(first, then, above, axis):
    assert axis_apart(first, then, above) == axis


@pytest.mark.parametrize(
    ("size", "count", "expected"),
    [
        pytest.param(3, 3, [0, 1, 2], id="the same"),
        pytest.param(1, 3, [0, 0, 0], id="one for all"),
        pytest.param(4, 1, [2], id="in the middle: the later"),
        pytest.param(4, 2, [1, 3], id="half between, twice"),
        pytest.param(2, 5, [0, 0, 1, 1, 1], id="finer: at -0.3, 0.1, 0.5, 0.9, 1.3"),
        pytest.param(6, 2, [1, 4], id="three in one"),
    ],
)
def test_the_nearest(size, count, expected):
    assert_array_equal(nearest(size, count), np.array(expected, np.intp), strict=True)


def test_along_an_axis_apart_the_way_back_is_whole():
    """4 of 10: at -0.3, 0.1, 0.5, ...; the other axes as without it."""
    target = grid_of_shape(SOURCE, (4, 8, 1))
    apart = positions(SOURCE, target, target.shape, HALF_PIXEL, 0)
    assert_array_equal(apart[0], np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 3], np.float64), strict=True)
    assert_array_equal(apart[1], positions(SOURCE, target, target.shape, HALF_PIXEL)[1])
