"""Optimisers: AdamW, or Muon for the convolutions between hidden layers with AdamW for the rest."""

from typing import Any, TypeGuard

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from training.recipe import Optimiser


def build_optimisers(network: nn.Module, classes: int, choice: Optimiser) -> list[Optimizer]:
    """Those that together step every parameter of `network` once; the learning rate is set before each step.

    ValueError where this torch has no Muon.

    Muon (Jordan, https://kellerjordan.github.io/posts/muon/) goes equally far in all directions of a matrix that maps
    hidden features to hidden features. Scaled to the steps of AdamW (Liu et al., arXiv:2502.16982), it shares its rate.
    """
    parameters = list(network.parameters())
    if choice.kind == "adamw":
        return [AdamW(parameters, weight_decay=choice.weight_decay)]
    try:
        from torch.optim import Muon
    except ImportError as error:
        raise ValueError(
            f'optimiser.kind = "muon" needs torch 2.9 or later, found {torch.__version__}; update it or use "adamw"'
        ) from error
    hidden = [module.weight for module in network.modules() if _maps_hidden_features(module, classes)]
    matrices = [_matrix(weight) for weight in hidden]
    of_muon = {id(weight) for weight in hidden}
    rest = [parameter for parameter in parameters if id(parameter) not in of_muon]
    muon = Muon(matrices, weight_decay=choice.weight_decay, adjust_lr_fn="match_rms_adamw")

    def take_gradients(*_: Any) -> None:
        for matrix, weight in zip(matrices, hidden, strict=True):
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)

    muon.register_step_pre_hook(take_gradients)
    return [muon, AdamW(rest, weight_decay=choice.weight_decay)]


def _maps_hidden_features(module: nn.Module, classes: int) -> TypeGuard[nn.Conv3d | nn.ConvTranspose3d]:
    """Whether it is a convolution that is neither stem (one channel in) nor head (as many out as classes).

    Nor one of groups: its matrix would be that of a block only.
    """
    if not isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        return False
    return module.groups == 1 and module.in_channels != 1 and module.out_channels != classes


def _matrix(weight: torch.Tensor) -> nn.Parameter:
    """A convolution's weight as torch's Muon wants it, (first, second * z * y * x), in the same memory.

    The first axis is what comes out, of a transposed convolution what goes in: Muon treats both sides alike.
    """
    return nn.Parameter(weight.detach().view(len(weight), -1))  # a view or an error, where flatten might copy
