"""Networks: the plain 3-D U-Net that both phases use. Tensors (batch, channel, z, y, x)."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
    )


class PlainUNet(nn.Module):
    """Two convolutions a level on the way down, one on the way up, instance norm, leaky ReLU (nnU-Net's plain net).

    The input's sides must be multiples of `stem_stride * 2 ** (len(channels) - 1)`. With `stem_stride` 2 the whole
    network runs at half the resolution, and so does its output: the caller reads scores on a grid twice as coarse.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, *, stem_stride: int, supervised_levels: int) -> None:
        super().__init__()
        down = [nn.Sequential(_convolution(1, channels[0], stem_stride), _convolution(channels[0], channels[0]))]
        for above, here in pairwise(channels):
            down.append(nn.Sequential(_convolution(above, here, 2), _convolution(here, here)))
        self.down = nn.ModuleList(down)
        rising = list(reversed(channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(low, high, 2, 2) for low, high in pairwise(rising))
        self.merge = nn.ModuleList(_convolution(2 * high, high) for high in rising[1:])
        self.heads = nn.ModuleList(nn.Conv3d(size, classes, 1) for size in rising[-supervised_levels:])

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores of every supervised level, the finest first."""
        skips = []
        for stage in self.down:
            volume = stage(volume)
            skips.append(volume)
        skips.pop()
        features = [volume]
        for up, merge in zip(self.up, self.merge, strict=True):
            volume = merge(torch.cat([up(volume), skips.pop()], 1))
            features.append(volume)
        supervised = features[-len(self.heads) :]
        return [head(feature) for head, feature in zip(self.heads, supervised, strict=True)][::-1]

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x) of the finest level."""
        return self.levels(volume)[0]


def downsampled(labels: Tensor, times: int) -> Tensor:
    """Labels (batch, z, y, x) at 1 / 2 ** times of the resolution, by nearest neighbour."""
    if not times:
        return labels
    scale = 0.5**times
    return F.interpolate(labels[:, None].float(), scale_factor=scale, mode="nearest-exact")[:, 0].long()
