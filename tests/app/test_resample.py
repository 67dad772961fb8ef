import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.grid import Grid, grid_of_shape
from app.resample import resample


def line(values, dtype=np.int16):
    return np.array(values, dtype).reshape(1, 1, -1)


def test_same_grid_gives_the_same_values():
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    grid = Grid((2, 3, 4), (3.0, 2.0, 1.0))
    assert_array_equal(resample(voxels, grid, grid), voxels.astype(np.float32), strict=True)


@pytest.mark.parametrize(
    ("values", "size", "expected"),
    [
        pytest.param([7], 3, [7, 7, 7], id="one voxel fills all"),
        pytest.param([0, 8], 4, [0, 2, 6, 8], id="twice as fine: edge, quarter, three quarters, edge"),
        pytest.param([0, 3, 6], 2, [0.75, 5.25], id="1.5 times as coarse: at 0.25 and 1.75 voxels"),
        pytest.param([0, 2, 4, 6], 2, [1, 5], id="twice as coarse: means of pairs"),
        # means of pairs 1, 5 at 0.5 and 2.5 voxels, the fifth voxel is left over; wanted at 0.75 and 3.25
        pytest.param([0, 2, 4, 6, 8], 2, [1.5, 5], id="2.5 times as coarse: means of pairs, then linear, edge held"),
        pytest.param([1, 2, 4, 5], 1, [3], id="all into one"),
    ],
)
def test_values_along_one_axis(values, size, expected):
    source = Grid((1, 1, len(values)), (1.0, 1.0, 2.0))
    for axis in range(3):
        order = [0, 1, 2]
        order[axis], order[2] = order[2], order[axis]
        voxels = line(values).transpose(order)
        grid = Grid(voxels.shape, tuple(np.array(source.spacing)[order]))
        target = [1, 1, 1]
        target[axis] = size
        got = resample(voxels, grid, grid_of_shape(grid, tuple(target)))
        assert got.dtype == np.float32
        assert_allclose(got.ravel(), expected, atol=1e-5)


def test_axes_are_not_mixed_up():
    z, y, x = np.meshgrid(np.arange(4), np.arange(6), np.arange(8), indexing="ij")
    voxels = (100 * z + 10 * y + x).astype(np.float32)
    source = Grid((4, 6, 8), (5.0, 1.0, 2.0))
    got = resample(voxels, source, grid_of_shape(source, (2, 3, 4)))
    # each target voxel is the mean of 2 x 2 x 2: indices 0.5, 2.5, ...
    expected = (
        100 * np.array([0.5, 2.5])[:, None, None]
        + 10 * np.array([0.5, 2.5, 4.5])[None, :, None]
        + np.array([0.5, 2.5, 4.5, 6.5])[None, None, :]
    )
    assert_allclose(got, expected)


def test_a_flipped_view_is_resampled_as_it_looks_and_left_alone():
    voxels = line([0, 2, 4, 6])
    voxels.flags.writeable = False
    grid = Grid((1, 1, 4), (1.0, 1.0, 1.0))
    assert_allclose(resample(voxels[:, :, ::-1], grid, grid_of_shape(grid, (1, 1, 2))).ravel(), [5, 1])


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="on a grid of"):
        resample(line([1, 2]), Grid((1, 1, 3), (1.0, 1.0, 1.0)), Grid((1, 1, 1), (1.0, 1.0, 3.0)))
