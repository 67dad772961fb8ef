from itertools import pairwise

import pytest

from app.models.bundle import Window
from app.steps.windows import plan_windows


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
