"""Attention U-Net: paper 002's teacher, which sees one slice at a time. Tensors (batch, channel, y, x).

nnU-Net's encoder in two dimensions, and a decoder that weighs where to look (gates on the skips, one non-local block)
and which channels to listen to. Built as the authors' code builds it: the paper's equations leave out the convolutions
and norms around each attention, without which its own count of parameters (62.96 M) is not met. Other than in their
code the channel dropout is off outside of training, and averages and maxima over a slice take any size of slice.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NEGATIVE_SLOPE = 0.01
REDUCTION = 4  # of the channels, inside a non-local block and a channel attention
DROPOUT = 0.5  # of whole channels, at the non-local level
UNGATED = 2  # the finest levels take their skip as it is
FEWEST_LEVELS = UNGATED + 3  # one non-local, one of plain convolutions, the bottleneck


class NonLocal(nn.Module):
    """Every position takes up what is like it anywhere in the slice, seen at half the resolution (CA-Net's first)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.result = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        _start_attention(self)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`, whose sides must be 2 or more."""
        query = self.query(features)
        key, value = (F.max_pool2d(part(features), 2).flatten(2) for part in (self.key, self.value))
        likeness = torch.einsum("bcq,bck->bqk", query.flatten(2), key).softmax(2)
        seen = torch.einsum("bqk,bck->bcq", likeness, value).unflatten(2, query.shape[2:])
        result: Tensor = features + self.result(seen)
        return result


class Gate(nn.Module):
    """A skip weighed at each position by itself and by what the coarser level made of the slice."""

    def __init__(self, skip: int, coarse: int) -> None:
        super().__init__()
        self.of_skip, self.of_coarse = nn.Conv2d(skip, skip, 1), nn.Conv2d(coarse, skip, 1)
        self.weight = nn.Conv2d(skip, 1, 1)
        self.result = nn.Sequential(nn.Conv2d(skip, skip, 1), nn.BatchNorm2d(skip))

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """The shape of `skip`."""
        above = F.interpolate(self.of_coarse(coarse), skip.shape[2:], mode="bilinear", align_corners=False)
        weight = self.weight((self.of_skip(skip) + above).relu()).sigmoid()
        result: Tensor = self.result(skip * weight)
        return result


class SpatialAttention(nn.Module):
    """Two gates side by side, merged."""

    def __init__(self, skip: int, coarse: int) -> None:
        super().__init__()
        self.gates = nn.ModuleList(Gate(skip, coarse) for _ in range(2))
        self.merge = nn.Sequential(nn.Conv2d(2 * skip, skip, 1), nn.BatchNorm2d(skip), nn.ReLU())
        _start_attention(self)

    def forward(self, skip: Tensor, coarse: Tensor) -> Tensor:
        """The shape of `skip`."""
        result: Tensor = self.merge(torch.cat([gate(skip, coarse) for gate in self.gates], 1))
        return result


class ChannelAttention(nn.Module):
    """Two convolutions, each channel weighed by its mean and its maximum over the slice, a shortcut, a convolution.

    A weight lies between 0 and 2, as in the authors' code; the paper has one sigmoid and a shortcut of no convolution.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        wide, inner = 2 * outputs, 2 * outputs // REDUCTION
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
        )
        self.importance = nn.Sequential(nn.Linear(wide, inner), nn.ReLU(), nn.Linear(inner, wide))
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide))
        self.merge = nn.Sequential(
            nn.Conv2d(wide, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )

    def forward(self, features: Tensor) -> Tensor:
        """(batch, outputs, y, x)."""
        result: Tensor = self.merge(self.weighed(self.convolutions(features), self.shortcut(features)))
        return result

    def weighed(self, features: Tensor, shortcut: Tensor) -> Tensor:
        """Both are (batch, 2 * outputs, y, x), as is what comes back."""
        mean, highest = features.mean((2, 3)), features.amax((2, 3))
        weight: Tensor = self.importance(mean).sigmoid() + self.importance(highest).sigmoid()
        return (features * weight[:, :, None, None] + shortcut).relu()


class AttentionLevel(nn.Module):
    """One level of the decoder: the coarser level enlarged, beside the skip, through channel attention."""

    def __init__(self, coarse: int, skip: int, *, gated: bool) -> None:
        super().__init__()
        self.gate = SpatialAttention(skip, coarse) if gated else None
        self.up = nn.ConvTranspose2d(coarse, skip, 2, 2)
        self.block = ChannelAttention(2 * skip, skip)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """The shape of `skip`."""
        taken = skip if self.gate is None else self.gate(skip, coarse)
        result: Tensor = self.block(torch.cat([taken, self.up(coarse)], 1))
        return result


class NonLocalLevel(nn.Module):
    """The coarsest level with attention: a non-local block in place of the gate, and channel dropout."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse, skip, 2, 2)
        both = 2 * skip
        self.block = nn.Sequential(
            NonLocal(both, both // REDUCTION), ChannelAttention(both, skip), nn.Dropout2d(DROPOUT)
        )

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """The shape of `skip`."""
        result: Tensor = self.block(torch.cat([skip, self.up(coarse)], 1))
        return result


class PlainLevel(nn.Module):
    """nnU-Net's level of a decoder."""

    def __init__(self, coarse: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(coarse, skip, 2, 2, bias=False)
        self.block = _convolutions(2 * skip, skip)
        _start_convolutions(self)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """The shape of `skip`."""
        result: Tensor = self.block(torch.cat([self.up(coarse), skip], 1))
        return result


class AttentionUNet(nn.Module):
    """channels: per level, the finest first; the paper has (32, 64, 128, 256, 480, 480, 480, 480).

    The decoder's levels are, from the coarsest: plain, non-local, gated, and the two finest ungated. The input's sides
    must be multiples of `2 ** (len(channels) - 1)`. Scores come on `supervised_levels`, the paper's on all seven.
    ValueError: fewer than five levels.
    """

    def __init__(self, channels: tuple[int, ...], classes: int, *, supervised_levels: int) -> None:
        super().__init__()
        if len(channels) < FEWEST_LEVELS:
            raise ValueError(f"an attention U-Net has {FEWEST_LEVELS} levels or more, got channels {channels}")
        down = [_convolutions(1, channels[0])]
        down += [_convolutions(above, here, 2) for above, here in pairwise(channels)]
        self.down = nn.ModuleList(down)
        (bottleneck, plain), (_, non_local), *others = pairwise(reversed(channels))
        ups: list[nn.Module] = [PlainLevel(bottleneck, plain), NonLocalLevel(plain, non_local)]
        gates = [True] * (len(others) - UNGATED) + [False] * UNGATED
        ups += [AttentionLevel(coarse, skip, gated=gated) for (coarse, skip), gated in zip(others, gates, strict=True)]
        self.up = nn.ModuleList(ups)
        self.heads = nn.ModuleList(nn.Conv2d(size, classes, 1, bias=False) for size in channels[:supervised_levels])
        _start_convolutions(self.down)
        _start_convolutions(self.heads)

    def levels(self, slices: Tensor) -> list[Tensor]:
        """Class scores of every supervised level, the finest first, each half of the one above."""
        features = self._features(slices)
        return [head(feature) for head, feature in zip(self.heads, features, strict=False)]

    def _features(self, slices: Tensor) -> list[Tensor]:
        """Of the way up, the finest first."""
        skips = []
        for stage in self.down:
            slices = stage(slices)
            skips.append(slices)
        features = [skips.pop()]
        for up in self.up:
            features.append(up(features[-1], skips.pop()))
        return features[:0:-1]

    @property
    def ends(self) -> list[nn.Module]:
        """The convolution that sees the slice, and those whose outputs are class scores."""
        stem = self.down[0][0]  # type: ignore[index]
        return [stem, *self.heads]

    def forward(self, slices: Tensor) -> Tensor:
        """Raw class scores (batch, class, y, x), as fine as the input (batch, 1, y, x)."""
        scores: Tensor = self.heads[0](self._features(slices)[0])
        return scores


def _convolutions(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """nnU-Net's stage: two convolutions, each with a norm and a rectifier."""
    layers: list[nn.Module] = []
    for size, step in ((inputs, stride), (outputs, 1)):
        layers += [
            nn.Conv2d(size, outputs, 3, step, padding=1),
            nn.InstanceNorm2d(outputs, affine=True),
            nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True),
        ]
    return nn.Sequential(*layers)


def _start_convolutions(module: nn.Module) -> None:
    """nnU-Net's start: He, for leaky rectifiers."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, a=NEGATIVE_SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _start_attention(module: nn.Module) -> None:
    """The authors' start of gates and non-local blocks; channel attention keeps torch's."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
