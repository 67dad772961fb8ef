from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

from app.models.bundle import Window
from app.steps.windows import Plan, plan_windows, window_parts, window_weights


def one_axis(size, largest=64, smallest=16, multiple=16, step=0.75):
    window = Window((largest, 16, 16), (smallest, 16, 16), multiple, step)
    plan = plan_windows((size, 16, 16), window)
    return plan.shape[0], plan.starts[0]


@pytest.mark.parametrize(
    ("size", "side", "starts"),
    [
        pytest.param(1, 16, (0,), id="one voxel"),
        pytest.param(16, 16, (0,), id="just the smallest"),
        pytest.param(17, 32, (0,), id="next multiple"),
        pytest.param(64, 64, (0,), id="just the largest"),
        pytest.param(65, 48, (0, 17), id="one more: two that need 37.1"),
        pytest.param(100, 64, (0, 36), id="two that need 57.1"),
        pytest.param(112, 64, (0, 48), id="the reach of two, 64 + 48"),
        pytest.param(113, 48, (0, 32, 65), id="three that need 45.2"),
    ],
)
def test_one_axis(size, side, starts):
    assert one_axis(size) == (side, starts)


@pytest.mark.parametrize("step", [0.5, 0.75, 0.95, 1.0])
def test_every_voxel_is_covered_and_no_window_reaches_further_than_it_must(step):
    for size in range(1, 400):
        side, starts = one_axis(size, step=step)
        covered = set()
        for start in starts:
            covered |= set(range(start, start + side))
        assert covered >= set(range(size)), size
        assert starts[-1] == max(0, size - side), size
        assert all(b - a <= round(step * side) for a, b in pairwise(starts)), size


def test_smallest_side_holds_and_axes_are_apart():
    plan = plan_windows((10, 40, 130), Window((64, 64, 64), (32, 16, 16), 16, 1.0))
    assert plan.shape == (32, 48, 48)
    assert plan.starts == ((0,), (0,), (0, 41, 82))
    assert plan.corners == [(0, 0, 0), (0, 0, 41), (0, 0, 82)]
    assert plan.filled((10, 40, 130)) == (32, 48, 130)


@pytest.mark.parametrize(
    ("size", "tile", "step", "starts"),
    [
        # paper 004
        (40, 40, 0.5, (0,)), (41, 40, 0.5, (0, 1)), (55, 40, 0.5, (0, 15)), (61, 40, 0.5, (0, 10, 21)),
        (97, 40, 0.5, (0, 19, 38, 57)), (110, 40, 0.5, (0, 18, 35, 52, 70)), (164, 192, 0.5, (0,)),
        # paper 003; its coarse model does not overlap
        (110, 64, 0.5, (0, 23, 46)), (300, 96, 0.5, (0, 41, 82, 122, 163, 204)), (281, 192, 0.5, (0, 89)),
        (109, 64, 1.0, (0, 45)), (324, 160, 1.0, (0, 82, 164)), (324, 224, 1.0, (0, 100)),
        # paper 000 overlaps an eighth
        (200, 80, 0.875, (0, 60, 120)), (210, 80, 0.875, (0, 65, 130)), (155, 80, 0.875, (0, 38, 75)),
        (166, 160, 0.875, (0, 6)), (215, 160, 0.875, (0, 55)),
        # paper 001 overlaps a twentieth; the first and the last window are its, between them ours lie evenly
        (96, 96, 0.95, (0,)), (97, 96, 0.95, (0, 1)), (150, 96, 0.95, (0, 54)), (187, 96, 0.95, (0, 91)),
        (188, 96, 0.95, (0, 46, 92)), (200, 96, 0.95, (0, 52, 104)), (300, 96, 0.95, (0, 68, 136, 204)),
    ],
)  # fmt: skip
def test_starts_of_published_examples(size, tile, step, starts):
    """Of windows of one size: the fewest that overlap so much, evenly, half to even."""
    plan = plan_windows((1, 1, size), Window((1, 1, tile), (1, 1, tile), 1, step))
    assert plan.shape == (1, 1, tile)
    assert plan.starts == ((0,), (0,), starts)


def test_the_last_of_many_windows_ends_with_the_volume():
    plan = plan_windows((239, 1, 1), Window((40, 1, 1), (40, 1, 1), 1, 0.5))
    assert (len(plan.starts[0]), plan.starts[0][-1]) == (11, 199)


def weighted(*shape):
    return window_weights(shape, Window(shape, shape, 1, 0.5, weights="gaussian"))


