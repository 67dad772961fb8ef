"""Fixed norm: features normalised by statistics that are kept with the weights. Tensors (batch, channel, z, y, x)."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

EPSILON = 1e-5  # of a variance, as instance norm has it


class KeptNorm(nn.Module):
    """What an instance norm computes, with the same mean and variance whatever it is shown.

    So it folds into the convolution before it, and gives a voxel the same whatever the window holds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    mean: Tensor
    variance: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        return F.batch_norm(features, self.mean, self.variance, self.weight, self.bias, eps=EPSILON)


class FixedNorm(KeptNorm):
    """Statistics that were measured once, in training as in use.

    A network is trained with instance norms first, and `training.fix_norms` measures what these saw.
    """

    @property
    def is_measured(self) -> bool:
        """Whether it has other statistics than those that it begins with."""
        return bool(self.mean.any()) or bool((self.variance != 1).any())


def folded(network: nn.Module) -> nn.Module:
    """A copy, for use, in which kept norms are part of the convolutions before them.

    Weights are rounded after that, and once: OpenVINO would fold rounded ones itself, and round them again.
    """
    network = copy.deepcopy(network).eval()
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for place, (convolution, norm) in enumerate(pairwise(block), 1):
            if isinstance(norm, KeptNorm) and isinstance(convolution, nn.Conv3d):
                convolution.weight, convolution.bias = fuse_conv_bn_weights(
                    convolution.weight, convolution.bias, norm.mean, norm.variance, EPSILON, norm.weight, norm.bias
                )
                block[place] = nn.Identity()
    return network
