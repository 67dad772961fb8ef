from itertools import permutations, product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.orientation import Orientation, orientation_of
from app.grid import Box, Grid

TURNED = Orientation((1, 2, 0), (True, False, True))  # z is the file's second axis, from the head on; x its first


def test_an_array_of_the_file_as_it_lies_in_the_body():
    stored = np.arange(24).reshape(2, 3, 4)
    body = TURNED.to_body(stored)
    assert body.shape == (3, 4, 2)
    assert body[0, 1, 0] == stored[1, 2, 1]
    assert body[2, 3, 1] == stored[0, 0, 3]
    assert np.shares_memory(body, stored)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flipped", list(product((False, True), repeat=3)))
def test_to_the_file_and_back(axes, flipped):
    orientation, labels = Orientation(axes, flipped), np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert_array_equal(orientation.to_body(orientation.to_file(labels)), labels)


def test_a_box_in_the_files_own_indices():
    box, grid = Box((0, 1, 2), (1, 3, 5)), Grid((3, 4, 5), (1.0, 1.0, 1.0))
    assert Orientation((2, 1, 0), (False, False, False)).box_in_file(box, grid) == [[2, 5], [1, 3], [0, 1]]
    assert TURNED.box_in_file(box, grid) == [[0, 3], [2, 3], [1, 3]]


def test_a_spacing_in_the_files_own_order():
    grid = Grid((3, 4, 5), (2.5, 0.9, 0.8))
    assert Orientation((2, 1, 0), (False, True, False)).spacing_in_file(grid) == [0.8, 0.9, 2.5]
    assert TURNED.spacing_in_file(grid) == [0.8, 2.5, 0.9]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param([(-1, 0, 0), (0, -1, 0), (0, 0, 1)], Orientation((2, 1, 0), (False,) * 3), id="LPS"),
        pytest.param([(1, 0, 0), (0, 1, 0), (0, 0, -1)], Orientation((2, 1, 0), (True,) * 3), id="RAI, all against it"),
        pytest.param([(0, 0, 2), (-3, 0, 0), (0, -1, 0)], Orientation((0, 2, 1), (False,) * 3), id="SLP"),
        pytest.param([(-1, 0, 0.4), (0, -1, 0), (0.4, 0, 1)], Orientation((2, 1, 0), (False,) * 3), id="oblique"),
    ],
)
def test_axes_of_the_body_nearest_to_the_files(columns, expected):
    assert orientation_of(np.array(columns, np.float64).T) == expected