def test_weights_along_one_axis():
    """Paper 004, scaled to one: the middle of eight is at index 4, and it is not symmetric."""
    expected = np.array([0.003, 0.111, 1.353, 6.065, 10, 6.065, 1.353, 0.111]) / 10
    for shape in ((8, 1, 1), (1, 8, 1), (1, 1, 8)):
        weights = weighted(*shape)
        assert weights.shape == shape
        assert weights.dtype == np.float32
        assert_allclose(weights.ravel(), expected, atol=6e-5)
    # paper 002: four voxels, a deviation of half a voxel
    assert_allclose(weighted(4, 1, 1).ravel(), [0.000335, 0.135335, 1, 0.135335], atol=1e-6)


def test_weights_are_a_product_over_the_axes():
    """Of 32 x 128 x 192 the deviations are 4, 16 and 24 voxels."""
    weights = weighted(32, 128, 192)
    assert weights[16, 64, 96] == weights.max() == 1
    assert weights[12, 64, 96] == pytest.approx(np.exp(-0.5))
    assert weights[16, 80, 96] == pytest.approx(np.exp(-0.5))
    assert weights[20, 48, 72] == pytest.approx(np.exp(-1.5))
    assert weights.min() > 0


def test_weights_may_be_alike():
    weights = window_weights((2, 3, 4), Window((2, 3, 4), (2, 3, 4), 1, 0.5))
    assert weights.dtype == np.float32
    assert (weights == np.ones((2, 3, 4))).all()


def test_a_weight_that_rounds_to_zero_counts_for_a_little(monkeypatch):
    """A narrower Gaussian: e to the -200 is zero in float32, and a voxel that counts for nothing has no mean."""
    monkeypatch.setattr("app.steps.windows.GAUSSIAN_SIDES", 40)
    weights = weighted(16, 1, 1).ravel()
    assert np.exp(np.float32(-200)) == 0
    assert weights.min() > 0
    assert weights[0] == weights[1] == weights[weights > 0].min()


def one_row(side, *starts):
    return Plan((1, 1, side), ((0,), (0,), starts))


def shares(plan, weights):
    """Along x, of each window of a row what its voxels count."""
    parts = window_parts(plan, Window((1, 1, 4), (1, 1, 4), 1, 0.5, weights=weights))
    found = []
    for corner in plan.corners:
        share = np.ones(plan.shape, np.float32)
        for part in parts[corner]:
            share[part.box] *= 1 if part.weight is None else part.weight
        found.append(share[0, 0])
    return found


def test_what_windows_share_is_halved_or_falls_linearly():
    """Windows of 4 at 0, 2 and 4 of 8 voxels: the one in the middle shares all of its own."""
    half, third = 0.5, 1 / 3
    assert_allclose(shares(one_row(4, 0, 2, 4), "uniform"), [[1, 1, half, half], [half] * 4, [half, half, 1, 1]])
    assert_allclose(
        shares(one_row(4, 0, 2, 4), "linear"),
        [[1, 1, 2 * third, third], [third, 2 * third, 2 * third, third], [third, 2 * third, 1, 1]],
        rtol=1e-6,
    )


def test_what_no_other_window_covers_has_no_weight():
    (alone,) = window_parts(one_row(4, 0), Window((1, 1, 4), (1, 1, 4), 1, 0.5))[0, 0, 0]
    assert (alone.box, alone.weight) == ((slice(0, 1), slice(0, 1), slice(0, 4)), None)
    first, second = window_parts(one_row(4, 0, 3), Window((1, 1, 4), (1, 1, 4), 1, 0.75))[0, 0, 0]
    assert first.weight is None
    assert second.weight is not None
    assert (first.box[2], second.box[2], second.weight.tolist()) == (slice(0, 3), slice(3, 4), [[[0.5]]])


@pytest.mark.parametrize("weights", ["uniform", "linear"])
@pytest.mark.parametrize("step", [0.25, 0.5, 0.8, 1.0])
def test_of_every_voxel_all_windows_shares_are_one(weights, step):
    shape = (9, 17, 30)
    window = Window((8, 16, 12), (4, 4, 4), 4, step, weights=weights)
    plan = plan_windows(shape, window)
    total = np.zeros(plan.filled(shape), np.float32)
    parts = window_parts(plan, window)
    for corner in plan.corners:
        mine = total[tuple(slice(start, start + side) for start, side in zip(corner, plan.shape, strict=True))]
        for part in parts[corner]:
            mine[part.box] += 1 if part.weight is None else part.weight
    assert_allclose(total, 1, rtol=1e-6)
