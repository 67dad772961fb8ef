"""nnU-Net v2's networks, built from a plan: PlainConvUNet and ResidualEncoderUNet, with instance or batch norm.

For weights that were trained elsewhere: modules are called as nnU-Net calls them, so that a key of its `state_dict` is
a key here, and the plan may have any number of stages and of convolutions in each. What is trained here is `nnunet`.
Tensors (batch, channel, z, y, x). Stages count from the finest, 0; nnU-Net's decoder from the coarsest.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]  # along three axes
WHOLE: Triple = (1, 1, 1)


@dataclass(frozen=True, slots=True)
class Architecture:
    """Of every stage, the finest first: channels, side of the kernels, stride into it, and how many convolutions it
    has (of a residual one: blocks of two). up_blocks: convolutions of the stages on the way up, nnU-Net's way round:
    the coarsest first.

    bias: of convolutions. batch_norm: in place of instance norm. affine: whether norms have weights. slope: of the
    leaky ReLU where it is below zero; 0 is a plain one. stem_channels: of a residual network's first convolution.
    """

    residual: bool
    channels: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    blocks: tuple[int, ...]
    up_blocks: tuple[int, ...]
    bias: bool = True
    batch_norm: bool = False
    eps: float = 1e-5
    affine: bool = True
    slope: float = 0.01
    stem_channels: int | None = None

    def __post_init__(self) -> None:
        stages = len(self.channels)
        lengths = {len(self.kernels), len(self.strides), len(self.blocks), len(self.up_blocks) + 1}
        if stages < 2 or lengths != {stages}:
            raise ValueError(
                f"needs two stages or more, each with its kernel, stride and convolutions: found {stages} channels, "
                f"{len(self.kernels)} kernels, {len(self.strides)} strides, {len(self.blocks)} and "
                f"{len(self.up_blocks)} + 1 convolutions"
            )
        if self.strides[0] != WHOLE:
            raise ValueError(f"the first stage must keep the size, found stride {self.strides[0]}")
        if any(side % 2 == 0 for kernel in self.kernels for side in kernel):
            raise ValueError("a kernel of even side has no middle; sides must be odd")

    @property
    def multiple(self) -> Triple:
        """What the input's sides must be multiples of."""
        z, y, x = (math.prod(along) for along in zip(*self.strides, strict=True))
        return z, y, x


class PlannedUNet(nn.Module):
    """Raw scores (batch, channel, z, y, x) of the finest stage; the heads of the others are there to be loaded."""

    def __init__(self, plan: Architecture, outputs: int) -> None:
        super().__init__()
        self.encoder = _Encoder(plan)
        self.decoder = _Decoder(plan, outputs)

    def forward(self, volume: Tensor) -> Tensor:
        """(batch, channel, z, y, x), of the input's size."""
        scores: Tensor = self.decoder(self.encoder(volume))
        return scores


class _Encoder(nn.Module):
    def __init__(self, plan: Architecture) -> None:
        super().__init__()
        inputs = 1
        stages: list[nn.Module] = []
        if plan.residual:
            inputs = plan.stem_channels or plan.channels[0]
            self.stem = _Units(plan, 1, 1, inputs, plan.kernels[0], WHOLE)
        for count, outputs, kernel, stride in zip(plan.blocks, plan.channels, plan.kernels, plan.strides, strict=True):
            if plan.residual:
                stages.append(_Blocks(plan, count, inputs, outputs, kernel, stride))
            else:  # in a sequence of its own, as nnU-Net's names have it
                stages.append(nn.Sequential(_Units(plan, count, inputs, outputs, kernel, stride)))
            inputs = outputs
        self.stages = nn.Sequential(*stages)

    def forward(self, volume: Tensor) -> list[Tensor]:
        """Features of every stage, the finest first."""
        features, here = [], self.stem(volume) if hasattr(self, "stem") else volume
        for stage in self.stages:
            here = stage(here)
            features.append(here)
        return features


class _Decoder(nn.Module):
    def __init__(self, plan: Architecture, outputs: int) -> None:
        super().__init__()
        self.stages, self.transpconvs, self.seg_layers = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for count, level in zip(plan.up_blocks, reversed(range(len(plan.channels) - 1)), strict=True):
            low, high, stride = plan.channels[level + 1], plan.channels[level], plan.strides[level + 1]
            self.transpconvs.append(nn.ConvTranspose3d(low, high, stride, stride, bias=plan.bias))
            self.stages.append(_Units(plan, count, 2 * high, high, plan.kernels[level], WHOLE))
            self.seg_layers.append(nn.Conv3d(high, outputs, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        here = features[-1]
        for up, stage, skipped in zip(self.transpconvs, self.stages, features[-2::-1], strict=True):
            here = stage(torch.cat([up(here), skipped], 1))
        scores: Tensor = self.seg_layers[-1](here)
        return scores


class _Unit(nn.Module):
    """Convolution, norm and, if it is `active`, leaky ReLU."""

    def __init__(
        self, plan: Architecture, inputs: int, outputs: int, kernel: Triple, stride: Triple, bias: bool, active: bool
    ) -> None:
        super().__init__()
        z, y, x = (side // 2 for side in kernel)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, (z, y, x), bias=bias)
        norm = nn.BatchNorm3d if plan.batch_norm else nn.InstanceNorm3d
        self.norm = norm(outputs, eps=plan.eps, affine=plan.affine)
        self.nonlin = nn.LeakyReLU(plan.slope, inplace=True) if active else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.nonlin(self.norm(self.conv(features)))
        return result


class _Units(nn.Module):
    """So many convolutions, one after the other; the first has the stride."""

    def __init__(
        self, plan: Architecture, count: int, inputs: int, outputs: int, kernel: Triple, stride: Triple
    ) -> None:
        super().__init__()
        first = _Unit(plan, inputs, outputs, kernel, stride, plan.bias, True)
        others = (_Unit(plan, outputs, outputs, kernel, WHOLE, plan.bias, True) for _ in range(count - 1))
        self.convs = nn.Sequential(first, *others)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.convs(features)
        return result


class _Blocks(nn.Module):
    """So many residual blocks; the first has the stride."""

    def __init__(
        self, plan: Architecture, count: int, inputs: int, outputs: int, kernel: Triple, stride: Triple
    ) -> None:
        super().__init__()
        first = _Block(plan, inputs, outputs, kernel, stride)
        self.blocks = nn.Sequential(first, *(_Block(plan, outputs, outputs, kernel, WHOLE) for _ in range(count - 1)))

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.blocks(features)
        return result


class _Block(nn.Module):
    """Two convolutions, to which what came in is added: averaged where there is a stride, and brought to as many
    channels by a convolution without bias where their number changes."""

    def __init__(self, plan: Architecture, inputs: int, outputs: int, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.conv1 = _Unit(plan, inputs, outputs, kernel, stride, plan.bias, True)
        self.conv2 = _Unit(plan, outputs, outputs, kernel, WHOLE, plan.bias, False)
        skip: list[nn.Module] = [] if stride == WHOLE else [nn.AvgPool3d(stride, stride)]
        if inputs != outputs:
            skip.append(_Unit(plan, inputs, outputs, WHOLE, WHOLE, False, False))
        self.skip = nn.Sequential(*skip)  # without anything in it, what came in
        self.nonlin2 = nn.LeakyReLU(plan.slope, inplace=True)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.nonlin2(self.conv2(self.conv1(features)) + self.skip(features))
        return result
