"""Depthwise loops: convolutions of each channel by itself, of side 3, 5 or 7, for training on a CPU. Tensors (batch,
channel, z, y, x).

Compiled with numba. A job is one channel of one sample, padded with zeros in a copy that stays in a core's cache as
long as it is no larger (0.7 MB for 40x56x72 voxels). A slice of it is one row of numbers, along which every tap is the
same row begun elsewhere; a pass takes the taps along x, for side 3 those of three rows, and LLVM makes vector code of
that. numba does not know bfloat16: volumes come as bits, those of bfloat16 are the upper half of float32's.
"""

from typing import Any

import numpy as np
import torch
from numba import config, njit, prange
from numpy.typing import NDArray
from torch import Tensor

# torch's own kind of threads; those of TBB, numba's first choice, complain of every process that is forked
config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

SIDES = (3, 5, 7)
DTYPES = (torch.float32, torch.bfloat16)
LENGTH = 512  # numbers of a row at a time: with side 7 what 49 rows hold of them stays in the first cache

Row = NDArray[np.float32]
Volume = NDArray[np.uint16] | NDArray[np.uint32]  # bits of bfloat16 or float32
Volumes = Volume  # (batch * channel, z, y, x)
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


@njit(fastmath=True, cache=True)
def _padded(volume: Volume, reach: int) -> NDArray[np.float32]:
    """(z, y, x) with `reach` zeros on all sides."""
    depth, height, width = volume.shape
    bits = np.zeros((depth + 2 * reach, height + 2 * reach, width + 2 * reach), np.uint32)
    shift = np.uint32(32 - 8 * volume.itemsize)
    for z in range(depth):
        for y in range(height):
            read, row = volume[z, y], bits[z + reach, y + reach, reach:]
            for x in range(width):
                row[x] = np.uint32(read[x]) << shift
    return bits.view(np.float32)


@njit(fastmath=True, cache=True)
def _write_rounded(bits: NDArray[np.uint32], out: Volume) -> None:
    """Rows of float32, as bits, into a slice (y, x): rounded to even if it is of bfloat16."""
    shift = np.uint32(32 - 8 * out.itemsize)
    # to the nearest, of two as near to the even one: just below half of the last place is added, and to odd ones half
    below_half, odd = (np.uint32(0x7FFF), np.uint32(1)) if shift else (np.uint32(0), np.uint32(0))
    for y in range(out.shape[0]):
        row, read = out[y], bits[y]
        for x in range(out.shape[1]):
            row[x] = (read[x] + below_half + ((read[x] >> np.uint32(16)) & odd)) >> shift


@njit(fastmath=True, cache=True)
def _convolved(padded: NDArray[np.float32], weight: NDArray[np.float32], bias: float, out: Volume) -> None:
    """Of one channel. weight: (side, side, side)."""
    side, width = len(weight), padded.shape[2]
    reach = side - 1
    result = np.empty((out.shape[1], width), np.float32)
    rows = result.reshape(-1)
    length = len(rows) - reach  # the last are padding, and beyond the volume's last row
    for z in range(len(out)):
        for start in range(0, length, LENGTH):
            stop = min(length, start + LENGTH)
            row = rows[start:stop]
            row[:] = bias
            for a in range(side):
                read = padded[z + a].reshape(-1)
                if side == 3:
                    top, middle = read[start : stop + 2], read[start + width : stop + width + 2]
                    bottom = read[start + 2 * width : stop + 2 * width + 2]
                    _add_3(top, middle, bottom, weight[a], row)
                else:
                    for b in range(side):
                        begun = read[start + b * width : stop + b * width + reach]
                        if side == 5:
                            _add_5(begun, weight[a, b], row)
                        else:
                            _add_7(begun, weight[a, b], row)
        _write_rounded(result.view(np.uint32), out[z])


