"""Half resolution: a U-Net of features at half the voxels' resolution or less. Tensors (batch, channel, z, y, x).

Eight voxels become eight channels at the entry (space to depth: none is thrown away, as by a strided stem), eight
scores of a class become eight voxels at the exit. The finest level, which costs most, has separable convolutions; where
voxels are few, whole ones. Skips are added, not concatenated. In use the norms are part of the convolutions.
"""

from importlib.util import find_spec
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01
SIDE = 2  # of the block of voxels that becomes one place
LARGEST_RATIO, LARGEST_SHIFT = 3.0, 5.0  # of batch renormalisation, Ioffe 2017
RENORMALISED_AFTER = 500  # steps; until then the limits rise from those of batch norm
MOMENTUM = 0.02  # of the running mean and variance
EPSILON = 1e-5  # of a variance


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


class BatchRenorm(nn.Module):
    """Batch renormalisation (Ioffe, arXiv:1702.03275): trained with the running statistics that it is used with.

    Its gradient is that of batch norm. Unlike instance norm it does not depend on the window, and folds into the
    convolution before it; unlike batch norm it can be trained on one patch at a time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("steps", torch.zeros(()))  # a float: averaged with the weights

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        if not self.training:
            return F.batch_norm(features, self.mean, self.variance, self.weight, self.bias)
        with torch.no_grad():
            ratio, shift = self._correction(features)
        return F.batch_norm(features, None, None, ratio * self.weight, shift * self.weight + self.bias, training=True)

    def _correction(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What takes features normalised by this batch to those normalised by the running statistics."""
        # with the weights, because of bfloat16 features without them these would be bfloat16, too
        _, mean, inverse = torch.native_batch_norm(features, self.weight, self.bias, None, None, True, 0.0, EPSILON)
        deviation = 1 / inverse  # with the epsilon
        if not self.steps:
            self.mean.copy_(mean)
            self.variance.copy_(deviation.square())
        running = (self.variance + EPSILON).sqrt()
        share = min(1.0, float(self.steps) / RENORMALISED_AFTER)
        most = 1 + share * (LARGEST_RATIO - 1)
        ratio = (deviation / running).clamp(1 / most, most)
        shift = ((mean - self.mean) / running).clamp(-share * LARGEST_SHIFT, share * LARGEST_SHIFT)
        self.mean.lerp_(mean, MOMENTUM)
        self.variance.lerp_(deviation.square(), MOMENTUM)
        self.steps += 1
        return ratio, shift


class Depthwise(nn.Conv3d):
    """A 3x3x3 convolution of each channel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`. While training on a CPU with numba's loops, where numba is there."""
        if self.training and features.device.type == "cpu" and find_spec("numba"):
            from training.depthwise import depthwise  # not beside a pack, where torch is all there is

            return depthwise(features, self.weight)
        return super().forward(features)


def _normed(*convolutions: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(*convolutions, BatchRenorm(channels), nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))


def _whole(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return _normed(nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False), channels=outputs)


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return _normed(Depthwise(inputs), nn.Conv3d(inputs, outputs, 1, bias=False), channels=outputs)


class HalfResolutionUNet(nn.Module):
    """channels: per level, the first at half the input's resolution, each half of the one above.

    The input's sides must be multiples of `2 ** len(channels)`.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, *, supervised_levels: int) -> None:
        super().__init__()
        finest, *coarser = channels
        down = [nn.Sequential(_whole(SIDE**3, finest), _separable(finest, finest))]
        down += [nn.Sequential(_whole(above, here, 2), _whole(here, here)) for above, here in pairwise(channels)]
        self.down = nn.ModuleList(down)
        rising = list(reversed(channels))
        self.up = nn.ModuleList(nn.ConvTranspose3d(low, high, 2, 2) for low, high in pairwise(rising))
        merge = [nn.Sequential(_whole(size, size), _whole(size, size)) for size in reversed(coarser[:-1])]
        merge.append(nn.Sequential(_separable(finest, 2 * finest), _separable(2 * finest, 2 * finest)))
        self.merge = nn.ModuleList(merge)
        sizes = [*rising[:-1], 2 * finest]
        heads = [nn.Conv3d(size, classes, 1) for size in sizes[len(sizes) + 1 - supervised_levels :]]
        self.heads = nn.ModuleList(heads)
        self.score = nn.Conv3d(2 * finest, classes * SIDE**3, 1)

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

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x), as fine as the input."""
        return depth_to_space(self.score(self._features(volume)[-1]))
