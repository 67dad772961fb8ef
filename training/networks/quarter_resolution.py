"""Quarter resolution: a U-Net of features at a quarter of the voxels' resolution. Tensors (batch, channel, z, y, x).

For whole scans, where coarse scores are enough: 4 x 4 x 4 voxels become the channels of one place. Places are so few
that no convolution need be separable.
"""

from itertools import pairwise

from torch import nn

from training.networks.space_to_depth import NORMS, SIDE, ConvolutionBlocks, SpaceToDepthUNet

ENTRIES = 2


class QuarterResolutionUNet(SpaceToDepthUNet):
    """channels: per level, the first at a quarter of the input's resolution, each half of the one above.

    norm: one of NORMS. The input's sides must be multiples of `2 ** (len(channels) + 1)`; the scores are at half of its
    resolution.
    """

    def __init__(
        self, channels: tuple[int, ...], classes: int, *, supervised_levels: int, norm: str = "batch-renorm"
    ) -> None:
        blocks = ConvolutionBlocks(NORMS[norm])
        first = [
            blocks.whole(SIDE ** (3 * ENTRIES), channels[0]),
            *(blocks.whole(above, here, 2) for above, here in pairwise(channels)),
        ]
        down = [nn.Sequential(one, blocks.whole(size, size)) for one, size in zip(first, channels, strict=True)]
        sizes = list(reversed(channels[:-1]))
        super().__init__(
            channels,
            classes,
            down=down,
            merge=[nn.Sequential(blocks.whole(size, size), blocks.whole(size, size)) for size in sizes],
            of_finest=channels[0],
            entries=ENTRIES,
            supervised_levels=supervised_levels,
        )
