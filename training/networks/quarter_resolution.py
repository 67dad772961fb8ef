"""Quarter resolution: a U-Net of features at a quarter of the voxels' resolution. Tensors (batch, channel, z, y, x).

For whole scans, of which coarse scores are enough: a block of 64 voxels becomes a place. So few places are left that
all convolutions are whole ones.
"""

from itertools import pairwise

from torch import nn

from training.networks.blocks_of_voxels import NORMS, SIDE, Blocks, BlocksUNet


class QuarterResolutionUNet(BlocksUNet):
    """channels: per level, the first at a quarter of the input's resolution, each half of the one above.

    norm: one of NORMS. The input's sides must be multiples of `2 ** (len(channels) + 1)`; the scores are half as fine.
    """

    def __init__(
        self, channels: tuple[int, ...], classes: int, *, supervised_levels: int, norm: str = "batch-renorm"
    ) -> None:
        blocks = Blocks(NORMS[norm])
        entries = [blocks.whole(SIDE**6, channels[0]), *(blocks.whole(*pair, 2) for pair in pairwise(channels))]
        down = [nn.Sequential(entry, blocks.whole(size, size)) for entry, size in zip(entries, channels, strict=True)]
        sizes = list(reversed(channels[:-1]))
        super().__init__(
            channels,
            classes,
            down=down,
            merge=[nn.Sequential(blocks.whole(size, size), blocks.whole(size, size)) for size in sizes],
            of_finest=channels[0],
            entries=2,
            supervised_levels=supervised_levels,
        )