@njit(fastmath=True, cache=True)
def _add_weight_gradient(padded: NDArray[np.float32], slope: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """out: (side, side, side). padded, slope: of one channel, with zeros all around."""
    side, width = len(out), padded.shape[2]
    reach = side - 1
    first = (width + 1) * (reach // 2)  # of a slice of the slope, what is no padding
    length = slope.shape[1] * width - reach * width - reach
    for z in range(len(padded) - reach):
        of_slice = np.zeros_like(out)  # sums of a slice by themselves: float32 keeps its digits
        for start in range(0, length, LENGTH):
            stop = min(length, start + LENGTH)
            row = slope[z + reach // 2].reshape(-1)[first + start : first + stop]
            for a in range(side):
                read = padded[z + a].reshape(-1)
                if side == 3:
                    top, middle = read[start : stop + 2], read[start + width : stop + width + 2]
                    bottom = read[start + 2 * width : stop + 2 * width + 2]
                    _sum_3(top, middle, bottom, row, of_slice[a])
                else:
                    for b in range(side):
                        begun = read[start + b * width : stop + b * width + reach]
                        if side == 5:
                            _sum_5(begun, row, of_slice[a, b])
                        else:
                            _sum_7(begun, row, of_slice[a, b])
        out += of_slice


@njit(parallel=True, fastmath=True, cache=True)
def _convolve(volume: Volumes, weight: Kernels, bias: Row, out: Volumes) -> None:
    reach = weight.shape[1] // 2
    for job in prange(len(volume)):
        _convolved(_padded(volume[job], reach), weight[job], bias[job], out[job])


@njit(parallel=True, fastmath=True, cache=True)
def _gradients(volume: Volumes, slope: Volumes, turned: Kernels, of_volume: Volumes, of_weight: Kernels) -> None:
    """of_weight: zeros before."""
    reach = turned.shape[1] // 2
    for job in prange(len(volume)):
        padded = _padded(slope[job], reach)
        _convolved(padded, turned[job], 0.0, of_volume[job])
        _add_weight_gradient(_padded(volume[job], reach), padded, of_weight[job])


class DepthwiseConvolution(torch.autograd.Function):
    """Stride 1, zeros around; float32 inside, the dtype of the volume outside."""

    @staticmethod
    def forward(context: Any, volume: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """volume: (batch, channel, z, y, x). weight: (channel, 1, side, side, side). bias: (channel)."""
        kernels = weight.detach().float().squeeze(1).repeat(len(volume), 1, 1, 1)
        first = torch.zeros(len(weight)) if bias is None else bias.detach().float()
        context.save_for_backward(volume, kernels)
        out = torch.empty_like(volume, memory_format=torch.contiguous_format)
        _convolve(_bits(volume), kernels.numpy(), first.repeat(len(volume)).numpy(), _bits(out))
        return out

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of the volume, the weight and the bias; the first is a convolution with the weight turned around.

        The first two whether asked for or not: they share the padded slope.
        """
        volume, kernels = context.saved_tensors
        slope = gradients[0]
        of_volume = torch.empty_like(volume, memory_format=torch.contiguous_format)
        of_weight = torch.zeros_like(kernels)
        turned = kernels.flip(1, 2, 3).contiguous()
        _gradients(_bits(volume), _bits(slope), turned.numpy(), _bits(of_volume), of_weight.numpy())
        of_bias = slope.float().sum((0, 2, 3, 4)) if context.needs_input_grad[2] else None
        return of_volume, of_weight.view(len(volume), -1, 1, *kernels.shape[1:]).sum(0), of_bias


def _bits(volume: Tensor) -> Volumes:
    """(batch * channel, z, y, x), of the volume itself where it is contiguous."""
    kind = torch.uint16 if volume.dtype == torch.bfloat16 else torch.uint32
    bits: Volumes = volume.detach().contiguous().flatten(0, 1).view(kind).numpy()
    return bits


def depthwise(volume: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.conv3d` with groups=channels and padding=side // 2, weights (channel, 1, side, side, side).

    ValueError for other sides than SIDES and other dtypes than DTYPES: the loops check neither.
    """
    if weight.shape[-1] not in SIDES or volume.dtype not in DTYPES:
        raise ValueError(f"sides of {SIDES} and volumes of {DTYPES}, found {weight.shape[-1]} and {volume.dtype}")
    result: Tensor = DepthwiseConvolution.apply(volume, weight, bias)  # type: ignore[no-untyped-call]
    return result
