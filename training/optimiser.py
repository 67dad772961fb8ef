"""Optimisers: AdamW, or Muon for the convolutions between hidden layers with AdamW for the rest."""

from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer

from training.recipe import Optimiser


def build_optimisers(network: nn.Module, classes: int, choice: Optimiser) -> list[Optimizer]:
    """Those that together step every parameter of `network` once; the learning rate is set before each step.

    Muon (Jordan, https://kellerjordan.github.io/posts/muon/) goes equally far in all directions of a matrix that maps
    hidden features to hidden features. Scaled to the steps of AdamW (Liu et al., arXiv:2502.16982), it shares its rate.
    """
    parameters = list(network.parameters())
    if choice.kind == "adamw":
        return [AdamW(parameters, weight_decay=choice.weight_decay)]
    from torch.optim import Muon  # torch 2.9 and later; AdamW needs no such torch

    hidden = [parameter for parameter in parameters if _maps_hidden_features(parameter, classes)]
    matrices = [_matrix(parameter) for parameter in hidden]
    rest = [parameter for parameter in parameters if not _maps_hidden_features(parameter, classes)]
    muon = Muon(matrices, weight_decay=choice.weight_decay, adjust_lr_fn="match_rms_adamw")

    def take_gradients(*_: Any) -> None:
        for matrix, parameter in zip(matrices, hidden, strict=True):
            matrix.grad = None if parameter.grad is None else parameter.grad.flatten(1)

    muon.register_step_pre_hook(take_gradients)
    return [muon, AdamW(rest, weight_decay=choice.weight_decay)]


def _maps_hidden_features(parameter: nn.Parameter, classes: int) -> bool:
    """A convolution with the image's one channel on a side is a stem, with the classes a head; the rest are vectors."""
    return parameter.ndim > 2 and not {1, classes} & {*parameter.shape[:2]}


def _matrix(parameter: nn.Parameter) -> nn.Parameter:
    """A convolution (out, in, z, y, x) as torch's Muon wants it, (out, in * z * y * x), in the same memory."""
    return nn.Parameter(parameter.detach().flatten(1))
