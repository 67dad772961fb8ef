"""Prepared: what contenders run, made in their own environment, and the windows that they run it in."""

import json
import subprocess
from pathlib import Path

from app.errors import SetupError
from app.models.bundle import FILE_NAME, Bundle
from app.system.definition import ROOT


def training_window(bundle: Bundle) -> list[int]:
    """Sides (z, y, x) of the last patches that a bundle was trained on, in voxels. SetupError: it does not say."""
    patch = bundle.training.get("patch")
    if not isinstance(patch, list) or [type(side) for side in patch] != [int] * 3:
        raise SetupError(f"{bundle.folder / FILE_NAME}: training names no patch of three sides; say --window Z Y X")
    return patch


def prepare(python: Path, bundle: Bundle, onnx: Path) -> int:
    """The network for ONNX Runtime, made in the contenders' environment; the number of its parameters."""
    command = [str(python.absolute()), "-m", "evaluation.contenders.to_onnx", str(bundle.folder), str(onnx)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return int(json.loads(printed)["parameters"])
