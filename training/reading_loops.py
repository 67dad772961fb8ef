"""Reading loops: what volumes hold at given points, for drawing samples on a CPU. Compiled with numba.

Of 2.3 million points in a volume of HU and its labels, on one core: 0.06 s in place of torch's 0.25 (2.13), which makes
float32 of the whole volume first and needs ten passes for the labels. Volumes (z, y, x); points (n, 3) float32, axes
(x, y, z), -1..1 from one outer face to the other. In float32 throughout, as torch computes, so that what lies on the
face of two voxels is of the same one.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Points = NDArray[np.float32]
HALF, ONE = np.float32(0.5), np.float32(1)


@njit(cache=True)
def interpolate(
    image: NDArray[np.int16] | NDArray[np.float32], points: Points, outside: float, out: NDArray[np.float32]
) -> None:
    """Trilinear, the edge value holding up to the outer face; `outside` beyond it."""
    depth, height, width = image.shape
    for i in range(len(points)):
        x, y, z = points[i]
        if not (abs(x) <= ONE and abs(y) <= ONE and abs(z) <= ONE):
            out[i] = outside
            continue
        x, left, right = _between(x, width)
        y, front, back = _between(y, height)
        z, low, high = _between(z, depth)
        below = _plane(image[low], x, left, right, y, front, back)
        above = _plane(image[high], x, left, right, y, front, back)
        out[i] = (ONE - z) * below + z * above


@njit(cache=True)
def _between(position: np.float32, size: int) -> tuple[np.float32, int, int]:
    """The share of the way from one voxel's centre to the next one's, and the two."""
    place = (position + ONE) * (HALF * np.float32(size)) - HALF
    place = min(max(place, np.float32(0)), np.float32(size - 1))
    first = int(place)
    return place - np.float32(first), first, min(first + 1, size - 1)


@njit(cache=True)
def _plane(
    plane: NDArray[Any], x: np.float32, left: int, right: int, y: np.float32, front: int, back: int
) -> np.float32:
    before = (ONE - x) * np.float32(plane[front, left]) + x * np.float32(plane[front, right])
    behind = (ONE - x) * np.float32(plane[back, left]) + x * np.float32(plane[back, right])
    return (ONE - y) * before + y * behind


@njit(cache=True)
def nearest(labels: NDArray[np.uint8], points: Points, out: NDArray[np.uint8]) -> None:
    """The nearest label; 0 outside."""
    depth, height, width = labels.shape
    for i in range(len(points)):
        x = (points[i, 0] + ONE) * (HALF * np.float32(width))
        y = (points[i, 1] + ONE) * (HALF * np.float32(height))
        z = (points[i, 2] + ONE) * (HALF * np.float32(depth))
        inside = 0 <= x < width and 0 <= y < height and 0 <= z < depth
        out[i] = labels[int(z), int(y), int(x)] if inside else 0
