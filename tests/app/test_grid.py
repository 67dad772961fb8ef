import numpy as np
import pytest

from app.grid import Box, Grid, grid_at_spacing, grid_from_first_voxel, grid_of_shape, whole


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


@pytest.mark.parametrize(
    ("size", "spacing", "target", "expected"),
    [
        # paper 000 rounds down: 218.92, 213.46
        pytest.param(100, 5.0, 2.2838839, 218, id="218.92 slices"),
        pytest.param(512, 0.78, 1.8709113, 213, id="213.46 pixels"),
        pytest.param(3, 0.1, 0.1, 3, id="3 x 0.1 / 0.1 is a hair below three"),
        pytest.param(1, 1.0, 99.0, 1, id="never below one"),
        pytest.param(10, 1.0, 2.0, 5, id="just five"),
    ],
)
def test_voxels_may_be_rounded_down(size, spacing, target, expected):
    grid = grid_at_spacing(Grid((size, 1, 1), (spacing, 1.0, 1.0)), (target, 1.0, 1.0), rounds_down=True)
    assert grid.shape == (expected, 1, 1)
    assert grid.extent[0] == pytest.approx(size * spacing)


@pytest.mark.parametrize(
    ("shape", "spacing", "target", "expected"),
    [
        # papers 003 and 004 round to the nearest, half to even
        ((100, 512, 512), (2.5, 0.8, 0.8), (2.3009669, 1.26433326, 1.26433326), (109, 324, 324)),
        ((45, 249, 505), (2.5, 0.8, 0.8), (1.7632679174, 1.4395425278, 1.4395425278), (64, 138, 281)),
        ((45, 249, 505), (2.5, 0.8, 0.8), (2.5, 1.25834116, 1.25834116), (45, 158, 321)),
        ((200, 512, 512), (2.5, 0.9765625, 0.9765625), (2.3009669, 1.26433326, 1.26433326), (217, 395, 395)),
        ((5, 7, 55), (1.25, 1.25, 5.0), (2.5, 2.5, 2.5), (2, 4, 110)),
        ((97, 512, 512), (2.5, 0.8, 0.8), (2.5, 2.5, 2.5), (97, 164, 164)),
        ((97, 512, 512), (2.5, 0.8, 0.8), (5.0, 1.6, 1.6), (48, 256, 256)),
    ],
)
def test_voxels_of_published_examples(shape, spacing, target, expected):
    assert grid_at_spacing(Grid(shape, spacing), target).shape == expected


@pytest.mark.parametrize(
    ("size", "spacing", "target", "expected"),
    [(7, 0.7, 1.5, 4), (10, 5.0, 2.0, 24), (100, 0.75, 1.5, 50), (11, 0.8, 1.5, 6), (5, 3.0, 2.0, 7), (1, 3.0, 2.0, 1)],
)
def test_voxels_from_the_first_centre_to_the_last(size, spacing, target, expected):
    """Paper 001's examples: (n - 1) * s / t + 1, half to even; the spacing is the one that was asked for."""
    for axis in range(3):
        shape, spacings, targets, counts = [1, 1, 1], [1.0] * 3, [1.0] * 3, [1, 1, 1]
        shape[axis], spacings[axis], targets[axis], counts[axis] = size, spacing, target, expected
        grid = grid_from_first_voxel(Grid(tuple(shape), tuple(spacings)), tuple(targets))
        assert grid == Grid(tuple(counts), tuple(targets))


def test_by_ratio_the_spacings_are_divided_first():
    """175 voxels of a quarter of a mm on 0.7 are 62.5, and 33 on 1.1 are 7.5, but for the last bit of either."""
    source = Grid((175, 33, 9), (0.25, 0.25, 2.5))
    assert grid_at_spacing(source, (0.7, 1.1, 5.0)).shape == (63, 7, 4)
    assert grid_at_spacing(source, (0.7, 1.1, 5.0), by_ratio=True).shape == (62, 8, 4)
    assert grid_at_spacing(source, (500.0, 500.0, 0.1), by_ratio=True).shape == (1, 1, 225)
