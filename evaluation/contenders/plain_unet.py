"""Plain U-Net: the fine model's network and weights, built by the package that nnU-Net builds its networks with."""

from typing import TypeAlias

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn

State: TypeAlias = dict[str, torch.Tensor]


def channels_of(state: State) -> list[int]:
    """First channels of each level, the finest first, of weights under PlainConvUNet's names."""
    levels = {int(name.split(".")[2]) for name in state if name.startswith("encoder.")}
    return [len(state[f"encoder.stages.{level}.0.convs.0.conv.weight"]) for level in sorted(levels)]


def architecture(channels: list[int]) -> dict[str, object]:
    """Arguments of PlainConvUNet that plain data can say; nnU-Net's plans have them too."""
    levels = len(channels)
    return {
        "n_stages": levels,
        "features_per_stage": channels,
        "kernel_sizes": [[3, 3, 3]] * levels,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)],
        "n_conv_per_stage": [2] * levels,
        "n_conv_per_stage_decoder": [1] * (levels - 1),
        "conv_bias": True,
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin_kwargs": {"inplace": True},
    }


def build(state: State, classes: int) -> torch.nn.Module:
    """The network of `renamed` weights, in evaluation mode."""
    network: torch.nn.Module = PlainConvUNet(
        input_channels=1,
        num_classes=classes,
        conv_op=nn.Conv3d,
        norm_op=nn.InstanceNorm3d,
        nonlin=nn.LeakyReLU,
        **architecture(channels_of(state)),
    )
    network.load_state_dict(state)
    return network.eval()


def renamed(state: State) -> State:
    """A bundle's weights under PlainConvUNet's names; both build the same layers in the same order.

    Its convolutions have a bias, which the norm behind them takes away again: zeros. Heads that the bundle lacks are
    zeros too; prediction reads only the finest.
    """
    named = {}
    for name, weight in state.items():
        place = _place(name)
        if place is None:
            continue
        block, part, last = place
        layer = {last: weight} if part else {last: weight, "bias": torch.zeros(len(weight))}
        for kind, values in layer.items():
            named[f"{block}.{('conv', 'norm')[part]}.{kind}"] = values
            named[f"{block}.all_modules.{part}.{kind}"] = values  # it holds every layer twice
    named |= _heads(state)
    return named | {f"decoder.{name}": weight for name, weight in named.items() if name.startswith("encoder.")}


def _place(name: str) -> tuple[str, int, str] | None:
    """Block, 0 for its convolution or 1 for its norm, and "weight" or "bias"; None for upsampling and heads."""
    kind, level, *rest = name.split(".")
    if kind == "down":
        convolution, part, last = rest
        return f"encoder.stages.{level}.0.convs.{convolution}", int(part), last
    if kind == "merge":
        part, last = rest
        return f"decoder.stages.{level}.convs.0", int(part), last
    return None


def _heads(state: State) -> State:
    """Upsampling and scores of each level of the decoder, the coarsest first."""
    steps = sum(name.startswith("up.") and name.endswith(".weight") for name in state)
    heads = sum(name.startswith("heads.") and name.endswith(".weight") for name in state)
    classes = len(state["heads.0.bias"])
    named = {}
    for level in range(steps):
        width = len(state[f"merge.{level}.1.weight"])
        for last, shape in (("weight", (classes, width, 1, 1, 1)), ("bias", (classes,))):
            head = state.get(f"heads.{level - steps + heads}.{last}")
            named[f"decoder.seg_layers.{level}.{last}"] = torch.zeros(shape) if head is None else head
            named[f"decoder.transpconvs.{level}.{last}"] = state[f"up.{level}.{last}"]
    return named
