"""Splines, against solving for the coefficients of a volume that goes on with its edge."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.steps.spline import splined

FAR = 40  # voxels of the edge, after which a spline no longer sees that they end
STAYS = (0.0, 1.0)


def plain_line(values, first, step, count):
    """Coefficients of all voxels at once, in float64, and the bell of each at each place."""
    wide = np.pad(np.asarray(values, np.float64), FAR, mode="edge")
    beside = np.eye(len(wide), k=1) + np.eye(len(wide), k=-1)
    coefficients = np.linalg.solve(np.eye(len(wide)) * 4 / 6 + beside / 6, wide)
    away = np.abs((first + step * np.arange(count) + FAR)[:, None] - np.arange(len(wide)))
    bell = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.maximum(0, 2 - away) ** 3 / 6)
    return bell @ coefficients


def plain(volume, places, shape):
    for axis, (place, count) in enumerate(zip(places, shape, strict=True)):
        volume = np.apply_along_axis(plain_line, axis, volume, *place, count)
    return volume


@pytest.mark.parametrize(
    ("source", "places", "shape"),
    [
        pytest.param((5, 6, 7), ((-0.25, 0.5), (0.5, 2.0), (0.1, 0.9)), (10, 3, 7), id="finer, coarser, beside"),
        pytest.param((9, 40, 3), ((1.0, 3.0), (-0.3, 0.4), STAYS), (3, 99, 3), id="z is the one that gets less"),
        pytest.param((1, 1, 70), (STAYS, (0.0, 0.2), (-0.4, 0.6)), (1, 4, 116), id="one voxel, and several blocks"),
        pytest.param((4, 4, 4), ((-3.0, 1.0), (2.0, 1.0), STAYS), (10, 5, 4), id="beyond the edges"),
        pytest.param((3, 4, 5), (STAYS, STAYS, STAYS), (3, 4, 5), id="the same"),
    ],
)
@pytest.mark.parametrize("threads", [1, 3])
def test_splines_are_those_of_the_plain_solution(source, places, shape, threads):
    voxels = np.random.default_rng(0).integers(-1000, 1000, source).astype(np.int16)
    voxels.flags.writeable = False
    got = splined(voxels, places, shape, threads=threads)
    assert got.dtype == np.float32
    assert got.shape == shape
    assert_allclose(got, plain(voxels, places, shape), atol=2e-3)  # of 1000: float32


def test_what_stays_is_the_same_to_the_last_bit():
    voxels = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    assert_array_equal(splined(voxels, (STAYS, STAYS, STAYS), (4, 5, 6)), voxels, strict=True)
    got = splined(voxels, (STAYS, (0.5, 2.0), STAYS), (4, 2, 6))
    assert_array_equal(got[2], splined(voxels[2:3], (STAYS, (0.5, 2.0), STAYS), (1, 2, 6))[0])


def test_a_step_overshoots_unless_it_is_to_stay_in_range():
    """Planes of 0 and 1 and of 0 and 9: 9 is in the volume's range, and not in the first plane's."""
    voxels = np.zeros((2, 1, 8), np.float32)
    voxels[0, 0, 4:], voxels[1, 0, 4:] = 1, 9
    places, shape = (STAYS, STAYS, (-0.25, 0.5)), (2, 1, 16)
    free, volume, plane = (splined(voxels, places, shape, ranges=ranges) for ranges in ("", "volume", "plane"))
    assert free[0].min() < -0.05
    assert free[0].max() > 1.05
    assert_array_equal(volume, free.clip(0, 9))
    assert volume[0].max() > 1.05
    assert_array_equal(plane, np.stack([free[0].clip(0, 1), free[1].clip(0, 9)]))
    assert_array_equal(voxels[:, 0, 3:5], [[0, 1], [0, 9]])


def test_whichever_axis_comes_first_in_range_means_the_voxels_range():
    """Along z first where it gets less: the range is that of what was there before."""
    voxels = np.zeros((8, 2, 2), np.float32)
    voxels[4:, 1, 1] = 1
    for places, shape in ((((0.5, 2.0), STAYS, (-0.25, 0.5)), (4, 2, 4)), (((-0.25, 0.5), STAYS, STAYS), (16, 2, 2))):
        got = splined(voxels, places, shape, ranges="volume")
        assert_allclose(got, plain(voxels, places, shape).clip(0, 1), atol=1e-5)
        assert (got.min(), got.max()) == (0, 1)


def test_products_of_few_rows_are_the_same(monkeypatch):
    voxels = np.random.default_rng(2).normal(size=(30, 20, 25)).astype(np.float32)
    places, shape = ((0.2, 1.3), (-0.4, 0.7), (0.3, 1.1)), (20, 28, 22)
    before = splined(voxels, places, shape)
    monkeypatch.setattr("app.steps.spline.COLUMNS", 1)
    monkeypatch.setattr("app.steps.spline.ROWS", 3)
    assert_allclose(splined(voxels, places, shape), before, atol=1e-6)
