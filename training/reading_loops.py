"""Reading loops: what volumes hold at given points, for drawing samples on a CPU. Compiled with numba.

Of 2.3 million points in a volume of HU and its labels, on one core: 0.08 s in place of torch's 0.3 (2.13), which reads
float32 alone and needs ten passes for the labels. Volumes (z, y, x); points (n, 3) float32, axes (x, y, z), -1..1 from
one outer face to the other.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Points = NDArray[np.float32]


@njit(cache=True)
def interpolate(
    image: NDArray[np.int16] | NDArray[np.float32], points: Points, outside: float, out: NDArray[np.float32]
) -> None:
    """Trilinear, the edge value holding up to the outer face; `outside` beyond it."""
    depth, height, width = image.shape
    one, half = np.float32(1), np.float32(0.5)
    for i in range(len(points)):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if not (abs(x) <= one and abs(y) <= one and abs(z) <= one):
            out[i] = outside
            continue
        x = min(max((x + one) * (half * width) - half, np.float32(0)), np.float32(width - 1))
        y = min(max((y + one) * (half * height) - half, np.float32(0)), np.float32(height - 1))
        z = min(max((z + one) * (half * depth) - half, np.float32(0)), np.float32(depth - 1))
        left, front, low = int(x), int(y), int(z)
        right, back, high = min(left + 1, width - 1), min(front + 1, height - 1), min(low + 1, depth - 1)
        x, y, z = x - np.float32(left), y - np.float32(front), z - np.float32(low)
        a = (one - x) * image[low, front, left] + x * image[low, front, right]
        b = (one - x) * image[low, back, left] + x * image[low, back, right]
        below = (one - y) * a + y * b
        a = (one - x) * image[high, front, left] + x * image[high, front, right]
        b = (one - x) * image[high, back, left] + x * image[high, back, right]
        out[i] = (one - z) * below + z * ((one - y) * a + y * b)


@njit(cache=True)
def nearest(labels: NDArray[np.uint8], points: Points, out: NDArray[np.uint8]) -> None:
    """The nearest label; 0 outside."""
    depth, height, width = labels.shape
    one, half = np.float32(1), np.float32(0.5)
    for i in range(len(points)):
        x = (points[i, 0] + one) * (half * width)
        y = (points[i, 1] + one) * (half * height)
        z = (points[i, 2] + one) * (half * depth)
        inside = 0 <= x < width and 0 <= y < height and 0 <= z < depth
        out[i] = labels[int(z), int(y), int(x)] if inside else 0
