"""Networks, one file each: volumes (batch, 1, z, y, x), normalised, to raw class scores (batch, class, z, y, x).

`attention_unet` sees slices (batch, 1, y, x). A recipe names those that `build_network` knows; the papers' others
(`attention_unet`, `nnunet`, `scale_aware`) are built by their plan or channels.
"""

from training.networks.half_resolution import HalfResolutionUNet
from training.networks.partial_convolution import PartialConvolutionNet
from training.networks.plain_unet import PlainUNet
from training.recipe import Network


def build_network(network: Network, classes: int) -> PlainUNet | PartialConvolutionNet | HalfResolutionUNet:
    """An untrained network as a recipe describes it."""
    if network.kind == "half-resolution":
        return HalfResolutionUNet(network.channels, classes, supervised_levels=network.supervised_levels)
    if network.kind == "partial-convolution":
        return PartialConvolutionNet(network.channels, classes, stem_stride=network.stem_stride)
    return PlainUNet(
        network.channels, classes, stem_stride=network.stem_stride, supervised_levels=network.supervised_levels
    )
