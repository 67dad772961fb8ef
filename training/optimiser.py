"""Optimisers: AdamW, SGD, or Muon for the convolutions between hidden layers with AdamW for the rest."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from training.recipe import Optimiser

MOMENTUM = 0.95
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose repetition takes singular values to about one
STEP_OF_ADAMW = 0.2  # root mean square, a weight


def build_optimisers(network: nn.Module, ends: Sequence[nn.Module], choice: Optimiser) -> list[Optimizer]:
    """Those that together step every parameter of `network` once; the learning rate is set before each step.

    ends: the network's convolutions that see the volume or make the scores: they do not map features to features.
    """
    parameters = list(network.parameters())
    if choice.kind == "adamw":
        return [AdamW(parameters, weight_decay=choice.weight_decay)]
    if choice.kind == "sgd":
        return [SGD(parameters, momentum=choice.momentum, nesterov=True, weight_decay=choice.weight_decay)]
    hidden = [module.weight for module in network.modules() if _is_whole_convolution(module) and module not in ends]
    if not hidden:
        raise ValueError('optimiser.kind = "muon" finds no convolution between hidden layers; use "adamw"')
    of_muon = {id(weight) for weight in hidden}
    rest = [parameter for parameter in parameters if id(parameter) not in of_muon]
    return [Muon(hidden, choice.weight_decay), AdamW(rest, weight_decay=choice.weight_decay)]


class Muon(Optimizer):
    """Goes equally far in all directions of a matrix that maps hidden features to hidden features.

    Jordan, https://kellerjordan.github.io/posts/muon/. Scaled to the steps of AdamW (Liu et al., arXiv:2502.16982), it
    shares its rate. A convolution's weight (a, b, z, y, x) is taken as the matrix (a, b * z * y * x); of a transposed
    one a is what goes in. Muon treats both sides alike.

    By hand, because torch's own (2.13) takes matrices only and computes in bfloat16 wherever it is: for the fine
    model a step of it takes 4.3 s of a core with AVX2, in float32 0.3 s.
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
    """`matrix` (n, m; only read) with its singular values brought near to one, the same directions; float32.

    Those above 0.005 of its Frobenius norm come to 0.68 to 1.21, smaller ones stay smaller, zeros give zeros.

    Every iteration multiplies by a polynomial of the matrix's product with itself, which is as large as its shorter
    side, and those polynomials commute: they are multiplied with each other first, and the long matrix is read twice
    in place of ten times (192x5184 on two cores with AVX2: 10 ms, 43 ms).
    """
    wide = matrix.float() if matrix.shape[0] <= matrix.shape[1] else matrix.float().T
    wide = wide / wide.norm().clamp(min=1e-7)
    gram = wide @ wide.T
    product = identity = torch.eye(len(gram), device=matrix.device)
    first, third, fifth = COEFFICIENTS
    for _ in range(ITERATIONS):
        factor = first * identity + third * gram + fifth * gram @ gram
        product = factor @ product
        gram = factor @ gram @ factor
    wide = product @ wide
    result: Tensor = wide if matrix.shape[0] <= matrix.shape[1] else wide.T
    return result


def _is_whole_convolution(module: nn.Module) -> TypeGuard[nn.Conv3d | nn.ConvTranspose3d]:
    """Not one of groups: its matrix would be that of a block only."""
    return isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and module.groups == 1
