"""Network: a plan and a checkpoint's weights as a torch network whose axes are (z, y, x).

nnU-Net names each weight several times (`decoder.encoder.*` is `encoder.*`, `….all_modules.0.*` is `….conv.*`), and may
have turned the axes of scans: its kernels are turned back here, so that nobody after this has to know.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.errors import SetupError
from training.networks.planned_unet import PlannedUNet, Triple
from training.nnunet.plans import Plan

WRAPPERS = ("module.", "_orig_mod.")  # what torch's helpers put before every name
TWIN = re.compile(r"\.all_modules\.(\d+)\.")

Weights = Mapping[str, NDArray[Any]]


def network_of(plan: Plan, weights: Weights, path: Path) -> PlannedUNet:
    """Ready to be used. SetupError names the first key that is missing, left over, of another shape or not finite."""
    with torch.device("meta"):
        network = PlannedUNet(plan.architecture, plan.outputs)
    turned = {name: along_zyx(weight, plan.axes) for name, weight in named_once(weights, path).items()}
    _check(turned, network.state_dict(), path)
    network.load_state_dict({name: torch.from_numpy(weight) for name, weight in turned.items()}, assign=True)
    return network.eval()


def named_once(weights: Weights, path: Path) -> dict[str, NDArray[Any]]:
    """By the shortest of each weight's names. SetupError where two names of one weight have different values."""
    once: dict[str, NDArray[Any]] = {}
    for full, weight in weights.items():
        name = own_name(full)
        other = once.setdefault(name, weight)
        if other is not weight and not np.array_equal(other, weight, equal_nan=other.dtype.kind == "f"):
            raise SetupError(f"{path}: {full} and {name} are one weight and have different values; it is damaged")
    return once


def own_name(name: str) -> str:
    """The shortest of the names that nnU-Net has for a weight."""
    while name.startswith(WRAPPERS):
        for wrapper in WRAPPERS:
            name = name.removeprefix(wrapper)
    # of a unit's modules the first is its convolution, the other one with weights its norm
    name = TWIN.sub(lambda found: ".conv." if found[1] == "0" else ".norm.", name)
    return name.removeprefix("decoder.") if name.startswith("decoder.encoder.") else name


def along_zyx(weight: NDArray[Any], axes: Triple) -> NDArray[Any]:
    """A kernel (output, input, then the plan's three axes) along (z, y, x); what is none stays as it is.

    axes: of z, y and x, which of the plan's they are.
    """
    if weight.ndim != 5:
        return weight
    return np.ascontiguousarray(weight.transpose(0, 1, *(2 + axis for axis in axes)))


def _check(weights: Weights, expected: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, tensor in expected.items():
        if name not in weights:
            raise SetupError(f"{path}: has no weight {name}, which the network of plans.json needs")
        weight = weights[name]
        if weight.shape != tuple(tensor.shape) or (weight.dtype.kind == "f") != tensor.is_floating_point():
            raise SetupError(
                f"{path}: weight {name} has shape {weight.shape} (kernels along z, y, x) and numbers {weight.dtype}, "
                f"the network of plans.json needs {tuple(tensor.shape)} and {str(tensor.dtype).removeprefix('torch.')}"
            )
        if not np.isfinite(weight).all():
            raise SetupError(f"{path}: weight {name} holds NaN or infinity; training had failed by then")
    for name in weights:
        if name not in expected:
            raise SetupError(f"{path}: weight {name} is left over; plans.json describes a network without it")
