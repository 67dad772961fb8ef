"""Space to depth: what U-Nets share whose features are coarser than their voxels. Tensors (batch, channel, z, y, x).

At every entry eight voxels become eight channels of one place (none is thrown away, as by a strided stem), at the exit
eight scores of a class become eight places. Skips are added, not concatenated. In use batch renorms and fixed norms
are part of the convolutions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from training.networks.batch_renorm import BatchRenorm
from training.networks.convolution import Convolution
from training.networks.depthwise import Depthwise
from training.networks.pointwise import Pointwise, mapped

NEGATIVE_SLOPE = 0.01
SIDE = 2  # of the block of voxels that becomes one place
MakeNorm = Callable[[int], nn.Module]  # of so many channels
NORMS: dict[str, MakeNorm] = {"batch-renorm": BatchRenorm, "instance": partial(nn.InstanceNorm3d, affine=True)}


def space_to_depth(volume: Tensor) -> Tensor:
    """(b, c, 2z, 2y, 2x) to (b, 8c, z, y, x); of a channel's eight, x runs fastest."""
    batch, channels, *sides = volume.shape
    z, y, x = (side // SIDE for side in sides)
    blocks = volume.view(batch, channels, z, SIDE, y, SIDE, x, SIDE)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, channels * SIDE**3, z, y, x)


def depth_to_space(scores: Tensor) -> Tensor:
    """`space_to_depth` undone."""
    batch, channels, z, y, x = scores.shape
    blocks = scores.view(batch, channels // SIDE**3, SIDE, SIDE, SIDE, z, y, x)
    shape = (batch, channels // SIDE**3, z * SIDE, y * SIDE, x * SIDE)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(shape)


class Doubling(nn.ConvTranspose3d):
    """A transposed convolution of side and stride 2; while training on a CPU a product and a move.

    For the reason of `pointwise`: from 64 to 32 channels of 20x28x36 voxels, forward and backward on two cores with
    AMX, 11 ms in place of 31.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, SIDE, SIDE)

    def forward(self, features: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, outputs, 2z, 2y, 2x); output_size: torch's own, for a voxel more."""
        in_use = not self.training or features.device.type != "cpu"
        if in_use or output_size is not None or self.bias is None:
            return super().forward(features, output_size)
        bias = self.bias.repeat_interleave(SIDE**3)
        return depth_to_space(mapped(features, self.weight.flatten(1).T, bias))


class ConvolutionBlocks:
    """What a level is made of: convolutions, the norm and a leaky ReLU. Features (batch, channel, z, y, x)."""

    def __init__(self, norm: MakeNorm) -> None:
        self._norm = norm

    def whole(self, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
        """One of 3x3x3, from `inputs` to `outputs` channels."""
        return self._normed(Convolution(inputs, outputs, 3, stride, padding=1, bias=False), channels=outputs)

    def separable(self, inputs: int, outputs: int) -> nn.Sequential:
        """A depthwise one of 3x3x3 and a pointwise one."""
        return self._normed(Depthwise(inputs), Pointwise(inputs, outputs, bias=False), channels=outputs)

    def _normed(self, *convolutions: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(*convolutions, self._norm(channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))


class SpaceToDepthUNet(nn.Module):
    """The way from the volume to the scores; a subclass gives the convolutions of each level.

    channels: per level, the finest first. down: a module per level, the finest first; `down[0][0][0]` is the
    convolution that sees the volume. merge: a module per step of the way up, the coarsest first. of_finest: channels of
    the last one's features. entries: how often the volume is halved before the first level; the scores are twice as
    fine as that level. supervised_levels: how many of the finest levels have scores.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        classes: int,
        *,
        down: Sequence[nn.Module],
        merge: Sequence[nn.Module],
        of_finest: int,
        entries: int,
        supervised_levels: int,
    ) -> None:
        super().__init__()
        self.entries = entries
        rising = list(reversed(channels))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(Doubling(low, high) for low, high in pairwise(rising))
        self.merge = nn.ModuleList(merge)
        sizes = [*rising[:-1], of_finest]
        self.heads = nn.ModuleList(Pointwise(size, classes) for size in sizes[len(sizes) + 1 - supervised_levels :])
        self.score = Pointwise(of_finest, classes * SIDE**3)

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores of every supervised level, the finest first, each half of the one above."""
        features = self._features(volume)
        supervised = features[len(features) - len(self.heads) :]
        coarser = [head(feature) for head, feature in zip(self.heads, supervised, strict=True)]
        return [depth_to_space(self.score(features[-1])), *reversed(coarser)]

    def _features(self, volume: Tensor) -> list[Tensor]:
        """Of the way up, the coarsest first."""
        for _ in range(self.entries):
            volume = space_to_depth(volume)
        skips = []
        for stage in self.down:
            volume = stage(volume)
            skips.append(volume)
        features = [skips.pop()]
        for up, merge in zip(self.up, self.merge, strict=True):
            features.append(merge(up(features[-1]) + skips.pop()))
        return features

    @property
    def ends(self) -> list[nn.Module]:
        """The convolution that sees the volume, and those whose outputs are class scores."""
        stem = self.down[0][0][0]  # type: ignore[index]
        return [stem, *self.heads, self.score]

    def in_blocks(self, volume: Tensor) -> Tensor:
        """`forward` before its last step: the scores of a block of 2 x 2 x 2 as channels of one place."""
        scores: Tensor = self.score(self._features(volume)[-1])
        return scores

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x): as fine as the input with one entry, half as fine with two."""
        return depth_to_space(self.in_blocks(volume))
