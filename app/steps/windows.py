"""Windows: how a volume is covered, and what counts in each. Voxels (z, y, x); no mirroring (papers 000, 003)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from app.models.bundle import GAUSSIAN, LINEAR, ZERO, Bundle, Window
from app.steps.normalise import normalise
from app.types import AIR, Shape, Volume

GAUSSIAN_SIDES = 8  # of a window's side, one standard deviation


@dataclass(frozen=True, slots=True)
class Plan:
    """shape: sides of every window. starts: where windows begin, per axis; all combinations are meant."""

    shape: Shape
    starts: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

    def filled(self, shape: Shape) -> Shape:
        """Sides of a volume of `shape` once it is filled up to at least a window."""
        z, y, x = (max(sides) for sides in zip(shape, self.shape, strict=True))
        return z, y, x

    def padding(self, shape: Shape, *, centred: bool) -> list[tuple[int, int]]:
        """Voxels missing before and after a volume of `shape`, per axis; of an odd number the one more is at the end.

        Not centred, all are at the end.
        """
        missing = [side - size for size, side in zip(shape, self.filled(shape), strict=True)]
        return [(more // 2, more - more // 2) if centred else (0, more) for more in missing]

    @property
    def corners(self) -> list[Shape]:
        """First voxel of each window."""
        return [(z, y, x) for z, y, x in product(*self.starts)]


def plan_windows(shape: Shape, window: Window) -> Plan:
    """The fewest windows that cover `shape`, as small as they can then be: what they cover twice or beyond the edge
    is arithmetic for nothing.

    Along an axis n windows of side w, a share `step` of w apart, reach (n - 1) * step * w + w voxels. n is the least
    for which the largest side suffices, w the least multiple that then does. For 100 voxels, sides up to 64, multiples
    of 16, step 0.75: one window reaches 64, two reach 112, and two of 64 (not 48, which reach 84) are taken, at 0 and
    36. A volume smaller than its windows is filled up with air by whoever runs them.
    """
    sides, starts = zip(
        *(
            _plan_axis(size, largest, smallest, window.multiple, window.step)
            for size, largest, smallest in zip(shape, window.largest, window.smallest, strict=True)
        ),
        strict=True,
    )
    return Plan(sides, starts)


def _plan_axis(size: int, largest: int, smallest: int, multiple: int, step: float) -> tuple[int, tuple[int, ...]]:
    count = 1 + max(0, math.ceil((size - largest) / (step * largest)))
    needed = size / ((count - 1) * step + 1)
    side = max(smallest, min(largest, math.ceil(needed / multiple) * multiple))
    if count == 1:
        return side, (0,)
    return side, tuple(round(i * (size - side) / (count - 1)) for i in range(count))


def filled_up(volume: Volume, padding: list[tuple[int, int]], bundle: Bundle) -> Volume:
    """A normalised volume with what the bundle says around it; the same array where nothing is missing."""
    if not any(before or after for before, after in padding):
        return volume
    fill = np.float32(0)
    if bundle.window is not None and bundle.window.fill != ZERO and bundle.intensity is not None:
        fill = normalise(np.full(1, AIR, np.float32), bundle.intensity)[0]  # by a scan's own figures air is 0
    return np.pad(volume, padding, constant_values=fill)


Weight: TypeAlias = NDArray[np.float32] | NDArray[np.int16] | None
"""How much voxels count, broadcast to a box; None for 1, where no other window counts."""


@dataclass(frozen=True, slots=True)
class Part:
    """A box of a window, (z, y, x), and how much its voxels count."""

    box: tuple[slice, slice, slice]
    weight: Weight


def window_parts(plan: Plan, window: Window) -> dict[Shape, list[Part]]:
    """By each window's first voxel the boxes that it consists of, with what they count.

    Where windows overlap they count alike, or with "linear" the less the nearer their own edge is. The weights of all
    that cover a voxel add up to 1, so that a sum over all windows is their mean, and most of a window, which no other
    covers, is summed as it is.
    """
    along = [
        list(zip(starts, _shares(starts, side, falls=window.weights == LINEAR), strict=True))
        for starts, side in zip(plan.starts, plan.shape, strict=True)
    ]
    return {
        (z, y, x): [_part(*runs) for runs in product(_runs(in_z), _runs(in_y), _runs(in_x))]
        for (z, in_z), (y, in_y), (x, in_x) in product(*along)
    }


def _shares(starts: Sequence[int], side: int, *, falls: bool) -> list[NDArray[np.float32]]:
    """Along an axis, of each window the share that its voxels have of a mean over all windows there."""
    weights = [np.full(side, float(side)) for _ in starts]
    if falls:
        for after, before in zip(weights[1:], weights, strict=False):
            np.minimum(after, np.arange(1, side + 1), out=after)
            np.minimum(before, np.arange(side, 0, -1), out=before)
    total = np.zeros(max(starts) + side)
    windows = [slice(start, start + side) for start in starts]
    for window, weight in zip(windows, weights, strict=True):
        total[window] += weight
    return [(weight / total[window]).astype(np.float32) for window, weight in zip(windows, weights, strict=True)]


def _runs(share: NDArray[np.float32]) -> list[tuple[slice, NDArray[np.float32] | None]]:
    """Stretches of an axis that are shared, with the share of each voxel, and those that are not."""
    edges = [0, *(np.flatnonzero(np.diff(share == 1)) + 1).tolist(), len(share)]
    return [(slice(a, b), None if share[a] == 1 else share[a:b]) for a, b in pairwise(edges)]


def _part(*runs: tuple[slice, NDArray[np.float32] | None]) -> Part:
    """One stretch along z, y and x each; the box's weight is the product of theirs."""
    z, y, x = (where for where, _ in runs)
    weight: NDArray[np.float32] | None = None
    for axis, (_, share) in enumerate(runs):
        if share is not None:
            spread = share.reshape([-1 if other == axis else 1 for other in range(3)])
            weight = spread if weight is None else weight * spread
    return Part((z, y, x), weight)


def window_weights(shape: Shape, window: Window) -> Volume:
    """How much each voxel of a window counts, (z, y, x): all the same, or a Gaussian about the middle voxel.

    Its deviation is an eighth of each side, as in nnU-Net (https://github.com/MIC-DKFZ/nnUNet). Zeros, which far
    corners of large windows round to, are replaced by the smallest number that is none.
    """
    if window.weights != GAUSSIAN:
        return np.ones(shape, np.float32)
    z, y, x = (np.exp(-0.5 * ((np.arange(n) - n // 2) * GAUSSIAN_SIDES / n) ** 2) for n in shape)
    weights = (z[:, None, None] * y[:, None] * x).astype(np.float32)
    weights[weights == 0] = weights[weights > 0].min()
    return weights
