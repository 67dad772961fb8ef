"""Proof: raw scores of a bundle's engine beside those of nnU-Net's own network class, on one window.

The class is that of the package dynamic_network_architectures, where it is installed; else this project's, in torch.
Arrays (z, y, x), scores (channel, z, y, x).
"""

from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from app.errors import SetupError
from app.models.bundle import Bundle
from app.models.engine import load_engine
from app.types import Scores, Volume
from training.export import FLOAT32
from training.networks.planned_unet import PlannedUNet
from training.nnunet.network import Weights, named_once, own_name
from training.nnunet.plans import BATCH_NORMS, LEAKY, Plan

PACKAGE = "dynamic_network_architectures"
COARSE = 8  # voxels of a lump of the made-up window
NOISE = 0.1  # of the range of intensities


def has_package() -> bool:
    """Whether nnU-Net's own network classes are here."""
    return find_spec(PACKAGE) is not None


def made_up_window(plan: Plan) -> Volume:
    """Lumps and noise over the whole range of normalised intensities, the same every time."""
    rng = np.random.default_rng(0)
    lumps = rng.random([-(-side // COARSE) for side in plan.window])
    for axis, side in enumerate(plan.window):
        lumps = np.repeat(lumps, COARSE, axis).take(range(side), axis)
    share = np.clip(lumps + NOISE * rng.standard_normal(plan.window), 0, 1)
    hu = plan.intensities
    if hu is None:
        normalised = (share - share.mean()) / share.std()
    else:
        normalised = (hu.low + share * (hu.high - hu.low) - hu.mean) / hu.deviation
    window: Volume = normalised.astype(np.float32)
    return window


def known_scores(plan: Plan, weights: Weights, network: PlannedUNet, path: Path) -> Scores:
    """Of the made-up window, by nnU-Net's class where it is here. weights: by nnU-Net's keys, of `path`."""
    window = made_up_window(plan)
    return scores_of_package(plan, weights, window, path) if has_package() else _scores(network, window)


def proof_of_scores(plan: Plan, theirs: Scores, bundle: Bundle, threads: int) -> dict[str, Any]:
    """What `bundle.json` says of it. theirs: `known_scores`."""
    window = made_up_window(plan)
    ours = load_engine(bundle, FLOAT32, "f32", threads, pinned=False)(window)
    return {
        "against": f"{PACKAGE} {metadata.version(PACKAGE)}" if has_package() else "this project's network in torch",
        "window": window.shape,
        "largest_difference": float(np.abs(ours - theirs).max()),
        "largest_score": float(np.abs(theirs).max()),
    }


def scores_of_package(plan: Plan, weights: Weights, window: Volume, path: Path) -> Scores:
    """Scores of nnU-Net's own class, which sees the window along the plan's axes; (z, y, x) again."""
    network = _package_network(plan)
    once = named_once(weights, path)
    try:
        network.load_state_dict({name: torch.from_numpy(once[own_name(name)]) for name in network.state_dict()})
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise SetupError(f"{path}: {PACKAGE} builds another network from plans.json: {reason[:200]}") from error
    forward = [plan.axes.index(axis) for axis in range(3)]
    scores = _scores(network.eval(), np.ascontiguousarray(window.transpose(forward)))
    return scores.transpose(0, *(1 + axis for axis in plan.axes))


def _scores(network: nn.Module, window: Volume) -> Scores:
    with torch.inference_mode():
        scores: Scores = network(torch.from_numpy(window)[None, None])[0].numpy()
    return scores


def _package_network(plan: Plan) -> nn.Module:
    """From the plan's own arguments; classes that they name are those that `plans` has found to be known."""
    unet = import_module(f"{PACKAGE}.architectures.unet")
    kwargs = {name: value for name, value in plan.kwargs.items() if name not in ("deep_supervision", "block")}
    leaky = kwargs["nonlin"] in LEAKY
    kwargs |= {
        "conv_op": nn.Conv3d,
        "norm_op": nn.BatchNorm3d if kwargs["norm_op"] in BATCH_NORMS else nn.InstanceNorm3d,
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": nn.LeakyReLU if leaky else nn.ReLU,
    }
    kind = unet.ResidualEncoderUNet if plan.architecture.residual else unet.PlainConvUNet
    network: nn.Module = kind(input_channels=1, num_classes=plan.outputs, deep_supervision=False, **kwargs)
    return network
