"""Steps: app's own way after phase one, with one engine or another: OpenVINO INT8, OpenVINO float32, ONNX Runtime."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.files.read import read
from app.grid import whole
from app.models.bundle import Bundle, load_bundle
from app.models.engine import Engine, Model, load_engine
from app.run.stage import run_stage
from app.steps.resample import use_threads
from app.steps.restore import restore
from app.system.definition import load_system
from app.types import Scores, Volume
from evaluation.contenders.program import Clock, finish, parser

ONNX_RUNTIME = "onnxruntime"


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    arguments = _parser().parse_args()
    threads = os.cpu_count() or 1
    use_threads(threads)
    with clock.timed("read"):
        image = read(arguments.scan)
    with clock.timed("load"):
        bundle = load_bundle(arguments.bundle)
        model = Model(bundle, _engine(arguments.engine, arguments.onnx)(bundle, threads))
    system = load_system("viscera")
    stage = system.stage[system.result.of]
    answer = run_stage(image.voxels, image.grid, whole(image.grid), stage, model, timed=clock.timed, threads=threads)
    with clock.timed("restore"):
        mask = restore(answer.scores, answer.labels, answer.box, image.grid, threads=threads)
    finish(mask, image, arguments.outputs, clock)


def _engine(name: str, model: Path | None) -> Callable[[Bundle, int], Engine]:
    if name == ONNX_RUNTIME:
        if model is None:
            raise SystemExit("--engine onnxruntime needs --onnx MODEL")
        return lambda _, threads: _onnx_runtime(model, threads)
    return lambda bundle, threads: load_engine(bundle, name, "f32", threads, pinned=True)


def _onnx_runtime(model: Path, threads: int) -> Engine:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(volume: Volume) -> Scores:
        scores: Scores = session.run(None, {name: np.ascontiguousarray(volume[None, None])})[0][0]
        return scores

    return run


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--engine", required=True, choices=["openvino-int8", "openvino-float32", ONNX_RUNTIME])
    made.add_argument("--onnx", type=Path, help="the network, for ONNX Runtime")
    return made


if __name__ == "__main__":
    main()
