"""Roster: who takes part in a comparison, each with the timer of its cases."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.models.bundle import Bundle
from evaluation.efficiency.containers import Engine, Image
from evaluation.efficiency.timing import CaseTimer, Workspace, container_timer, process_timer

LIMIT_SECONDS = 900.0
PROCESS = "process and its children"
NAMES = IMAGE, OPENVINO_INT8, OPENVINO_FLOAT32, ONNX_RUNTIME, TORCH_AND_MONAI, NNUNETV2, PUBLIC_PEER = (
    "image",
    "OpenVINO INT8",
    "OpenVINO float32",
    "ONNX Runtime",
    "torch and MONAI",
    "nnunetv2",
    "public FLARE25 peer",
)

OUR_IMAGE = "our image by the organisers' command, phase one included"
OUR_STEPS = "our steps after phase one, with {}"
REFERENCE = (
    "the reference way: torch, float32, MONAI's Gaussian windows of {} voxels (the patch of training) at half "
    "overlap, all class scores interpolated to every voxel of the box, argmax"
)
NNUNET = "nnunetv2's own predictor, without mirroring and without worker processes, with the same windows"
PEER = "a public network of the FLARE challenge of 2025 by its own script, OpenVINO float32, the whole scan"


@dataclass(frozen=True, slots=True)
class Contender:
    """name: short. what: a sentence for the report. boxed: it is handed what phase one kept, not the whole scan."""

    name: str
    what: str
    boxed: bool
    timer: CaseTimer


def contenders(
    engine: Engine, image: Image, python: Path, peer: Path | None, onnx: Path, bundle: Bundle, window: Sequence[int]
) -> list[Contender]:
    """All of them, our image first. python: of the contenders' environment. onnx: the fine network.

    peer: a script to be called with folders for scans and masks. bundle: the fine model's. window: voxels (z, y, x) of
    the reference way and of nnunetv2.
    """
    sides = [str(side) for side in window]

    def module(name: str, *options: str | Path) -> CaseTimer:
        start: list[str | Path] = [python, "-m", f"evaluation.contenders.{name}"]
        rest = ["--bundle", bundle.folder, *options]
        return process_timer(lambda scan, place: [*start, scan, place.outputs, *rest], PROCESS, limit=LIMIT_SECONDS)

    def script(scan: Path, place: Workspace) -> Sequence[str | Path]:
        shutil.copy(scan, place.inputs)
        return [python, peer or "", place.inputs, place.outputs]

    found = [
        Contender(IMAGE, OUR_IMAGE, False, container_timer(engine, image, limit=LIMIT_SECONDS)),
        Contender(
            OPENVINO_INT8,
            OUR_STEPS.format("OpenVINO in INT8, as the image has it"),
            True,
            module("steps", "--engine", "openvino-int8"),
        ),
        Contender(
            OPENVINO_FLOAT32,
            OUR_STEPS.format("OpenVINO in float32"),
            True,
            module("steps", "--engine", "openvino-float32"),
        ),
        Contender(
            ONNX_RUNTIME,
            OUR_STEPS.format("ONNX Runtime in place of OpenVINO, float32"),
            True,
            module("steps", "--engine", "onnxruntime", "--onnx", onnx),
        ),
        Contender(TORCH_AND_MONAI, REFERENCE.format(" x ".join(sides)), True, module("reference", "--window", *sides)),
        Contender(NNUNETV2, NNUNET, True, module("nnunet", "--window", *sides)),
    ]
    timer = process_timer(script, PROCESS, limit=LIMIT_SECONDS)
    return found if peer is None else [*found, Contender(PUBLIC_PEER, PEER, False, timer)]
