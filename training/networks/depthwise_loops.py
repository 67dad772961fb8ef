"""Depthwise loops: convolutions of each channel by itself, of side 3, 5 or 7, for training on a CPU. Tensors (batch,
channel, z, y, x).

Compiled with numba. Volumes have zeros around each slice, so that a slice is one row of numbers, along which every tap
is the same row begun elsewhere: a pass takes the taps along x, for side 3 those of three rows. LLVM makes vector code
of that. A job is one slice of one channel, which no two threads write to.
"""

from typing import Any

import numpy as np
import torch
from numba import config, njit, prange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

# torch's own kind of threads; those of TBB, numba's first choice, complain of every process that is forked
config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

SIDES = (3, 5, 7)
LENGTH = 512  # numbers of a row at a time: with side 7 what 49 rows hold of them stays in the first cache

Row = NDArray[np.float32]
Slices = NDArray[np.float32]  # (batch * channel, z, numbers of a slice)
Kernels = NDArray[np.float32]  # (batch * channel, side, side, side)


@njit(fastmath=True, cache=True)
def _add_3(top: Row, middle: Row, bottom: Row, weight: NDArray[np.float32], out: Row) -> None:
    """weight: (3, 3), of three rows; the rows are two numbers longer than out."""
    a, b, c = weight[0, 0], weight[0, 1], weight[0, 2]
    d, e, f = weight[1, 0], weight[1, 1], weight[1, 2]
    g, h, j = weight[2, 0], weight[2, 1], weight[2, 2]
    for i in range(len(out)):
        above = a * top[i] + b * top[i + 1] + c * top[i + 2]
        here = d * middle[i] + e * middle[i + 1] + f * middle[i + 2]
        out[i] += above + here + g * bottom[i] + h * bottom[i + 1] + j * bottom[i + 2]


@njit(fastmath=True, cache=True)
def _add_5(read: Row, weight: Row, out: Row) -> None:
    a, b, c, d, e = weight[0], weight[1], weight[2], weight[3], weight[4]
    for i in range(len(out)):
        out[i] += a * read[i] + b * read[i + 1] + c * read[i + 2] + d * read[i + 3] + e * read[i + 4]


@njit(fastmath=True, cache=True)
def _add_7(read: Row, weight: Row, out: Row) -> None:
    a, b, c, d, e, f, g = weight[0], weight[1], weight[2], weight[3], weight[4], weight[5], weight[6]
    for i in range(len(out)):
        left = a * read[i] + b * read[i + 1] + c * read[i + 2]
        out[i] += left + d * read[i + 3] + e * read[i + 4] + f * read[i + 5] + g * read[i + 6]


@njit(fastmath=True, cache=True)
def _sum_3(top: Row, middle: Row, bottom: Row, slope: Row, sums: NDArray[np.float32]) -> None:
    """sums (3, 3): adds the products of the slope with the taps of three rows."""
    a = b = c = d = e = f = g = h = j = np.float32(0)
    for i in range(len(slope)):
        s = slope[i]
        a += s * top[i]
        b += s * top[i + 1]
        c += s * top[i + 2]
        d += s * middle[i]
        e += s * middle[i + 1]
        f += s * middle[i + 2]
        g += s * bottom[i]
        h += s * bottom[i + 1]
        j += s * bottom[i + 2]
    sums[0, 0] += a
    sums[0, 1] += b
    sums[0, 2] += c
    sums[1, 0] += d
    sums[1, 1] += e
    sums[1, 2] += f
    sums[2, 0] += g
    sums[2, 1] += h
    sums[2, 2] += j


@njit(fastmath=True, cache=True)
def _sum_5(read: Row, slope: Row, sums: Row) -> None:
    a = b = c = d = e = np.float32(0)
    for i in range(len(slope)):
        s = slope[i]
        a += s * read[i]
        b += s * read[i + 1]
        c += s * read[i + 2]
        d += s * read[i + 3]
        e += s * read[i + 4]
    sums[0] += a
    sums[1] += b
    sums[2] += c
    sums[3] += d
    sums[4] += e


@njit(fastmath=True, cache=True)
def _sum_7(read: Row, slope: Row, sums: Row) -> None:
    a = b = c = d = e = f = g = np.float32(0)
    for i in range(len(slope)):
        s = slope[i]
        a += s * read[i]
        b += s * read[i + 1]
        c += s * read[i + 2]
        d += s * read[i + 3]
        e += s * read[i + 4]
        f += s * read[i + 5]
        g += s * read[i + 6]
    sums[0] += a
    sums[1] += b
    sums[2] += c
    sums[3] += d
    sums[4] += e
    sums[5] += f
    sums[6] += g


