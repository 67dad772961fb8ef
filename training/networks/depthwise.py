"""Depthwise: 3x3x3 convolutions of each channel by itself, for training on a CPU. Tensors (batch, channel, z, y, x).

torch takes ten times as long on a CPU, forward and backward (2.13; 32 channels of 40x64x64 voxels on two cores: 1.0 s,
here 0.08 s), so that these loops are compiled with numba. Rows run along x and three taps share a pass: LLVM makes
vector code of that. A job is one plane of one channel, which no two threads write to.
"""

from typing import Any

import numpy as np
import torch
from numba import config, njit, prange
from numpy.typing import NDArray
from torch import Tensor

# torch's own kind of threads; those of TBB, numba's first choice, complain of every process that is forked
config.THREADING_LAYER_PRIORITY = ["omp", "workqueue", "tbb"]  # type: ignore[attr-defined]

Planes = NDArray[np.float32]  # (batch * channel, z, y, x)


@njit(parallel=True, fastmath=True, cache=True)
def _convolve(volume: Planes, weight: Planes, out: Planes) -> None:
    """out: `volume` with air of 0 around it, correlated with the weight (3, 3, 3) of each plane."""
    count, depth, height, width = volume.shape
    for job in prange(count * depth):
        c, z = job // depth, job % depth
        for y in range(height):
            row = out[c, z, y]
            row[:] = 0
            for a in range(max(0, 1 - z), min(3, depth + 1 - z)):
                for b in range(max(0, 1 - y), min(3, height + 1 - y)):
                    read = volume[c, z + a - 1, y + b - 1]
                    left, middle, right = weight[c, a, b, 0], weight[c, a, b, 1], weight[c, a, b, 2]
                    row[0] += middle * read[0]
                    row[width - 1] += middle * read[width - 1] * (width > 1)
                    if width > 1:
                        row[0] += right * read[1]
                        row[width - 1] += left * read[width - 2]
                    for x in range(1, width - 1):
                        row[x] += left * read[x - 1] + middle * read[x] + right * read[x + 1]


@njit(parallel=True, fastmath=True, cache=True)
def _weight_gradient(volume: Planes, gradient: Planes, out: Planes) -> None:
    """out: (batch * channel, z, 27), what each plane adds to the gradient of the weight; zeros before."""
    count, depth, height, width = volume.shape
    for job in prange(count * depth):
        c, z = job // depth, job % depth
        for a in range(max(0, 1 - z), min(3, depth + 1 - z)):
            for b in range(3):
                left = middle = right = np.float32(0)
                for y in range(max(0, 1 - b), min(height, height + 1 - b)):
                    read, slope = volume[c, z + a - 1, y + b - 1], gradient[c, z, y]
                    # sums of a row by themselves: float32 keeps its digits
                    row_left = row_middle = row_right = np.float32(0)
                    for x in range(1, width - 1):
                        row_left += slope[x] * read[x - 1]
                        row_middle += slope[x] * read[x]
                        row_right += slope[x] * read[x + 1]
                    row_middle += slope[0] * read[0]
                    if width > 1:
                        row_middle += slope[width - 1] * read[width - 1]
                        row_left += slope[width - 1] * read[width - 2]
                        row_right += slope[0] * read[1]
                    left, middle, right = left + row_left, middle + row_middle, right + row_right
                first = (a * 3 + b) * 3
                out[c, z, first], out[c, z, first + 1], out[c, z, first + 2] = left, middle, right


class DepthwiseConvolution(torch.autograd.Function):
    """Stride 1, one voxel of zeros around, no bias; float32 inside, the dtype of the volume outside."""

    @staticmethod
    def forward(context: Any, volume: Tensor, weight: Tensor) -> Tensor:
        """volume: (batch, channel, z, y, x). weight: (channel, 1, 3, 3, 3)."""
        planes = _planes(volume)
        kernels = weight.detach().float().reshape(-1, 3, 3, 3).repeat(len(volume), 1, 1, 1)
        out = torch.empty_like(planes)
        _convolve(planes.numpy(), kernels.numpy(), out.numpy())
        context.save_for_backward(volume, kernels)
        return out.view(volume.shape).to(volume.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Of the volume and of the weight; the former is a convolution with the weight turned around."""
        volume, kernels = context.saved_tensors
        slope = _planes(gradients[0])
        of_volume = of_weight = None
        if context.needs_input_grad[0]:
            planes = torch.empty_like(slope)
            _convolve(slope.numpy(), kernels.flip(1, 2, 3).contiguous().numpy(), planes.numpy())
            of_volume = planes.view(volume.shape).to(volume.dtype)
        if context.needs_input_grad[1]:
            batch, channels, depth = volume.shape[:3]
            parts = torch.zeros(batch * channels, depth, 27)
            _weight_gradient(_planes(volume).numpy(), slope.numpy(), parts.numpy())
            of_weight = parts.sum(1).view(batch, channels, 1, 3, 3, 3).sum(0)
        return of_volume, of_weight


def _planes(volume: Tensor) -> Tensor:
    """(batch * channel, z, y, x), float32, contiguous."""
    return volume.detach().flatten(0, 1).float().contiguous()


def depthwise(volume: Tensor, weight: Tensor) -> Tensor:
    """`torch.nn.functional.conv3d(volume, weight, padding=1, groups=channels)` for weights (channel, 1, 3, 3, 3)."""
    result: Tensor = DepthwiseConvolution.apply(volume, weight)  # type: ignore[no-untyped-call]
    return result
