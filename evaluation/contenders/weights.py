"""Weights: the fine model's own, in the plain U-Net of the package that nnU-Net builds its networks with."""

from app.bundle import TORCHSCRIPT, Bundle


def channels_of(bundle: Bundle) -> list[int]:
    """First channels of each level, the finest first."""
    state = _state(bundle)
    levels = {int(name.split(".")[1]) for name in state if name.startswith("down.")}
    return [len(state[f"down.{level}.0.0.weight"]) for level in sorted(levels)]


def eager_network(bundle: Bundle):  # type: ignore[no-untyped-def]  # torch is not there where this is checked
    """A torch module of float32, in evaluation mode."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    channels = channels_of(bundle)
    network = PlainConvUNet(
        **architecture(channels, len(bundle.labels)),
        conv_op=nn.Conv3d,
        norm_op=nn.InstanceNorm3d,
        nonlin=nn.LeakyReLU,
    )
    network.load_state_dict(nnunet_state(bundle))
    return network.eval()


def architecture(channels: list[int], classes: int | None) -> dict[str, object]:
    """Arguments of PlainConvUNet, but its operators; as nnU-Net's plans say them where `classes` is None."""
    levels = len(channels)
    described: dict[str, object] = {
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
    return described if classes is None else {**described, "input_channels": 1, "num_classes": classes}


def nnunet_state(bundle: Bundle):  # type: ignore[no-untyped-def]
    """PlainConvUNet's state from the bundle's; both build the same layers in the same order, under other names.

    Its convolutions have a bias, which the norm behind them takes away again: zeros here. So are the scores of coarser
    levels, which only training uses, where the bundle has none.
    """
    import torch

    state = _state(bundle)
    channels = channels_of(bundle)
    levels, classes = len(channels), len(bundle.labels)
    renamed = {}
    for name, weight in state.items():
        kind, index, *rest = name.split(".")
        if kind == "down":
            convolution, part, last = rest
            place = f"encoder.stages.{index}.0.convs.{convolution}"
        elif kind == "merge":
            part, last = rest
            place = f"decoder.stages.{index}.convs.0"
        else:
            continue
        norm = part == "1"
        layer = {last: weight} if norm else {last: weight, "bias": torch.zeros(len(weight))}
        for kind, values in layer.items():
            renamed[f"{place}.{'norm' if norm else 'conv'}.{kind}"] = values
            renamed[f"{place}.all_modules.{part}.{kind}"] = values
    heads = sum(name.startswith("heads.") and name.endswith(".weight") for name in state)
    for level in range(levels - 1):
        head = level - (levels - 1 - heads)
        for last, shape in (("weight", (classes, channels[-2 - level], 1, 1, 1)), ("bias", (classes,))):
            known = state.get(f"heads.{head}.{last}")
            renamed[f"decoder.seg_layers.{level}.{last}"] = torch.zeros(shape) if known is None else known
            renamed[f"decoder.transpconvs.{level}.{last}"] = state[f"up.{level}.{last}"]
    # the decoder holds the encoder a second time
    renamed |= {f"decoder.{name}": weight for name, weight in renamed.items() if name.startswith("encoder.")}
    return {name: weight.float() for name, weight in renamed.items()}


def _state(bundle: Bundle):  # type: ignore[no-untyped-def]
    import torch

    return torch.jit.load(str(bundle.engine_files(TORCHSCRIPT)[0]), map_location="cpu").state_dict()
