"""Plain U-Net: the network of the localiser that ships. Tensors (batch, channel, z, y, x).

nnU-Net's plain network (`nnunet`), but of one convolution a level on the way up, which costs most at the finest level.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from training.networks.convolution import Convolution

NEGATIVE_SLOPE = 0.01


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        Convolution(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
    )


class PlainUNet(nn.Module):
    """Two convolutions a level on the way down, one on the way up, instance norm, leaky ReLU.

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

    @property
    def ends(self) -> list[nn.Module]:
        """The convolutions that see the volume, and those whose outputs are class scores."""
        stem = self.down[0][0][0]  # type: ignore[index]
        return [stem, *self.heads]

    @property
    def joined(self) -> list[nn.Module]:
        """The convolutions that see two features of one width, joined."""
        return [stage[0] for stage in self.merge]  # type: ignore[index]

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x) of the finest level."""
        return self.levels(volume)[0]
