import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.grid import Box, Grid
from app.steps.straighten import bent_back, box_in_scan, shear_degrees, straightened, tilt_degrees, upright_grid


def turned(axis, degrees, spacing=(1.0, 1.0, 1.0)):
    """Steps of a scan that is turned about one of the body's axes (z, y, x)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (other for other in range(3) if other != axis)
    turn = np.eye(3)
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    return turn * spacing


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [0, 5, -20, 44])
def test_a_turn_is_a_tilt_and_no_shear(axis, degrees):
    steps = turned(axis, degrees, (5.0, 1.0, 0.7))
    assert tilt_degrees(steps) == pytest.approx(abs(degrees), abs=1e-5)
    assert shear_degrees(steps) == pytest.approx(0, abs=1e-5)


def test_a_gantry_tilt_is_both():
    steps = np.diag([5.0, 1.0, 1.0])
    steps[1, 0] = 5 * np.tan(np.radians(20))  # slices of an upright plane, each further back
    assert tilt_degrees(steps) == pytest.approx(20)
    assert shear_degrees(steps) == pytest.approx(20)


def test_a_scan_that_is_upright_has_its_own_grid_and_voxels():
    steps, shape = np.diag([5.0, 1.0, 0.7]), (3, 4, 5)
    grid = upright_grid(steps, shape)
    assert grid.shape == shape
    assert grid.spacing == pytest.approx((5.0, 1.0, 0.7))
    voxels = np.arange(60, dtype=np.int16).reshape(shape)
    assert_array_equal(straightened(voxels, steps, grid), voxels, strict=True)
    labels = voxels.astype(np.uint8)
    assert_array_equal(bent_back(labels, steps, grid, shape), labels, strict=True)


def test_an_eighth_of_a_turn_holds_the_corners():
    grid = upright_grid(turned(0, 45), (2, 10, 10))
    assert grid.shape == (2, 15, 15)  # the diagonal of 10 x 10
    assert grid.spacing == pytest.approx((1, 1, 1))
    voxels = np.full((2, 10, 10), 40, np.int16)
    upright = straightened(voxels, turned(0, 45), grid)
    assert (upright[:, 4:11, 4:11] == 40).all()
    assert (upright[:, :2, :2] == -1024).all()


def test_a_turned_cross_lies_straight_and_goes_back():
    """A bar along the body's x, as a scan that is turned by 30 degrees about z shows it."""
    steps, shape = turned(0, 30), (3, 41, 41)
    y, x = np.meshgrid(np.arange(41) - 20, np.arange(41) - 20, indexing="ij")
    across = steps[1, 1] * y + steps[1, 2] * x  # mm along the body's y
    voxels = np.repeat(np.where(np.abs(across) < 3, 100, -1000)[None], 3, 0).astype(np.int16)
    grid = upright_grid(steps, shape)
    upright = straightened(voxels, steps, grid)
    middle = grid.shape[2] // 2
    inside = upright[1, :, middle - 10 : middle + 10] > 0
    assert (inside == inside[:, :1]).all()  # along x nothing changes
    assert 5 <= inside[:, 0].sum() <= 7
    labels = (upright > -450).astype(np.uint8)
    back = bent_back(labels, steps, grid, shape)
    assert back.dtype == np.uint8
    assert ((back > 0) == (voxels > 0)).mean() > 0.97


def test_labels_of_a_sheared_scan_go_back_to_their_voxels():
    steps = np.diag([2.0, 1.0, 1.0])
    steps[1, 0] = 1.0  # half a voxel of y for each mm of z
    shape = (9, 20, 10)
    grid = upright_grid(steps, shape)
    assert grid.shape[1] >= 28  # what 9 slices are shifted by is held
    labels = np.zeros(shape, np.uint8)
    labels[2:7, 5:15, 3:7] = 4
    voxels = np.where(labels > 0, 1000, -1000).astype(np.int16)
    upright = straightened(voxels, steps, grid)
    assert (bent_back((upright > 0).astype(np.uint8), steps, grid, shape) == (labels > 0)).mean() > 0.97


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 8, 8), (8, 1, 8)])
def test_a_voxel_and_a_slice(shape):
    steps = turned(2, 30, (3.0, 1.0, 1.0))
    grid = upright_grid(steps, shape)
    upright = straightened(np.full(shape, 7, np.int16), steps, grid)
    assert (bent_back((upright == 7).astype(np.uint8), steps, grid, shape)).any()


def test_a_box_of_an_upright_scan_is_itself():
    steps = np.diag([5.0, 1.0, 1.0])
    box = Box((1, 2, 3), (2, 4, 5))
    assert box_in_scan(box, steps, Grid((3, 6, 7), (5.0, 1.0, 1.0)), (3, 6, 7)) == box


def test_a_box_of_a_turned_one_is_where_its_corners_lie():
    steps, shape = turned(0, 90 - 1e-9), (2, 10, 10)  # y becomes x
    grid = upright_grid(steps, shape)
    assert box_in_scan(Box((0, 0, 2), (2, 10, 4)), steps, grid, shape) in (
        Box((0, 2, 0), (2, 4, 10)),
        Box((0, 6, 0), (2, 8, 10)),
    )


def test_all_of_the_upright_grid_is_all_of_the_scan():
    steps, shape = turned(1, 20), (5, 6, 7)
    grid = upright_grid(steps, shape)
    assert box_in_scan(Box((0, 0, 0), grid.shape), steps, grid, shape) == Box((0, 0, 0), shape)
