import numpy as np
import pytest

from app.grid import Box, Grid
from app.steps.crop import crop

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
