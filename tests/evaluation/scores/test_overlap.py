import math

import numpy as np
import pytest
import surface_distance
from scipy import ndimage

from evaluation.scores.overlap import dice, surface_dice

BOX = np.zeros((6, 6, 8), bool)
BOX[2:4, 2:4, 2:4] = True
LONGER = np.zeros((6, 6, 8), bool)
LONGER[2:4, 2:4, 2:5] = True  # one voxel more along z


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param([1, 1], [1, 1], 1.0, id="equal"),
        pytest.param([1, 1], [0, 0], 0.0, id="missed"),
        pytest.param([1, 1, 1, 0], [0, 1, 1, 1], 2 / 3, id="two of three, one too many"),
    ],
)
def test_dice(truth, prediction, expected):
    assert dice(np.array(truth, bool), np.array(prediction, bool)) == expected


def test_nothing_to_compare_is_no_number():
    empty = np.zeros((2, 3, 4), bool)
    assert math.isnan(dice(empty, empty))
    assert math.isnan(surface_dice(empty, empty, (1, 1, 1), 1))
    one = empty.copy()
    one[1, 1, 1] = True
    assert surface_dice(empty, one, (1, 1, 1), 1) == 0
    assert surface_dice(one, empty, (1, 1, 1), 1) == 0


# Surface elements sit at the corners of voxels. Of a box, one at a corner of the box has the area c, on an edge e, on a
# face f; at 1 mm c = sqrt(3)/8, e = sqrt(2)/2, f = 1. BOX has 8 c, 12 e and 6 f, LONGER 8 c, 16 e and 10 f.
# Within 0.5 mm is what coincides: all of BOX but the middle of its top (f), all of LONGER but its top (4 c, 4 e, f).
def test_worked_out_at_1_mm():
    c, e, f = math.sqrt(3) / 8, math.sqrt(2) / 2, 1
    whole = (8 * c + 12 * e + 6 * f) + (8 * c + 16 * e + 10 * f)
    expected = (whole - f - (4 * c + 4 * e + f)) / whole
    assert expected == pytest.approx(0.8550, abs=5e-5)
    assert surface_dice(BOX, LONGER, (1, 1, 1), 0.5) == pytest.approx(expected, abs=1e-9)


# With z at 5 mm an area is a vector's length: corner (5, 5, 1)/8, edge along z 2 (5, 5)/4, along x or y 2 (5, 1)/4,
# face across z 1, across x or y 5. Within 3 mm is now all of BOX: the middle of its top has the ring around it at 1 mm.
def test_worked_out_at_5_mm_along_z():
    c, upright, flat = math.sqrt(51) / 8, math.sqrt(50) / 2, math.sqrt(26) / 2
    box = 8 * c + 8 * flat + 4 * upright + 2 * 1 + 4 * 5
    longer = 8 * c + 8 * flat + 8 * upright + 2 * 1 + 8 * 5
    expected = (box + longer - (4 * c + 4 * flat + 1)) / (box + longer)
    assert expected == pytest.approx(0.9086, abs=5e-5)
    assert surface_dice(BOX, LONGER, (1, 1, 5), 3) == pytest.approx(expected, abs=1e-9)
    assert surface_dice(BOX, LONGER, (1, 1, 5), 5) == 1  # the layer is within the tolerance, to the last digit


def test_the_border_of_the_volume_is_a_surface_like_any():
    tight, longer = BOX[2:4, 2:4, 2:5], LONGER[2:4, 2:4, 2:5]
    assert surface_dice(tight, longer, (1, 1, 5), 3) == surface_dice(BOX, LONGER, (1, 1, 5), 3)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_library_on_blobs_over_the_whole_volume(seed):
    """The library over the whole volume, without our crop."""
    random = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(random.normal(size=(30, 26, 22)), 2)
    truth, prediction = noise > 0.03, noise + 0.02 * random.normal(size=noise.shape) > 0.05
    spacing, tolerance = (0.8, 1.3, 2.5), float(random.uniform(0.5, 4))
    distances = surface_distance.compute_surface_distances(truth, prediction, spacing)
    expected = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
    assert 0.1 < expected < 1
    assert surface_dice(truth, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("tolerance", [0.5, 2.0, 5.0, 12.0])
def test_parts_measured_apart_are_no_other_figure(tolerance):
    """Specks of two masks all over a volume, at all distances from each other, some of one mask alone."""
    random = np.random.default_rng(0)
    truth, prediction = np.zeros((60, 50, 40), bool), np.zeros((60, 50, 40), bool)
    for volume, count in ((truth, 15), (prediction, 15)):
        for corner in random.integers(0, (56, 46, 36), (count, 3)):
            volume[
                tuple(slice(start, start + size) for start, size in zip(corner, random.integers(1, 5, 3), strict=True))
            ] = True
    prediction[5:9, 5:9, 5:9] = truth[5:9, 5:9, 5:9] = True
    spacing = (0.8, 1.3, 2.5)
    distances = surface_distance.compute_surface_distances(truth, prediction, spacing)
    expected = surface_distance.compute_surface_dice_at_tolerance(distances, tolerance)
    assert 0 < expected < 1
    assert surface_dice(truth, prediction, spacing, tolerance) == pytest.approx(expected, abs=1e-12)
