import numpy as np
import pytest

from app.grid import Box, Grid, grid_at_spacing, grid_of_shape, whole


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [
        pytest.param((99.0, 99.0, 99.0), (1, 1, 1), id="never below one voxel"),
        pytest.param((5.0, 1.0, 0.5), (3, 4, 5), id="same spacing, same grid"),
        pytest.param((2.5, 2.0, 1.0), (6, 2, 2), id="2.5 voxels go to even"),
    ],
)
def test_grid_at_spacing_keeps_the_extent(spacing, shape):
    grid = grid_at_spacing(Grid((3, 4, 5), (5.0, 1.0, 0.5)), spacing)
    assert grid.shape == shape
    assert np.multiply(grid.shape, grid.spacing) == pytest.approx([15.0, 4.0, 2.5])


def test_grid_of_shape_divides_the_extent():
    assert grid_of_shape(Grid((10, 4, 6), (1.0, 2.0, 3.0)), (5, 4, 2)) == Grid((5, 4, 2), (2.0, 2.0, 9.0))


def test_voxel_ml():
    assert Grid((1, 1, 1), (2.0, 5.0, 10.0)).voxel_ml == pytest.approx(0.1)  # 100 mm3


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [
        pytest.param((0, 1, 1), (1.0, 1.0, 1.0), id="no voxels"),
        pytest.param((1, 1, 1), (1.0, 0.0, 1.0), id="zero spacing"),
        pytest.param((1, 1, 1), (1.0, 1.0, -2.0), id="negative spacing"),
        pytest.param((1, 1, 1), (float("nan"), 1.0, 1.0), id="NaN spacing"),
        pytest.param((1, 1, 1), (float("inf"), 1.0, 1.0), id="infinite spacing"),
    ],
)
def test_impossible_grids_are_refused(shape, spacing):
    with pytest.raises(ValueError, match="a grid needs"):
        Grid(shape, spacing)


def test_box():
    box = Box((1, 2, 3), (2, 5, 7))
    assert box.shape == (1, 3, 4)
    assert np.arange(8 * 8 * 8).reshape(8, 8, 8)[box.slices].shape == (1, 3, 4)
    assert whole(Grid((2, 3, 4), (1.0, 1.0, 1.0))) == Box((0, 0, 0), (2, 3, 4))


@pytest.mark.parametrize("stop", [(0, 1, 1), (1, 0, 1), (-1, 1, 1)])
def test_empty_boxes_are_refused(stop):
    with pytest.raises(ValueError, match="start < stop"):
        Box((0, 0, 0), stop)
