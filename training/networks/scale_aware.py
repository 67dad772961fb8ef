"""Scale-aware modulation, attention and a light decoder: paper 001's network for phase two. Tensors (batch, channel,
z, y, x).

The paper writes kernels along (row, column, slice): its 1x1x3 is (3, 1, 1) here, its 3x3x1 is (1, 3, 3).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.depthwise import Depthwise

STAGES = 4
SCALES = (3, 5, 7)  # sides of a modulator's kernels, a third of the channels each
HEADS = {2: 8, 3: 16}  # of the attention, by stage; the finer two have none
BLOCK_EPSILON = 1e-6  # of the norms in and after blocks; elsewhere torch's 1e-5


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of a place."""

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


def _pointwise(inputs: int, outputs: int, groups: int = 1) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, 1, groups=groups)


def _depthwise(channels: int, side: int = 3) -> Depthwise:
    return Depthwise(channels, side, bias=True)


class Modulator(nn.Module):
    """Values times a gate that has looked at three scales. Channels: a multiple of 3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        third = channels // len(SCALES)
        self.value, self.scaled = _pointwise(channels, channels), _pointwise(channels, channels)
        self.scales = nn.ModuleList(_depthwise(third, side) for side in SCALES)
        self.gate = nn.Sequential(
            _pointwise(channels, 2 * channels, groups=third),  # a group is the three scales of one channel
            nn.InstanceNorm3d(2 * channels),
            nn.GELU(),
            _pointwise(2 * channels, channels),
        )
        self.out = _pointwise(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        slices = self.scaled(features).chunk(len(SCALES), 1)
        scales = [scale(part) for scale, part in zip(self.scales, slices, strict=True)]
        result: Tensor = self.out(self.gate(interleaved(scales)) * self.value(features))
        return result


def interleaved(parts: list[Tensor]) -> Tensor:
    """The first channel of every part, then the second of every part, and so on."""
    return torch.stack(parts, 2).flatten(1, 2)


class Attention(nn.Module):
    """Every place attends to every other of the window; a depthwise convolution of the values tells places apart."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = _pointwise(channels, channels), _pointwise(channels, 2 * channels)
        self.local = _depthwise(channels)
        self.out = _pointwise(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        key, value = self.key_value(features).chunk(2, 1)
        query, keys, values = (self._by_head(part) for part in (self.query(features), key, value))
        attended = F.scaled_dot_product_attention(query, keys, values)
        result: Tensor = self.out(attended.transpose(2, 3).reshape(features.shape) + self.local(value))
        return result

    def _by_head(self, features: Tensor) -> Tensor:
        """(batch, head, place, channel of the head)."""
        batch, channels = features.shape[:2]
        return features.reshape(batch, self.heads, channels // self.heads, -1).transpose(2, 3)


class FeedForward(nn.Module):
    """Twice as wide inside, where a depthwise convolution lets neighbours see each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen, self.local = _pointwise(channels, 2 * channels), _depthwise(2 * channels)
        self.narrow = _pointwise(2 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        wide = self.widen(features)
        result: Tensor = self.narrow(F.gelu(wide + self.local(wide)))
        return result


class Block(nn.Module):
    """`mix` and a feed-forward, each after a norm and around a shortcut."""

    def __init__(self, channels: int, mix: nn.Module) -> None:
        super().__init__()
        self.before_mix, self.mix = ChannelNorm(channels, BLOCK_EPSILON), mix
        self.before_forward, self.feed_forward = ChannelNorm(channels, BLOCK_EPSILON), FeedForward(channels)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        features = features + self.mix(self.before_mix(features))
        result: Tensor = features + self.feed_forward(self.before_forward(features))
        return result


def _grouped(inputs: int, outputs: int, kernel: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    """As many groups as outputs, batch norm, ReLU up to 6."""
    z, y, x = (side // 2 for side in kernel)
    convolution = nn.Conv3d(inputs, outputs, kernel, padding=(z, y, x), groups=outputs)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU6(inplace=True))


class LightBlock(nn.Module):
    """The decoder's: along z, then in plane, plus what came along z times a gate of every channel at every place.

    The paper's LACB. Of its convolutions the text groups the one along z and the figure the others; the code, and so
    this, all of them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.along = _grouped(inputs, outputs, (3, 1, 1))
        self.in_plane, self.gate = _grouped(outputs, outputs, (1, 3, 3)), _grouped(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, outputs, z, y, x)."""
        along = self.along(features)
        local = self.in_plane(along)
        result: Tensor = local + self.gate(local).sigmoid() * along
        return result


class ScaleAwareUNet(nn.Module):
    """Paper 001's phase two: modulators where places are many, attention where they are few, a light decoder.

    channels: of four stages, the first at half the input's resolution and each half of the one above; the first a
    multiple of 6, each twice the one above. depths: blocks a stage. Published are (60, 120, 240, 480) and, by the
    paper's parameters, (2, 2, 2, 2), the paper's code (2, 4, 6, 2). The input's sides must be multiples of 16.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, *, depths: tuple[int, ...] = (2, 2, 2, 2)) -> None:
        super().__init__()
        if len(channels) != STAGES or channels[0] % 6 or any(low != 2 * high for high, low in pairwise(channels)):
            raise ValueError(
                f"channels must be four, the first a multiple of 6 and each twice the last, got {channels}"
            )
        if len(depths) != STAGES or min(depths) < 1:
            raise ValueError(f"depths must be four, each 1 or more, got {depths}")
        finest = channels[0]
        stem = nn.Sequential(
            nn.Conv3d(1, finest // 2, 3, 2, padding=1, bias=False),
            nn.InstanceNorm3d(finest // 2),
            nn.ReLU(inplace=True),
            _pointwise(finest // 2, finest, groups=finest // 2),
            ChannelNorm(finest),
        )
        shrink = [nn.Sequential(nn.Conv3d(a, b, 3, 2, padding=1), ChannelNorm(b)) for a, b in pairwise(channels)]
        self.shrink = nn.ModuleList([stem, *shrink])
        self.blocks = nn.ModuleList(
            _stage(stage, *size) for stage, size in enumerate(zip(channels, depths, strict=True))
        )
        rising = list(reversed(channels))
        self.deepest = LightBlock(rising[0], rising[0])
        self.narrow = nn.ModuleList(_grouped(low, high) for low, high in pairwise(rising))
        self.merge = nn.ModuleList(LightBlock(2 * high, high) for high in rising[1:])
        self.up = nn.ConvTranspose3d(finest, finest // 2, 2, 2)
        self.score = _pointwise(finest // 2, classes)

    @property
    def ends(self) -> list[nn.Module]:
        """The convolution that sees the volume, and the one whose outputs are class scores."""
        return [self.shrink[0][0], self.score]  # type: ignore[index]

    def encode(self, volume: Tensor) -> list[Tensor]:
        """Features of every stage, the finest first."""
        features = []
        for shrink, blocks in zip(self.shrink, self.blocks, strict=True):
            volume = blocks(shrink(volume))
            features.append(volume)
        return features

    def levels(self, volume: Tensor) -> list[Tensor]:
        """Class scores, one level."""
        return [self(volume)]

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x), as fine as the input."""
        *skips, here = self.encode(volume)
        here = here + self.deepest(here)
        for narrow, merge in zip(self.narrow, self.merge, strict=True):
            fine = F.interpolate(narrow(here), scale_factor=2.0, mode="trilinear", align_corners=False)
            # so and not interleaved, as published: a group of two channels sees the way up or the skip, never both
            here = merge(torch.cat([fine, skips.pop()], 1))
        result: Tensor = self.score(self.up(here))
        return result


def _stage(stage: int, channels: int, depth: int) -> nn.Sequential:
    """Blocks and a norm. The third stage alternates, modulator first; the fourth has attention alone."""
    attends = [stage == 3 or (stage == 2 and block % 2 == 1) for block in range(depth)]
    mixes = [Attention(channels, HEADS[stage]) if attend else Modulator(channels) for attend in attends]
    return nn.Sequential(*(Block(channels, mix) for mix in mixes), ChannelNorm(channels, BLOCK_EPSILON))
