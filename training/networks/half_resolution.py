"""Half resolution: a U-Net of features at half the voxels' resolution or less. Tensors (batch, channel, z, y, x).

The finest level, which costs most, has separable convolutions; where voxels are few, whole ones.
"""

from itertools import pairwise

from torch import Tensor, nn

from training.networks.fixed_norm import FixedNorm
from training.networks.space_to_depth import NORMS, SIDE, ConvolutionBlocks, SpaceToDepthUNet


class HalfResolutionUNet(SpaceToDepthUNet):
    """channels: per level, the first at half the input's resolution, each half of the one above.

    norm: one of NORMS. fixed_levels: in so many levels, the finest first, it is a `FixedNorm`. The input's sides must
    be multiples of `2 ** len(channels)`; the scores are as fine as the input.
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
        norms = [FixedNorm if level < fixed_levels else NORMS[norm] for level in range(len(channels))]
        blocks = [ConvolutionBlocks(make) for make in norms]
        finest, *coarser = channels
        down = [nn.Sequential(blocks[0].whole(SIDE**3, finest), blocks[0].separable(finest, finest))]
        for level, (above, here) in enumerate(pairwise(channels), 1):
            down.append(nn.Sequential(blocks[level].whole(above, here, 2), blocks[level].whole(here, here)))
        merge = [
            nn.Sequential(blocks[level].whole(size, size), blocks[level].whole(size, size))
            for level, size in reversed([*enumerate(coarser[:-1], 1)])
        ]
        wide = 2 * finest
        merge.append(nn.Sequential(blocks[0].separable(finest, wide), blocks[0].separable(wide, wide)))
        super().__init__(
            channels,
            classes,
            down=down,
            merge=merge,
            of_finest=wide,
            entries=1,
            supervised_levels=supervised_levels,
        )


class InBlocks(nn.Module):
    """The network for whoever undoes `space_to_depth` themselves, as `app.models.engine` does in less time."""

    def __init__(self, network: HalfResolutionUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: Tensor) -> Tensor:
        """Scores (batch, class * 8, z / 2, y / 2, x / 2)."""
        return self.network.in_blocks(volume)
