"""nnU-Net's plain networks, by plan: papers 000, 002 (student), 003 and 004. Tensors (batch, channel, z, y, x).

A plan is what nnU-Net works out from a data set: channels, kernels and strides of every stage. Levels count from the
finest, 0. The papers' plans stand below, at their width; `dataclasses.replace` makes a narrower one.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks.convolution import Convolution
from training.recipe import PLANS as STRIDES

NEGATIVE_SLOPE = 0.01
Triple = tuple[int, int, int]  # z, y, x
CUBE: Triple = (3, 3, 3)
SLICE: Triple = (1, 3, 3)
WHOLE: Triple = (1, 1, 1)  # stride of a stage that keeps its size
HALF: Triple = (2, 2, 2)
HALF_IN_PLANE: Triple = (1, 2, 2)


@dataclass(frozen=True, slots=True)
class Plan:
    """Of every stage, the finest first: channels, the stride into it, the side of its kernels down and up.

    up_kernels has one entry fewer: the deepest stage is where the way up begins. up_bias: of transposed convolutions
    and heads; nnU-Net v2 has it, v1 has not. kaiming: whether weights start as nnU-Net's, or as torch's.
    """

    channels: tuple[int, ...]
    strides: tuple[Triple, ...]
    kernels: tuple[Triple, ...]
    up_kernels: tuple[Triple, ...]
    up_bias: bool = False
    kaiming: bool = True

    def __post_init__(self) -> None:
        lengths = (len(self.strides), len(self.kernels), len(self.up_kernels) + 1)
        if len(self.channels) < 2 or set(lengths) != {len(self.channels)}:
            raise ValueError(
                f"a plan needs two stages or more, each with its stride and kernels: found {len(self.channels)} "
                f"channels, {len(self.strides)} strides, {len(self.kernels)} kernels and {len(self.up_kernels)} up"
            )
        if any(side % 2 == 0 for kernel in (*self.kernels, *self.up_kernels) for side in kernel):
            raise ValueError("a kernel of even side has no middle; sides must be odd")

    @property
    def multiple(self) -> Triple:
        """What the input's sides must be multiples of."""
        z, y, x = (math.prod(along) for along in zip(*self.strides, strict=True))
        return z, y, x


# 000's teacher, patch 80x160x160, and every model of 003
ISOTROPIC = Plan((32, 64, 128, 256, 320, 320), STRIDES["isotropic"], 6 * (CUBE,), 5 * (CUBE,))
# 000's student: half as wide and a stage deeper, at the same size, so that its two deepest stages are the teacher's
DISTILLED = Plan(
    (16, 32, 64, 128, 256, 320, 320),
    STRIDES["distilled"],
    7 * (CUBE,),
    6 * (CUBE,),
    kaiming=False,
)
# 002's student, patch 32x128x192: whole kernels on the way up even where those on the way down are flat
SMALL = Plan((16, 32, 64, 128, 256), STRIDES["small"], (SLICE, *4 * (CUBE,)), 4 * (CUBE,))
# 004, patch 40x224x192: planned for thick slices and kept on the coarse grid
ANISOTROPIC = Plan(
    (32, 64, 128, 256, 320, 320),
    STRIDES["anisotropic"],
    (SLICE, *5 * (CUBE,)),
    (SLICE, *4 * (CUBE,)),
    up_bias=True,
)

PLANS = {"isotropic": ISOTROPIC, "distilled": DISTILLED, "small": SMALL, "anisotropic": ANISOTROPIC}


class NNUNet(nn.Module):
    """Two convolutions a stage, down and up, each with instance norm and leaky ReLU; strides in place of pooling.

    The finest `supervised_levels` levels of the way up have a head. The way up ends at `finest_level`: 003 runs a
    network whose scores are a quarter as fine as its input, having trained it whole (`shortened`).
    """

    def __init__(self, plan: Plan, classes: int, *, supervised_levels: int, finest_level: int = 0) -> None:
        super().__init__()
        self.plan, self.classes = plan, classes
        channels = plan.channels
        stages = zip((1, *channels), channels, plan.kernels, plan.strides, strict=False)
        self.down = nn.ModuleList(_stage(*stage) for stage in stages)
        # by level, so that a part of the network has the same names as the whole
        self.up, self.merge, self.heads = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for level in reversed(range(finest_level, len(channels) - 1)):
            low, high, stride = channels[level + 1], channels[level], plan.strides[level + 1]
            self.up[str(level)] = nn.ConvTranspose3d(low, high, stride, stride, bias=plan.up_bias)
            self.merge[str(level)] = _stage(2 * high, high, plan.up_kernels[level], WHOLE)
            if level < finest_level + supervised_levels:
                self.heads[str(level)] = nn.Conv3d(high, classes, 1, bias=plan.up_bias)
        if plan.kaiming:
            self.apply(_start)

    def encode(self, volume: Tensor) -> list[Tensor]:
        """Features of every stage on the way down, the finest first."""
        features = []
        for stage in self.down:
            volume = stage(volume)
            features.append(volume)
        return features

    def decode(self, features: list[Tensor]) -> list[Tensor]:
        """From what `encode` gives, class scores of every supervised level, the finest first."""
        here, scores = features[-1], []
        for level, up in self.up.items():  # the coarsest first
            here = self.merge[level](torch.cat([up(here), features[int(level)]], 1))
            if level in self.heads:
                scores.append(self.heads[level](here))
        return scores[::-1]

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores of every supervised level, the finest first."""
        return self.decode(self.encode(volume))

    @property
    def ends(self) -> list[nn.Module]:
        """The convolution that sees the volume, and those whose outputs are class scores."""
        stem = self.down[0][0]  # type: ignore[index]
        return [stem, *self.heads.values()]

    @property
    def joined(self) -> list[nn.Module]:
        """The convolutions that see two features of one width, joined."""
        return [stage[0] for stage in self.merge.values()]  # type: ignore[index]

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x) of the finest level."""
        return self.levels(volume)[0]


def shortened(network: NNUNet, finest_level: int) -> NNUNet:
    """A copy whose way up ends at `finest_level`, with that level's head as its only one.

    KeyError if the level has no head: the network was trained without it.
    """
    short = NNUNet(network.plan, network.classes, supervised_levels=1, finest_level=finest_level)
    weights = network.state_dict()
    short.load_state_dict({name: weights[name] for name in short.state_dict()})
    return short.train(network.training)


def _stage(inputs: int, outputs: int, kernel: Triple, stride: Triple) -> nn.Sequential:
    return nn.Sequential(*_unit(inputs, outputs, kernel, stride), *_unit(outputs, outputs, kernel, WHOLE))


def _unit(inputs: int, outputs: int, kernel: Triple, stride: Triple) -> list[nn.Module]:
    z, y, x = (side // 2 for side in kernel)
    return [
        Convolution(inputs, outputs, kernel, stride, padding=(z, y, x)),
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
    ]


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
