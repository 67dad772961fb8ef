"""Restore: labels on the scan's own grid from class scores on the fine one. Arrays (z, y, x), scores (class, z, y, x).

The answer is that of interpolating every class's score trilinearly at every voxel and taking the winner, which for a
large scan would need 20 GB. But where the eight fine voxels around a point have the same winner, so has their mix: only
points in cells whose corners disagree are interpolated (1 to 2 % of a scan), in slabs, so memory stays bounded.

Regions that are painted over each other are no different: where the last one painted is the same at all corners, its
score is above zero at all of them, and that of a later one at none.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.alignment import HALF_PIXEL, Positions
from app.alignment import positions as positions_in
from app.grid import Box, Grid
from app.steps.classify import classify
from app.types import Labels, Scores, Shape

MIXED = 255  # a cell whose corners disagree
SLAB_VOXELS = 1 << 21  # about 2 MB a slab, small enough for the cache
POINTS_AT_ONCE = 1 << 15  # 14 scores of each of 8 corners: 15 MB


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where target voxels lie between fine ones: the lower and the upper neighbour, and the upper one's weight."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32]

    def part(self, start: int, stop: int) -> "_Axis":
        return _Axis(self.low[start:stop], self.high[start:stop], self.weight[start:stop])


def restore(
    scores: Scores,
    labels: Labels,
    box: Box,
    grid: Grid,
    *,
    positions: Positions | None = None,
    regions: Sequence[int] = (),
    threads: int = 1,
) -> Labels:
    """Labels (uint8) of the whole `grid`: background outside `box`, inside it the interpolated scores' winner.

    labels: the scores' winners, as `classify` gives them. positions: of every voxel of the box its index among the
    scores (`app.alignment`); without them the scores' grid covers exactly the box. regions: as `classify` took them.

    >>> scores = np.array([[[[3.0, 0.0]]], [[[0.0, 1.0]]]], np.float32)  # background wins left, organ 1 right
    >>> restore(scores, np.array([[[0, 1]]], np.uint8), Box((0, 0, 0), (1, 1, 8)), Grid((1, 1, 8), (1.0, 1.0, 1.0)))
    array([[[0, 0, 0, 0, 0, 1, 1, 1]]], dtype=uint8)
    """
    mask = np.zeros(grid.shape, np.uint8)
    target = mask[box.slices]
    if positions is None:
        covering = Grid(box.shape, grid.spacing)
        positions = positions_in(covering, covering, _shape(labels), HALF_PIXEL)
    z, y, x = (_axis(position, fine) for position, fine in zip(positions, labels.shape, strict=True))
    cells = _cells(labels)
    by_voxel = _scores_by_voxel(scores, cells)
    depth = max(1, SLAB_VOXELS // (box.shape[1] * box.shape[2]))

    def fill(first: int) -> None:
        target[first : first + depth] = _restore_slab(cells, by_voxel, (z.part(first, first + depth), y, x), regions)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, box.shape[0], depth)):
            pass
    return mask


def _axis(position: NDArray[np.float64], fine: int) -> _Axis:
    """Voxels at indices among `fine` ones; beyond the outermost of their centres the edge value holds."""
    position = position.clip(0, fine - 1)
    low = np.minimum(position.astype(np.intp), max(0, fine - 2))
    high = np.minimum(low + 1, fine - 1)
    return _Axis(low, high, (position - low).astype(np.float32))


def _shape(labels: Labels) -> Shape:
    z, y, x = labels.shape
    return z, y, x


def _cells(labels: Labels) -> Labels:
    """For each cell between eight neighbouring fine voxels their common label, or MIXED."""
    lows = [slice(0, max(1, n - 1)) for n in labels.shape]
    highs = [slice(min(1, n - 1), None) for n in labels.shape]
    first = labels[tuple(lows)]
    mixed = np.zeros(first.shape, bool)
    for corner in product((0, 1), repeat=3):
        at = tuple(highs[axis] if upper else lows[axis] for axis, upper in enumerate(corner))
        mixed |= labels[at] != first
    return np.where(mixed, np.uint8(MIXED), first)


@dataclass(frozen=True, slots=True)
class _ScoresByVoxel:
    """Scores of the fine voxels at corners of mixed cells only: row[voxel] says where its `values` (n, class) are."""

    row: NDArray[np.int32]
    values: NDArray[Any]  # float32 or int16
    shape: Shape


def _scores_by_voxel(scores: Scores, cells: Labels) -> _ScoresByVoxel:
    """One row of classes a voxel, for the few voxels that matter: eight corners are then eight short reads."""
    z, y, x = scores.shape[1:]
    needed = np.zeros((z, y, x), bool)
    mixed = cells == MIXED
    for offset in product((0, 1), repeat=3):
        at = tuple(
            slice(min(o, n - 1), min(o, n - 1) + m) for o, n, m in zip(offset, (z, y, x), mixed.shape, strict=True)
        )
        needed[at] |= mixed
    row = np.full(needed.size, -1, np.int32)
    row[needed.ravel()] = np.arange(np.count_nonzero(needed), dtype=np.int32)
    values = np.ascontiguousarray(scores[:, needed].T)
    return _ScoresByVoxel(row, values, (z, y, x))


def _restore_slab(
    cells: Labels, scores: _ScoresByVoxel, axes: tuple[_Axis, _Axis, _Axis], regions: Sequence[int]
) -> Labels:
    z, y, x = axes
    slab = cells[z.low].take(y.low, axis=1).take(x.low, axis=2)
    mixed = np.flatnonzero(slab == MIXED)
    flat = slab.reshape(-1)
    for start in range(0, len(mixed), POINTS_AT_ONCE):
        points = mixed[start : start + POINTS_AT_ONCE]
        mixes = _mixes(scores, axes, np.unravel_index(points, slab.shape))
        flat[points] = classify(mixes.T, regions) if regions else mixes.argmax(1)
    return slab


def _mixes(
    scores: _ScoresByVoxel, axes: tuple[_Axis, _Axis, _Axis], points: tuple[NDArray[np.intp], ...]
) -> NDArray[np.float32]:
    """The trilinear mix (point, class) at each point (indices along z, y, x of the slab)."""
    _, ny, nx = scores.shape
    total = np.zeros((len(points[0]), scores.values.shape[1]), np.float32)
    for corner in product((0, 1), repeat=3):
        weight = np.ones(len(points[0]), np.float32)
        index = []
        for axis, at, upper in zip(axes, points, corner, strict=True):
            part = axis.weight[at]
            weight *= part if upper else 1 - part
            index.append((axis.high if upper else axis.low)[at])
        iz, iy, ix = index
        total += scores.values[scores.row[(iz * ny + iy) * nx + ix]] * weight[:, None]
    return total