@njit(parallel=True, fastmath=True, cache=True)
def _convolve(volume: Slices, weight: Kernels, bias: Row, width: int, out: Slices) -> None:
    """out: (batch * channel, z, a slice's padded rows); volume: padded all around, rows of `width` numbers."""
    side = weight.shape[1]
    reach = side - 1
    count, depth = out.shape[:2]
    length = out.shape[2] - reach  # the last are padding, and beyond the volume's last row
    for job in prange(count * depth):
        c, z = job // depth, job % depth
        for start in range(0, length, LENGTH):
            stop = min(length, start + LENGTH)
            row = out[c, z][start:stop]
            row[:] = bias[c]
            for a in range(side):
                read = volume[c, z + a]
                if side == 3:
                    top, middle = read[start : stop + 2], read[start + width : stop + width + 2]
                    bottom = read[start + 2 * width : stop + 2 * width + 2]
                    _add_3(top, middle, bottom, weight[c, a], row)
                else:
                    for b in range(side):
                        begun = read[start + b * width : stop + b * width + reach]
                        if side == 5:
                            _add_5(begun, weight[c, a, b], row)
                        else:
                            _add_7(begun, weight[c, a, b], row)


@njit(parallel=True, fastmath=True, cache=True)
def _weight_gradient(volume: Slices, slope: Slices, width: int, out: NDArray[np.float32]) -> None:
    """out: (batch * channel, z, side, side, side), what each slice adds to the gradient of the weight; zeros before.

    slope: as `_convolve` writes, zeros where a row is padding.
    """
    side = out.shape[2]
    reach = side - 1
    count, depth = slope.shape[:2]
    length = slope.shape[2] - reach
    for job in prange(count * depth):
        c, z = job // depth, job % depth
        for start in range(0, length, LENGTH):  # sums of a stretch by themselves: float32 keeps its digits
            stop = min(length, start + LENGTH)
            row = slope[c, z][start:stop]
            for a in range(side):
                read = volume[c, z + a]
                if side == 3:
                    top, middle = read[start : stop + 2], read[start + width : stop + width + 2]
                    bottom = read[start + 2 * width : stop + 2 * width + 2]
                    _sum_3(top, middle, bottom, row, out[c, z, a])
                else:
                    for b in range(side):
                        begun = read[start + b * width : stop + b * width + reach]
                        if side == 5:
                            _sum_5(begun, row, out[c, z, a, b])
                        else:
                            _sum_7(begun, row, out[c, z, a, b])


class DepthwiseConvolution(torch.autograd.Function):
    """Stride 1, zeros around; float32 inside, the dtype of the volume outside."""

    @staticmethod
    def forward(context: Any, volume: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """volume: (batch, channel, z, y, x). weight: (channel, 1, side, side, side). bias: (channel)."""
        batch, side = len(volume), weight.shape[-1]
        kernels = weight.detach().float().squeeze(1).repeat(batch, 1, 1, 1)
        first = torch.zeros(len(weight)) if bias is None else bias.detach().float()
        context.save_for_backward(volume, kernels)
        return _convolved(_padded(volume, side), kernels, first.repeat(batch), volume)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Of the volume, the weight and the bias; the first is a convolution with the weight turned around."""
        volume, kernels = context.saved_tensors
        slope, side = gradients[0], kernels.shape[-1]
        batch, channels = volume.shape[:2]
        of_volume = of_weight = of_bias = None
        if context.needs_input_grad[0]:
            turned, nothing = kernels.flip(1, 2, 3).contiguous(), torch.zeros(len(kernels))
            of_volume = _convolved(_padded(slope, side), turned, nothing, volume)
        if context.needs_input_grad[1]:
            parts = torch.zeros(batch * channels, volume.shape[2], side, side, side)
            rows = F.pad(slope.detach().flatten(0, 1).float(), (0, side - 1)).flatten(2)
            padded = _padded(volume, side)
            _weight_gradient(padded.flatten(2).numpy(), rows.numpy(), padded.shape[-1], parts.numpy())
            of_weight = parts.sum(1).view(batch, channels, 1, side, side, side).sum(0)
        if context.needs_input_grad[2]:
            of_bias = slope.float().sum((0, 2, 3, 4))
        return of_volume, of_weight, of_bias


def _padded(volume: Tensor, side: int) -> Tensor:
    """(batch * channel, z, y, x), float32, with the kernel's reach of zeros on all sides."""
    return F.pad(volume.detach().flatten(0, 1).float(), 6 * (side // 2,))


def _convolved(padded: Tensor, kernels: Tensor, bias: Tensor, like: Tensor) -> Tensor:
    """In the shape and dtype of `like`."""
    height, width = like.shape[3], padded.shape[-1]
    out = torch.empty(len(padded), like.shape[2], height * width)
    _convolve(padded.flatten(2).numpy(), kernels.numpy(), bias.numpy(), width, out.numpy())
    return out.view(*out.shape[:2], height, width)[..., : like.shape[-1]].reshape(like.shape).to(like.dtype)


def depthwise(volume: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.conv3d` with groups=channels and padding=side // 2, weights (channel, 1, side, side, side).

    Sides: one of SIDES.
    """
    result: Tensor = DepthwiseConvolution.apply(volume, weight, bias)  # type: ignore[no-untyped-call]
    return result
