"""Optimisers: AdamW, or Muon for the convolutions between hidden layers with AdamW for the rest."""

from collections.abc import Iterable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from training.arithmetic import has_bfloat16
from training.recipe import Optimiser

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose repetition takes singular values to about one
STEP_OF_ADAMW = 0.2  # root mean square, a weight


def build_optimisers(network: nn.Module, classes: int, choice: Optimiser) -> list[Optimizer]:
    """Those that together step every parameter of `network` once; the learning rate is set before each step."""
    parameters = list(network.parameters())
    if choice.kind == "adamw":
        return [AdamW(parameters, weight_decay=choice.weight_decay)]
    hidden = [module.weight for module in network.modules() if _maps_hidden_features(module, classes)]
    of_muon = {id(weight) for weight in hidden}
    rest = [parameter for parameter in parameters if id(parameter) not in of_muon]
    return [Muon(hidden, choice.weight_decay), AdamW(rest, weight_decay=choice.weight_decay)]


class Muon(Optimizer):
    """Goes equally far in all directions of a matrix that maps hidden features to hidden features.

    Jordan, https://kellerjordan.github.io/posts/muon/. Scaled to the steps of AdamW (Liu et al., arXiv:2502.16982), it
    shares its rate. Of a convolution's weight the first axis is one side of the matrix, the others together are the
    second: what comes out or, of a transposed one, what goes in; Muon treats both sides alike.

    By hand, because torch's own (2.13) takes matrices only and computes in bfloat16 wherever it is: on two cores with
    AVX2 that is 4 of the 9 s of a training step, in float32 0.2 s.
    """

    def __init__(self, weights: Iterable[Tensor], weight_decay: float) -> None:
        super().__init__(weights, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; weights without a gradient stay. TypeError for a closure, which nothing here needs."""
        if closure is not None:
            raise TypeError("Muon steps on gradients that are there; call it without a closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, weight.grad, group["lr"], group["weight_decay"])

    def _step(self, weight: Tensor, gradient: Tensor, rate: float, weight_decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
        matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)  # Nesterov's
        length = STEP_OF_ADAMW * max(matrix.shape) ** 0.5
        weight.mul_(1 - rate * weight_decay)
        weight.add_(orthogonalised(matrix).view_as(weight), alpha=-rate * length)


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix (n, m) with its singular values brought near to one (0.7 to 1.2), the same directions; float32."""
    dtype = torch.bfloat16 if has_bfloat16(matrix.device) else torch.float32
    wide = matrix.to(dtype) if matrix.shape[0] <= matrix.shape[1] else matrix.to(dtype).T
    wide = wide / wide.norm().clamp(min=1e-7)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = first * wide + (third * gram + fifth * gram @ gram) @ wide
    result: Tensor = wide if matrix.shape[0] <= matrix.shape[1] else wide.T
    return result.float()


def _maps_hidden_features(module: nn.Module, classes: int) -> TypeGuard[nn.Conv3d | nn.ConvTranspose3d]:
    """Whether it is a convolution that is neither stem (one channel in) nor head (as many out as classes).

    Nor one of groups: its matrix would be that of a block only.
    """
    if not isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
        return False
    return module.groups == 1 and module.in_channels != 1 and module.out_channels != classes
