"""Transplant: what a network can begin with of another one's weights, by name; kernels (channel, channel, z, y, x)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def with_more_classes(weights: dict[str, Tensor], network: nn.Module, ends: Sequence[nn.Module]) -> dict[str, Tensor]:
    """`weights` for a network that knows more classes: what scores those begins as the network has it."""
    own = _on_cpu(network)
    modules = {module: name for name, module in network.named_modules()}
    begun = dict(weights)
    for name in (f"{modules[end]}.{kind}" for end in ends for kind in ("weight", "bias")):
        if name in weights and name in own and weights[name].shape[1:] == own[name].shape[1:]:
            more = own[name][len(weights[name]) :]
            begun[name] = torch.cat([weights[name], more])
    return begun


def fitted(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """What a network can begin with of another one's weights: those of its names, made to fit where that is possible.

    A network that says which of its convolutions see two features `joined` may be wider: its first channels are the old
    ones and see nothing of the new ones, which begin as the network has them, so that the whole computes what it did
    (as Net2Net's, https://arxiv.org/abs/1511.05641). Of others what is wider is left out. A kernel may be flat where
    the other is not: it is the sum over its slices, or lies in the middle; of a transposed convolution, whose kernel is
    its stride, the mean, or the same for each. Left out is what is narrower than it was.
    """
    own = _on_cpu(network)
    layers = {f"{name}.weight".lstrip("."): layer for name, layer in network.named_modules()}
    joined = getattr(network, "joined", None)  # it may be wider if it says so
    begun: dict[str, Tensor] = {}
    for name in weights.keys() & own.keys():
        layer = layers.get(name)
        is_transposed = isinstance(layer, nn.ConvTranspose3d)
        kernel = _with_sides(weights[name], own[name].shape[2:], is_transposed=is_transposed)
        if kernel is None or (joined is None and kernel.shape != own[name].shape):
            continue
        parts = 2 if joined and layer in joined else 1
        value = _wider(kernel, own[name], inputs=0 if is_transposed else 1, parts=parts)
        if value is not None:
            begun[name] = value
    return begun


def _on_cpu(network: nn.Module) -> dict[str, Tensor]:
    """Its weights where saved ones are, wherever the network is."""
    return {name: value.cpu() for name, value in network.state_dict().items()}


def _with_sides(kernel: Tensor, sides: Sequence[int], *, is_transposed: bool) -> Tensor | None:
    """A kernel (channel, channel, z, y, x) of other sides where those differ; None for sides that cannot be had."""
    if kernel.dim() != len(sides) + 2:
        return kernel if kernel.dim() < 2 and not sides else None
    for axis, side in enumerate(sides, 2):
        before = kernel.shape[axis]
        if before == side:
            continue
        if side == 1:
            kernel = kernel.mean(axis, keepdim=True) if is_transposed else kernel.sum(axis, keepdim=True)
        elif before == 1 and is_transposed:
            kernel = kernel.repeat_interleave(side, axis)
        elif before == 1 and side % 2:
            around = [kernel.new_zeros(kernel.shape)] * (side // 2)
            kernel = torch.cat([*around, kernel, *around], axis)
        else:
            return None
    return kernel


def _wider(value: Tensor, own: Tensor, *, inputs: int, parts: int) -> Tensor | None:
    """`own` with `value` as its first channels, which see none of the others; None if there are fewer in `own`.

    inputs: the axis of the channels that are seen; parts: of how many features of one width they are joined.
    """
    if value.dim() != own.dim() or any(mine < theirs for mine, theirs in zip(own.shape, value.shape, strict=True)):
        return None
    if value.dim() < 2:
        return torch.cat([value, own[len(value) :]]) if value.dim() else value
    wider = own.clone().movedim(inputs, 0)
    value = value.movedim(inputs, 0)
    outputs = value.shape[1]
    wider[:, :outputs] = 0
    for part, old in zip(wider.chunk(parts), value.chunk(parts), strict=True):
        part[: len(old), :outputs] = old
    return wider.movedim(0, inputs).contiguous()
