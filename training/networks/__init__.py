"""Networks, one file each: volumes (batch, 1, z, y, x), normalised, to raw class scores (batch, class, z, y, x).

A recipe names those that `build_network` knows. `attention_unet` sees slices (batch, 1, y, x) and is built by its
channels.
"""

from dataclasses import replace

from training.networks.half_resolution import HalfResolutionUNet
from training.networks.nnunet import PLANS, NNUNet
from training.networks.partial_convolution import PartialConvolutionNet
from training.networks.plain_unet import PlainUNet
from training.networks.quarter_resolution import QuarterResolutionUNet
from training.networks.scale_aware import ScaleAwareUNet
from training.recipe import Network

SegmentationNetwork = (
    PlainUNet | PartialConvolutionNet | HalfResolutionUNet | QuarterResolutionUNet | NNUNet | ScaleAwareUNet
)


def build_network(network: Network, classes: int) -> SegmentationNetwork:
    """An untrained network as a recipe describes it."""
    channels, levels = network.channels, network.supervised_levels
    if network.kind == "nnunet":
        return NNUNet(replace(PLANS[network.plan], channels=channels), classes, supervised_levels=levels)
    if network.kind == "scale-aware":
        return ScaleAwareUNet(channels, classes, depths=network.depths)
    if network.kind == "half-resolution":
        return HalfResolutionUNet(
            channels, classes, supervised_levels=levels, norm=network.norm, fixed_levels=network.fixed_levels
        )
    if network.kind == "quarter-resolution":
        return QuarterResolutionUNet(channels, classes, supervised_levels=levels, norm=network.norm)
    if network.kind == "partial-convolution":
        return PartialConvolutionNet(channels, classes, stem_stride=network.stem_stride)
    return PlainUNet(channels, classes, stem_stride=network.stem_stride, supervised_levels=levels)
