"""Entrants: the contenders of a comparison, each a function from a scan to what it took."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.system import WEIGHTS, load_system
from evaluation.containers import Engine
from evaluation.efficiency import Efficiency
from evaluation.measure import measure
from evaluation.processes import ProcessTree, kill_tree
from evaluation.time_cases import PROJECT, container_case, judged

LIMIT_SECONDS = 900.0
PROCESS = "process and its children"

OUR_IMAGE = "our image by the organisers' command, phase one included"
OUR_STEPS = "our steps after phase one, float32 where nothing else is said:"
REFERENCE = (
    "the reference way: eager torch, float32, MONAI's Gaussian windows of {} voxels (the patch of training) at half "
    "overlap, 14 scores interpolated to every voxel of the box, argmax"
)
NNUNET = "nnunetv2's own predictor, without mirroring and without worker processes, with the same windows"
PEER = "a public network of 0.36 M parameters by its own script, OpenVINO float32, the whole scan"


@dataclass(frozen=True, slots=True)
class Contender:
    """name: short. what: a sentence for the report. boxed: it is handed what phase one kept, not the whole scan.

    run: from a scan and a workspace to what it took; the mask is then in `outputs` of the workspace.
    """

    name: str
    what: str
    boxed: bool
    run: Callable[[Path, Path], Efficiency]


def process(command: Callable[[Path, Path], Sequence[str | Path]]) -> Callable[[Path, Path], Efficiency]:
    """A contender that is a plain process; `command` makes its command line of a scan and a folder for the mask."""

    def run(scan: Path, workspace: Path) -> Efficiency:
        outputs = workspace / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir(parents=True)
        words = [str(word) for word in command(scan.resolve(), outputs)]
        log = workspace / "log.txt"
        found = measure(
            words, lambda number: ProcessTree(number).usage, kill_tree, log, limit=LIMIT_SECONDS, folder=PROJECT
        )
        return judged(scan, found, workspace, PROCESS, out_of_memory=False)

    return run


def contenders(
    engine: Engine, image: str, python: Path, peer: Path | None, prepared: Path, window: Sequence[int]
) -> list[Contender]:
    """All of them, ours first. python: of the contenders' environment. prepared: what `contenders.prepare` wrote.

    window: voxels (z, y, x) of the reference way and of nnunetv2.
    """
    bundle = WEIGHTS / load_system("viscera").segment.bundle
    sides = [str(side) for side in window]

    def module(name: str, *options: str | Path) -> Callable[[Path, Path], Efficiency]:
        start: list[str | Path] = [python, "-m", f"evaluation.contenders.{name}"]
        return process(lambda scan, outputs: [*start, scan, outputs, "--bundle", bundle, *options])

    onnx = ("--engine", "onnxruntime", "--onnx", prepared / "fine.onnx")
    whole = container_case(engine, image, limit=LIMIT_SECONDS)
    found = [
        Contender("image", OUR_IMAGE, False, whole),
        Contender("OpenVINO INT8", f"{OUR_STEPS} OpenVINO, INT8", True, module("steps", "--engine", "openvino-int8")),
        Contender("OpenVINO float32", f"{OUR_STEPS} OpenVINO", True, module("steps", "--engine", "openvino-float32")),
        Contender("ONNX Runtime", f"{OUR_STEPS} ONNX Runtime in place of OpenVINO", True, module("steps", *onnx)),
        Contender("eager torch", REFERENCE.format(" x ".join(sides)), True, module("eager_torch", "--window", *sides)),
        Contender("nnunetv2", NNUNET, True, module("nnunet", "--model", prepared / "nnunet")),
    ]
    return found if peer is None else [*found, Contender("public FLARE25 peer", PEER, False, _peer(python, peer))]


def _peer(python: Path, script: Path) -> Callable[[Path, Path], Efficiency]:
    def command(scan: Path, outputs: Path) -> Sequence[str | Path]:
        inputs = outputs.parent / "inputs"
        shutil.rmtree(inputs, ignore_errors=True)
        inputs.mkdir()
        shutil.copy(scan, inputs)
        return [python, script, inputs, outputs]

    return process(command)
