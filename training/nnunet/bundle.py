"""Bundle: what a plan says in the words of `bundle.json`: with nnU-Net's own steps, or with this project's."""

import json
import math
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from app.models.bundle import AXES, FILE_NAME, Bundle, load_bundle
from training.export import ENGINE_FILES, engine_files, in_openvino, save_ir
from training.nnunet.plans import Plan

ROLE = "nnunet"
ANY_SIZE = [1, 1, -1, -1, -1]
STEP, FAST_STEP = 0.5, 0.75  # how far windows are apart, as a share of their side
SMALLEST_SHARE = 0.5  # of the trained window's sides, that a fast one may have


def own_steps(plan: Plan) -> dict[str, Any]:
    """Fields of the steps before and after the network, as nnU-Net takes them."""
    resampling: dict[str, Any] = {
        "order": "normalise-resample",
        "interpolation": "cubic",
        "averages": False,
        "by_ratio": True,
        "keeps_range": True,
    }
    if plan.separates_above is not None:
        resampling["separates_axis_above"] = plan.separates_above
    window = {
        "largest": plan.window,
        "smallest": plan.window,
        "multiple": math.gcd(*plan.window),
        "step": STEP,
        "weights": "gaussian",
        "fill": "zero",
        "centred": True,
    }
    return {"crops_to_nonzero": True, "resampling": resampling, "window": window}


def fast_steps(plan: Plan) -> dict[str, Any]:
    """The same fields as this project's own models have them: linear interpolation, few windows, all of a weight.

    A window's sides are multiples of one number: where the network halves its axes unlike, windows stay as trained.
    """
    if len(set(plan.architecture.multiple)) > 1:
        window = own_steps(plan)["window"] | {"step": FAST_STEP, "weights": "uniform", "centred": False}
        return {"resampling": {"averages": False}, "window": window}
    multiple = plan.architecture.multiple[0]
    largest = [max(multiple, round(side / multiple) * multiple) for side in plan.window]
    smallest = [max(multiple, math.ceil(SMALLEST_SHARE * side / multiple) * multiple) for side in largest]
    window = {"largest": largest, "smallest": smallest, "multiple": multiple, "step": FAST_STEP, "fill": "zero"}
    return {"resampling": {"averages": False}, "window": window}


def description(plan: Plan, name: str, steps: dict[str, Any], came_from: dict[str, Any]) -> dict[str, Any]:
    """The content of `bundle.json`, but for files and accuracy."""
    table: dict[str, Any] = {"name": name, "role": ROLE, "axes": AXES, "labels": plan.labels}
    if plan.regions:
        table["regions"] = plan.regions
    if plan.intensities is not None:
        table["intensity"] = asdict(plan.intensities)
    else:
        table["scan_intensity"] = {"low_percentile": 0, "high_percentile": 100, "keeps_zeros": False}
    table["orientation"] = plan.orientation
    table["spacing_mm"] = plan.spacing_mm
    return table | steps | {"training": came_from | {"patch": plan.window}}


def save_network(network: nn.Module, plan: Plan, folder: Path) -> None:
    """`model.xml` and `model.bin` in float32, weights too: what a proof compares is what runs."""
    example = torch.zeros(1, 1, *plan.window)
    save_ir(in_openvino(network, example, ANY_SIZE), folder / "model.xml", as_float16=False)


def plain_beside(folder: Path) -> Path:
    """Beside a bundle in the making: the network with OpenVINO's own norms, which are quicker and less exact."""
    return folder.with_name(f"{folder.name}.plain")


def write_card(folder: Path, table: dict[str, Any], accuracy: dict[str, Any]) -> Bundle:
    """`bundle.json` beside the engines' files, checked as `app` will check it."""
    content = table | {"files": engine_files(folder), "accuracy": accuracy}
    (folder / FILE_NAME).write_text(json.dumps(content, indent=1) + "\n")
    bundle = load_bundle(folder)
    for engine in bundle.files:
        bundle.engine_files(engine)
    return bundle


def with_accuracy(folder: Path, more: dict[str, Any]) -> Bundle:
    """`bundle.json` anew, with the files that are there by now and what was measured besides."""
    card = read_card(folder)
    return write_card(folder, card, card["accuracy"] | more)


def read_card(folder: Path) -> dict[str, Any]:
    """What `write_card` wrote."""
    card: dict[str, Any] = json.loads((folder / FILE_NAME).read_text())
    return card


def share_engine(engine: str, source: Path, target: Path) -> None:
    """An engine's files of one folder in another one as well: one copy on the disk where it knows hard links."""
    for name in ENGINE_FILES[engine]:
        if (source / name).exists():
            try:
                os.link(source / name, target / name)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source / name, target / name)
