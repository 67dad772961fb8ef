"""Steps: app's own way after phase one, with one engine or another: OpenVINO INT8, OpenVINO float32, ONNX Runtime."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from app.grid import whole
from app.models.bundle import Bundle
from app.models.engine import Engine, load_engine
from app.steps.classify import classify
from app.steps.clean import demote, drop_small
from app.steps.restore import restore
from app.steps.segment import segment
from app.system.definition import load_system
from app.types import Scores, Volume
from evaluation.contenders.program import Clock, finish, load, parser

ONNX_RUNTIME = "onnxruntime"


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    arguments = _parser().parse_args()
    threads = os.cpu_count() or 1
    image, bundle, volume = load(arguments.scan, arguments.bundle, clock)
    with clock.timed("load"):
        engine = _engine(arguments.engine, arguments.onnx)(bundle, threads)
    with clock.timed("segment"):
        scores = segment(volume, bundle, engine)
    with clock.timed("clean"):
        labels = classify(scores)
        cleaned = drop_small(labels, min_share=load_system("viscera").clean.min_share)
        demote(scores, labels, cleaned)
    with clock.timed("restore"):
        mask = restore(scores, cleaned, whole(image.grid), image.grid, threads=threads)
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
