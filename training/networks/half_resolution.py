"""Half resolution: a U-Net of features at half the voxels' resolution or less. Tensors (batch, channel, z, y, x).

Eight voxels become eight channels at the entry (space to depth: none is thrown away, as by a strided stem), eight
scores of a class become eight voxels at the exit. The finest level, which costs most, has separable convolutions; where
voxels are few, whole ones. Skips are added, not concatenated. In use batch renorms and fixed norms are part of the
convolutions.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from training.networks.batch_renorm import BatchRenorm
from training.networks.convolution import Convolution
from training.networks.depthwise import Depthwise
from training.networks.fixed_norm import FixedNorm
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


class _Blocks:
    """What a level is made of, with its norm."""

    def __init__(self, norm: MakeNorm) -> None:
        self._norm = norm

    def whole(self, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
        return self._normed(Convolution(inputs, outputs, 3, stride, padding=1, bias=False), channels=outputs)

    def separable(self, inputs: int, outputs: int) -> nn.Sequential:
        return self._normed(Depthwise(inputs), Pointwise(inputs, outputs, bias=False), channels=outputs)

    def _normed(self, *convolutions: nn.Module, channels: int) -> nn.Sequential:
        return nn.Sequential(*convolutions, self._norm(channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))


class HalfResolutionUNet(nn.Module):
    """channels: per level, the first at half the input's resolution, each half of the one above.

    norm: one of NORMS. fixed_levels: in so many levels, the finest first, it is a `FixedNorm`. The input's sides must
    be multiples of `2 ** len(channels)`.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        classes: int,
        *,
        supervised_levels: int,
        norm: str = "batch-renorm",
        fixed_levels: int = 0,
    ) -> None:
        super().__init__()
        norms = [FixedNorm if level < fixed_levels else NORMS[norm] for level in range(len(channels))]
        blocks = [_Blocks(make) for make in norms]
        finest, *coarser = channels
        down = [nn.Sequential(blocks[0].whole(SIDE**3, finest), blocks[0].separable(finest, finest))]
        for level, (above, here) in enumerate(pairwise(channels), 1):
            down.append(nn.Sequential(blocks[level].whole(above, here, 2), blocks[level].whole(here, here)))
        self.down = nn.ModuleList(down)
        rising = list(reversed(channels))
        self.up = nn.ModuleList(Doubling(low, high) for low, high in pairwise(rising))
        merge = [
            nn.Sequential(blocks[level].whole(size, size), blocks[level].whole(size, size))
            for level, size in reversed([*enumerate(coarser[:-1], 1)])
        ]
        merge.append(
            nn.Sequential(blocks[0].separable(finest, 2 * finest), blocks[0].separable(2 * finest, 2 * finest))
        )
        self.merge = nn.ModuleList(merge)
        sizes = [*rising[:-1], 2 * finest]
        heads = [Pointwise(size, classes) for size in sizes[len(sizes) + 1 - supervised_levels :]]
        self.heads = nn.ModuleList(heads)
        self.score = Pointwise(2 * finest, classes * SIDE**3)

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores of every supervised level, the finest first, each half of the one above."""
        features = self._features(volume)
        supervised = features[len(features) - len(self.heads) :]
        coarser = [head(feature) for head, feature in zip(self.heads, supervised, strict=True)]
        return [depth_to_space(self.score(features[-1])), *reversed(coarser)]

    def _features(self, volume: Tensor) -> list[Tensor]:
        """Of the way up, the coarsest first."""
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
        """`forward` before its last step: the scores of a block of voxels as channels of one place."""
        scores: Tensor = self.score(self._features(volume)[-1])
        return scores

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x), as fine as the input."""
        return depth_to_space(self.in_blocks(volume))


class InBlocks(nn.Module):
    """The network for whoever undoes `space_to_depth` themselves, as `app.models.engine` does in less time."""

    def __init__(self, network: HalfResolutionUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: Tensor) -> Tensor:
        """Scores (batch, class * 8, z / 2, y / 2, x / 2)."""
        return self.network.in_blocks(volume)
