"""Convolution: 3x3x3 and 1x3x3 convolutions of stride 1, for training on a CPU. Tensors (batch, channel, z, y, x).

torch's weight gradients are what training waits for on a CPU without AVX-512: 8 to 20 GFLOP/s of a core, these loops 26
to 46 (2.13, AVX2, 8 to 64 channels); and a batch of one takes a path of torch that is not oneDNN's, ten times slower
for 16 channels. So oneDNN is asked for by name, and weight gradients are compiled with numba. A step of a U-Net of 8 to
96 channels takes less than half as long.
"""

from typing import Any

import torch
from torch import Tensor, nn

from training.arithmetic import HAS_NUMBA

KERNELS = ((3, 3, 3), (1, 3, 3))
AT_ONCE = 4  # outputs whose gradients are summed in one pass; `convolution_loops` is written for four
MOST_CHANNELS = 128  # of one side; above, and in small volumes, oneDNN's gradients are as fast
FEWEST_VOXELS = 1000


class Convolution(nn.Conv3d):
    """`nn.Conv3d` with an odd kernel that keeps an input's size, or a stride; trained by the loops where they help."""

    def forward(self, features: Tensor) -> Tensor:
        """(batch, outputs, z, y, x)."""
        if self.training and torch.is_grad_enabled() and self._suits(features):
            result: Tensor = _Convolve.apply(features, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return result
        return super().forward(features)

    def _suits(self, features: Tensor) -> bool:
        return (
            HAS_NUMBA
            and features.device.type == "cpu"
            and features.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
            and self.kernel_size in KERNELS
            and self.stride == self.dilation == (1, 1, 1)
            and self.padding == tuple(side // 2 for side in self.kernel_size)
            and self.padding_mode == "zeros"
            and self.groups == 1
            and self.out_channels % AT_ONCE == 0
            and max(self.in_channels, self.out_channels) <= MOST_CHANNELS
            and features[0, 0].numel() >= FEWEST_VOXELS
        )


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(features, weight)
        return _onednn(features, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        features, weight = context.saved_tensors
        slope = gradients[0].contiguous()
        of_features = of_weight = of_bias = None
        if context.needs_input_grad[0]:  # a convolution with the weight turned around
            of_features = _onednn(slope, weight.flip(2, 3, 4).transpose(0, 1).contiguous(), None)
        if context.needs_input_grad[1]:
            from training.networks.convolution_loops import weight_gradient

            of_weight = weight_gradient(features, slope, tuple(weight.shape[2:]))
        if context.needs_input_grad[2]:
            of_bias = slope.sum((0, 2, 3, 4))
        return of_features, of_weight, of_bias


def _onednn(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    z, y, x = (side // 2 for side in weight.shape[2:])
    result: Tensor = torch.mkldnn_convolution(features, weight, bias, (z, y, x), (1, 1, 1), (1, 1, 1), 1)
    return result
