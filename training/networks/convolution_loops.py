"""Convolution loops: weight gradients of 3x3x3 and 1x3x3 convolutions, compiled with numba. Arrays float32.

Volumes have a voxel of zeros around each slice, so that a slice is one row of numbers, along which every tap is the
same row begun elsewhere. A pass takes four outputs and three taps, twelve sums that stay in registers: LLVM makes
vector code of that, as long as it is told that rows are contiguous. A job is one input channel and four outputs, which
no two threads write to.
"""

import numpy as np
import torch
from numba import config, njit, prange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.networks.convolution import AT_ONCE, KERNELS

# torch's own kind of threads; those of TBB, numba's first choice, complain of every process that is forked
config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

LENGTH = 1024  # numbers of a row at a time: nine rows and four slopes stay in the first cache

Row = NDArray[np.float32]
Slices = NDArray[np.float32]  # (channel, z, numbers of a slice)


@njit(fastmath=True, cache=True)
def _twelve(left: Row, middle: Row, right: Row, s0: Row, s1: Row, s2: Row, s3: Row, sums: Slices) -> None:
    """sums (4, 3): adds the products of four outputs' slopes with three taps, all rows of one length."""
    a0 = a1 = a2 = b0 = b1 = b2 = c0 = c1 = c2 = d0 = d1 = d2 = np.float32(0)
    for i in range(len(s0)):
        a, b, c, d = s0[i], s1[i], s2[i], s3[i]
        u, v, w = left[i], middle[i], right[i]
        a0 += a * u
        a1 += a * v
        a2 += a * w
        b0 += b * u
        b1 += b * v
        b2 += b * w
        c0 += c * u
        c1 += c * v
        c2 += c * w
        d0 += d * u
        d1 += d * v
        d2 += d * w
    sums[0, 0] += a0
    sums[0, 1] += a1
    sums[0, 2] += a2
    sums[1, 0] += b0
    sums[1, 1] += b1
    sums[1, 2] += b2
    sums[2, 0] += c0
    sums[2, 1] += c1
    sums[2, 2] += c2
    sums[3, 0] += d0
    sums[3, 1] += d1
    sums[3, 2] += d2


@njit(parallel=True, fastmath=True, cache=True)
def _gradient(volume: Slices, slope: Slices, width: int, out: NDArray[np.float32]) -> None:
    """out: (output, input, taps along z, 3, 3). volume: padded; slope: (output, z, a padded slice less two rows)."""
    inputs, blocks = volume.shape[0], slope.shape[0] // 4
    depth, taps = slope.shape[1], out.shape[2]
    count = slope.shape[2] - 2  # the last two are padding, and beyond the volume's last row
    for job in prange(inputs * blocks):
        channel, first = job // blocks, 4 * (job % blocks)
        sums = np.zeros((taps, 3, 4, 3), np.float32)
        for z in range(depth):
            for start in range(0, count, LENGTH):
                stop = min(count, start + LENGTH)
                s0, s1 = slope[first, z][start:stop], slope[first + 1, z][start:stop]
                s2, s3 = slope[first + 2, z][start:stop], slope[first + 3, z][start:stop]
                for a in range(taps):
                    read = volume[channel, z + a]
                    for b in range(3):
                        low, high = b * width + start, b * width + stop
                        left, middle, right = read[low:high], read[low + 1 : high + 1], read[low + 2 : high + 2]
                        _twelve(left, middle, right, s0, s1, s2, s3, sums[a, b])
        for o in range(4):
            for a in range(taps):
                for b in range(3):
                    for c in range(3):
                        out[first + o, channel, a, b, c] += sums[a, b, o, c]


def weight_gradient(features: Tensor, slope: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Of a convolution that keeps its input's size: (output, input, *kernel).

    features: (batch, input, z, y, x). slope: of what came out, (batch, output, z, y, x), outputs a multiple of AT_ONCE.
    Both float32. kernel: one of KERNELS. ValueError for others: the loops check nothing.
    """
    if kernel not in KERNELS or slope.shape[1] % AT_ONCE or {features.dtype, slope.dtype} != {torch.float32}:
        raise ValueError(
            f"kernels of {KERNELS}, outputs a multiple of {AT_ONCE}, float32; found {kernel}, {slope.shape[1]}, "
            f"{features.dtype} and {slope.dtype}"
        )
    out = np.zeros((slope.shape[1], features.shape[1], *kernel), np.float32)
    around = kernel[0] // 2
    for sample, of_sample in zip(features.detach(), slope.detach(), strict=True):
        padded = F.pad(sample, (1, 1, 1, 1, around, around)).flatten(2)
        _gradient(padded.numpy(), F.pad(of_sample, (0, 2)).flatten(2).numpy(), sample.shape[-1] + 2, out)
    return torch.from_numpy(out)
