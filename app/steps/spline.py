"""Spline: a cubic B-spline through a volume's voxels, read at other places. Arrays (z, y, x).

Along an axis that is one linear map, coefficients and the four of them that a place sees in one, so a volume takes
three products with a matrix each. No volume of float64 coefficients is made, and neither are 64 products a voxel. The
matrices are bands: a voxel counts for nothing some fifteen voxels away, so rows are taken in blocks. Beyond its edges
a volume is taken to go on with what it ends with, as scipy's `nearest` and skimage's `edge` mean it.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.types import Shape, Volume, Voxels

POLE = math.sqrt(3) - 2  # of the filter that gives coefficients; so much less does the next voxel count
REACH = 14  # voxels, after which it counts for 1e-8
ROWS = 32  # of a band that are one product
COLUMNS = 1 << 16  # of a volume that are one product along z: 13 MB of 100 planes, on either side

Place = tuple[float, float]
"""(first, step): voxel j of the target lies at index first + j * step of the source."""


def splined(voxels: Voxels, places: Sequence[Place], shape: Shape, *, ranges: str = "", threads: int = 1) -> Volume:
    """Values of `voxels` (only read) at `places`, of each axis: float32 of `shape`.

    ranges: what overshoots is cut to the least and the greatest value of the "volume", or of each "plane" of z, where
    none is interpolated along z; by itself it is left.
    """
    bands = [_band(size, count, *place) for size, count, place in zip(voxels.shape, shape, places, strict=True)]
    along_z, in_plane = shape[0] / voxels.shape[0], math.prod(shape[1:]) / math.prod(voxels.shape[1:])
    limits = (float(voxels.min()), float(voxels.max())) if ranges == "volume" else None
    with ThreadPoolExecutor(threads) as pool:
        if along_z < in_plane:  # first what leaves less, so that no volume in between is larger than both
            volume = _planes(_along_z(voxels, bands[0], pool), bands[1:], pool, in_range=ranges == "plane")
        else:
            volume = _along_z(_planes(voxels, bands[1:], pool, in_range=ranges == "plane"), bands[0], pool)
    return volume if limits is None else np.clip(volume, *limits, out=volume)


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows of a band matrix: `weights` (target, source) of what they are made of."""

    target: slice
    source: slice
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Band:
    """A matrix (count, size) in blocks; none where it changes nothing."""

    count: int
    blocks: list[_Block]

    def times(self, lines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of `lines` (size, n) along their first axis: (count, n)."""
        if not self.blocks:
            return lines
        made = np.empty((self.count, lines.shape[1]), np.float32)
        for block in self.blocks:
            np.matmul(block.weights, lines[block.source], out=made[block.target])
        return made


def _band(size: int, count: int, first: float, step: float) -> _Band:
    if (size, first, step) == (count, 0.0, 1.0):
        return _Band(count, [])
    return _Band(count, [_block(size, row, min(row + ROWS, count), first, step) for row in range(0, count, ROWS)])


def _block(size: int, start: int, stop: int, first: float, step: float) -> _Block:
    places = first + step * np.arange(start, stop)
    below = np.floor(places).astype(np.intp)[:, None]
    near = below + np.arange(-1, 3)  # coefficients that a place sees
    seen = below + np.arange(-REACH, REACH + 2)  # voxels that these are made of
    of_coefficient = math.sqrt(3) * POLE ** np.abs(near[:, :, None] - seen[:, None, :])
    values = (_bell(places[:, None] - near)[:, :, None] * of_coefficient).sum(1)
    inside = seen.clip(0, size - 1)
    low, high = int(inside.min()), int(inside.max()) + 1
    weights = np.zeros((stop - start, high - low))
    np.add.at(weights, (np.arange(stop - start)[:, None], inside - low), values)
    return _Block(slice(start, stop), slice(low, high), weights.astype(np.float32))


def _bell(away: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cubic B-spline at so many voxels from its middle."""
    far = np.abs(away)
    inner = 2 / 3 - far**2 * (1 - far / 2)
    outer = np.maximum(0, 2 - far) ** 3 / 6
    return np.where(far < 1, inner, outer)


def _planes(voxels: Voxels, bands: Sequence[_Band], pool: ThreadPoolExecutor, *, in_range: bool) -> Volume:
    y, x = bands
    made = np.empty((len(voxels), y.count, x.count), np.float32)

    def fill(z: int) -> None:
        plane = np.ascontiguousarray(voxels[z], np.float32)
        made[z] = x.times(y.times(plane).T).T
        if in_range:
            np.clip(made[z], plane.min(), plane.max(), out=made[z])

    for _ in pool.map(fill, range(len(voxels))):
        pass
    return made


def _along_z(voxels: Voxels, band: _Band, pool: ThreadPoolExecutor) -> Volume:
    if not band.blocks:
        return np.asarray(voxels, np.float32)
    _, ny, nx = voxels.shape
    made = np.empty((band.count, ny, nx), np.float32)
    rows = max(1, COLUMNS // nx)

    def fill(y: int) -> None:
        some = np.ascontiguousarray(voxels[:, y : y + rows], np.float32)
        made[:, y : y + rows] = band.times(some.reshape(len(some), -1)).reshape(band.count, -1, nx)

    for _ in pool.map(fill, range(0, ny, rows)):
        pass
    return made
