import numpy as np
import pytest

from app.grid import Box, Grid
from app.steps.crop import box_of_nonzero, crop

GRID = Grid((2, 3, 4), (5.0, 1.0, 0.5))


def test_a_view_and_its_grid():
    voxels = np.arange(24).reshape(2, 3, 4)
    part, grid = crop(voxels, GRID, Box((1, 0, 2), (2, 3, 4)))
    assert part.tolist() == [[[14, 15], [18, 19], [22, 23]]]
    assert grid == Grid((1, 3, 2), (5.0, 1.0, 0.5))
    assert np.shares_memory(part, voxels)


@pytest.mark.parametrize("stop", [(3, 3, 4), (2, 4, 4), (2, 3, 5)])
def test_a_box_beyond_the_grid_is_refused(stop):
    with pytest.raises(ValueError, match=r"reaches beyond a grid of \(2, 3, 4\)"):
        crop(np.zeros((2, 3, 4)), GRID, Box((0, 0, 0), stop))


@pytest.mark.parametrize(
    ("there", "box"),
    [
        pytest.param([(0, 0, 0)], Box((0, 0, 0), (1, 1, 1)), id="the first voxel"),
        pytest.param([(1, 2, 3)], Box((1, 2, 3), (2, 3, 4)), id="the last"),
        pytest.param([(0, 2, 1), (1, 1, 3)], Box((0, 1, 1), (2, 3, 4)), id="two"),
        pytest.param([(0, 0, 1), (1, 2, 2)], Box((0, 0, 1), (2, 3, 3)), id="zeros between them"),
        pytest.param([], Box((0, 0, 0), (2, 3, 4)), id="nothing: all"),
    ],
)
@pytest.mark.parametrize("value", [-1024, 1, 0.5])
def test_the_box_of_what_is_not_zero(there, box, value):
    voxels = np.zeros((2, 3, 4), np.float32)
    for place in there:
        voxels[place] = value
    assert box_of_nonzero(voxels) == box
    assert box_of_nonzero(np.ones((2, 3, 4), np.int16)) == Box((0, 0, 0), (2, 3, 4))
