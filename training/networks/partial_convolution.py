"""Partial convolutions: paper 001's light network for phase one. Tensors (batch, channel, z, y, x)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipe import PARTIAL_CONVOLUTION_STRIDE


class PartialConvolutionBlock(nn.Module):
    """A 3x3x3 convolution of a quarter of the channels, then an inverted bottleneck, around a shortcut (paper 001)."""

    def __init__(self, channels: int, drop_path: float) -> None:
        super().__init__()
        self.convolved = channels // 4
        self.convolution = nn.Conv3d(self.convolved, self.convolved, 3, padding=1, bias=False)
        self.bottleneck = nn.Sequential(
            nn.Conv3d(channels, 2 * channels, 1, bias=False),
            nn.InstanceNorm3d(2 * channels),
            nn.ReLU(),
            nn.Conv3d(2 * channels, channels, 1, bias=False),
        )
        self.drop_path = drop_path

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`. While training a sample's branch is left out with probability `drop_path`."""
        seen, passed = features[:, : self.convolved], features[:, self.convolved :]
        branch = self.bottleneck(torch.cat([self.convolution(seen), passed], 1))
        if self.training and self.drop_path:
            kept = torch.rand(len(features), 1, 1, 1, 1, device=features.device) >= self.drop_path
            branch = branch * kept / (1 - self.drop_path)
        result: Tensor = features + branch
        return result


class PartialConvolutionNet(nn.Module):
    """Paper 001's phase-one network: a patch stem, four stages of two blocks, a head of pointwise convolutions.

    Every stage's features are brought to the finest one's size and fused; the scores come at half the input's size
    (fourteen classes at the input's would cost as much as the network), or with `as_fine_as_input` as in the paper,
    corners on corners. Sides must be multiples of `stem_stride * 2 ** (len(channels) - 1)`.
    """

    HEAD_CHANNELS = 64
    DROP_PATH = 0.1  # of the last block, rising from 0

    def __init__(
        self, channels: tuple[int, ...], classes: int, *, stem_stride: int, as_fine_as_input: bool = False
    ) -> None:
        super().__init__()
        self.scale = stem_stride if as_fine_as_input else stem_stride // PARTIAL_CONVOLUTION_STRIDE
        self.align_corners = as_fine_as_input
        rates = torch.linspace(0, self.DROP_PATH, 2 * len(channels), device="cpu").tolist()
        self.shrink, self.blocks, self.project = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before, side = 1, stem_stride
        for depth, size in enumerate(channels):
            convolution = nn.Conv3d(before, size, side, side, bias=False)
            self.shrink.append(nn.Sequential(convolution, nn.InstanceNorm3d(size)))
            blocks = [PartialConvolutionBlock(size, rate) for rate in rates[2 * depth : 2 * depth + 2]]
            self.blocks.append(nn.Sequential(*blocks))
            self.project.append(nn.Sequential(nn.InstanceNorm3d(size), nn.Conv3d(size, self.HEAD_CHANNELS, 1)))
            before, side = size, 2
        fused = self.HEAD_CHANNELS * len(channels)
        self.fuse = nn.Conv3d(fused, self.HEAD_CHANNELS, 1, groups=self.HEAD_CHANNELS)
        self.score = nn.Conv3d(self.HEAD_CHANNELS, classes, 1)

    @property
    def ends(self) -> list[nn.Module]:
        """The convolution that sees the volume, and the one whose outputs are class scores."""
        return [self.shrink[0][0], self.score]  # type: ignore[index]

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores, one level."""
        return [self(volume)]

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x) at half the size of `volume`, or at its size."""
        projected = []
        for depth, (shrink, blocks, project) in enumerate(zip(self.shrink, self.blocks, self.project, strict=True)):
            volume = blocks(shrink(volume))
            projected.append(F.interpolate(project(volume), scale_factor=float(2**depth), mode="nearest"))
        scores = self.score(self.fuse(torch.cat(projected, 1)))
        return F.interpolate(scores, scale_factor=float(self.scale), mode="trilinear", align_corners=self.align_corners)
