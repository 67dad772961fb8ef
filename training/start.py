"""Start: the weights that a run begins with, another run's or a bundle's, and what these have seen."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.run_files import read_past

Weights = tuple[dict[str, Tensor], list[dict[str, Any]]]  # by name; the history, see `training.run_files`


def read_weights(path: Path, role: str) -> Weights:
    """Of `averaged.pt` in a run's folder, or of a bundle, which is a folder and must have this role.

    ValueError or app's SetupError where the bundle cannot be started from.
    """
    if path.is_dir():
        return _of_bundle(path, role)
    return torch.load(path, map_location="cpu", weights_only=True), read_past(path.parent)["history"]


def _of_bundle(folder: Path, role: str) -> Weights:
    """A bundle says what it has seen in all, not in which of its stages: each is said to have seen everything."""
    from app.bundle import TORCHSCRIPT, load_bundle  # needs what app needs

    bundle = load_bundle(folder, role)
    if TORCHSCRIPT not in bundle.files:
        raise ValueError(
            f"{folder}: has no TorchScript, which holds the weights by name; start from a run's averaged.pt"
        )
    past = bundle.training
    try:
        shown = {
            "scans": [*past["scans"]],
            "patients": [*past["patients"]],
            "without_above": past["without_slices_above_the_labels"],
            "without_below": past["without_slices_below_the_labels"],
        }
        seconds = 60.0 * past["minutes"] / len(past["stages"])
        history = [{**stage, "seconds": seconds, **shown} for stage in past["stages"]]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(
            f"{folder}: field training does not say what it was trained on, as training.export does"
        ) from error
    (file,) = bundle.engine_files(TORCHSCRIPT)
    state = torch.jit.load(str(file), map_location="cpu").state_dict()
    return {name: value.float() for name, value in state.items()}, history
