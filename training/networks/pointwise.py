"""Pointwise: 1x1x1 convolutions, for training on a CPU. Tensors (batch, channel, z, y, x).

A matrix product, for torch (2.13) takes their weights for ones with the channels last, and moves every volume into that
order and back: from 64 to 112 channels of 40x56x72 voxels, on two cores with AMX, 11 ms in place of 59.
"""

import torch
from torch import Tensor, nn


class Pointwise(nn.Conv3d):
    """A convolution of side 1, that maps the channels of each place."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, outputs, z, y, x): a product while training on a CPU, a convolution in use."""
        if not self.training or features.device.type != "cpu":
            return super().forward(features)
        return mapped(features, self.weight.flatten(1), self.bias)


def mapped(features: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """matrix: (outputs, channel). bias: (outputs). Returns (batch, outputs, z, y, x)."""
    matrices, places = matrix.expand(len(features), -1, -1), features.flatten(2)
    result = torch.bmm(matrices, places) if bias is None else torch.baddbmm(bias[:, None], matrices, places)
    return result.view(*result.shape[:2], *features.shape[2:])
