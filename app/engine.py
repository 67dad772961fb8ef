"""Engine: what runs a network. One volume in, its class scores out; OpenVINO or TorchScript.

Both are imported when they are asked for: openvino takes .25 s, torch 1.6 s, and a run needs one of them.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from app.bundle import TORCHSCRIPT, Bundle
from app.errors import SetupError
from app.types import Scores, Shape, Volume

Engine: TypeAlias = Callable[[Volume], Scores]
"""Normalised intensities (z, y, x) to raw class scores (class, z, y, x), float32.

The scores may be the engine's own buffer, which its next call overwrites: whoever keeps them copies them.
"""


def load_engine(bundle: Bundle, engine: str, precision: str, threads: int, *, pinned: bool) -> Engine:
    """The bundle's network, checked, compiled and ready.

    precision: "f32" or "bf16", for the layers that are not INT8; said explicitly, because OpenVINO turns to bf16 by
    itself where the CPU has it. threads: how many it may use. pinned: threads may be bound to cores, which is wrong
    where the container has fewer cores' worth of time than cores.

    Raises SetupError, naming file and field, if the bundle does not hold what is asked for.
    """
    files = bundle.engine_files(engine)
    if engine == TORCHSCRIPT:
        return _torchscript(files, threads)
    return _openvino(files, bundle.shape, precision, threads, pinned)


def _openvino(files: list[Path], shape: Shape | None, precision: str, threads: int, pinned: bool) -> Engine:
    # openvino's command-line tools, imported along with it, report every start to their makers; without this package
    # they do not, and nothing is written to HOME
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    model_path = next(path for path in files if path.suffix == ".xml")
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": pinned,
    }
    try:
        model = core.read_model(model_path)
        if shape is not None and not model.input(0).partial_shape.compatible(openvino.PartialShape([1, 1, *shape])):
            raise SetupError(f"{model_path}: its input is {model.input(0).partial_shape}, field shape says {shape}")
        compiled = core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise SetupError(f"{model_path}: OpenVINO cannot compile it: {' '.join(str(error).split())}") from error
    request = compiled.create_infer_request()

    def run(volume: Volume) -> Scores:
        request.infer([np.ascontiguousarray(volume[None, None])], share_inputs=True)
        scores: Scores = request.get_output_tensor().data[0]
        return scores

    return run


def _torchscript(files: list[Path], threads: int) -> Engine:
    try:
        import torch
    except ImportError as error:
        raise SetupError(
            f"{files[0]}: needs torch, which is missing: install its CPU build, or build the image --with-torch"
        ) from error

    torch.set_num_threads(threads)
    try:
        network = torch.jit.load(str(files[0]), map_location="cpu").float().eval()
    except RuntimeError as error:
        raise SetupError(f"{files[0]}: torch cannot load it: {str(error).splitlines()[0]}") from error

    def run(volume: Volume) -> Scores:
        with torch.inference_mode():
            scores: Scores = network(torch.from_numpy(np.ascontiguousarray(volume[None, None])))[0].numpy()
        return scores

    return run
