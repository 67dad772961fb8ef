from itertools import permutations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.alignment import placed, positions
from app.files.orientation import Orientation
from app.grid import Grid, grid_of_shape
from app.run.turn import AS_IT_LIES, AS_SCANNERS_STORE, grid_back, positions_back, scores_back, turn_of
from app.run.view import lying

EVERY = [Orientation(axes, flipped) for axes in permutations(range(3)) for flipped in product((False, True), repeat=3)]


@pytest.mark.parametrize("file", EVERY)
def test_a_models_axes_may_be_the_files(file):
    """Whatever order the file has: its own axes, last first."""
    stored = np.arange(24).reshape(2, 3, 4)
    turn = turn_of("file", file)
    assert_array_equal(turn.to_body(file.to_body(stored)), stored.transpose(2, 1, 0))
    assert turn_of("patient", file) == AS_IT_LIES


def test_as_scanners_store_the_files_axes_are_the_patients():
    assert turn_of("file", AS_SCANNERS_STORE) == AS_IT_LIES


def test_ras_grows_to_the_head_to_the_front_and_to_the_right():
    """Where the body's axes grow to the head, to the back and to the left."""
    body = np.arange(8).reshape(2, 2, 2)
    assert turn_of("ras", AS_SCANNERS_STORE).to_body(body).tolist() == [[[3, 2], [1, 0]], [[7, 6], [5, 4]]]


@pytest.mark.parametrize("turn", EVERY)
def test_scores_and_where_they_are_read_come_back(turn):
    """A model whose scores are where each voxel lay, on a grid of other sizes: read back, each voxel finds itself."""
    grid = Grid((4, 6, 10), (3.0, 2.0, 1.0))
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in grid.shape), indexing="ij"))
    turned = [lying(place, grid, turn) for place in places]
    seen_grid = turned[0][1]
    model_grid = grid_of_shape(seen_grid, tuple(n // 2 for n in seen_grid.shape))
    scores = np.stack([_halved(volume) for volume, _ in turned])
    where = positions(seen_grid, model_grid, model_grid.shape, "half-pixel")
    back, read = scores_back(scores, turn), positions_back(where, model_grid.shape, turn)
    assert back.shape == (3, 2, 3, 5)
    assert np.shares_memory(back, scores)
    for axis, place in enumerate(read):
        along = back[axis].mean(tuple(other for other in range(3) if other != axis))
        first, step = placed(grid, grid_of_shape(grid, (2, 3, 5)), "half-pixel")[axis]
        assert_allclose(along, first + step * np.arange(len(along)))
        assert_allclose(first + step * place, np.arange(grid.shape[axis]), atol=1e-12)
    assert grid_back(seen_grid, turn) == grid


def _halved(volume):
    z, y, x = (n // 2 for n in volume.shape)
    return volume.reshape(z, 2, y, 2, x, 2).mean((1, 3, 5))
