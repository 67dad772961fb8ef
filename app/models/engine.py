"""Engine: what runs a network. One volume in, its class scores out; OpenVINO or TorchScript.

Both are imported when they are asked for: openvino takes .25 s, torch 1.6 s, and a run needs one of them.
"""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from app.errors import SetupError
from app.models.bundle import FILE_NAME, TORCHSCRIPT, Bundle
from app.types import Scores, Shape, Volume

Engine: TypeAlias = Callable[[Volume], Scores]
"""Normalised intensities (z, y, x) to raw class scores (class, z, y, x), float32 or, quantised, int8.

The scores may be the engine's own buffer, which its next call overwrites or frees: whoever keeps them copies them.
"""


@dataclass(frozen=True, slots=True)
class Model:
    """A bundle, and one of its engines, compiled; of several that are averaged the first, and all engines as one.

    holds_mb: what its bundles say together. score_bytes: of a class at a voxel, once windows are added up.
    """

    bundle: Bundle
    engine: Engine
    holds_mb: int = 0
    score_bytes: int = 4


def load_engine(bundle: Bundle, engine: str, precision: str, threads: int, *, pinned: bool) -> Engine:
    """The bundle's network, checked, compiled and ready.

    precision: "f32" or "bf16", for the layers that are not INT8; said explicitly, because OpenVINO turns to bf16 by
    itself where the CPU has it. threads: how many it may use. pinned: threads may be bound to cores, which is wrong
    where the container has fewer cores' worth of time than cores.

    Raises SetupError, naming file and field, if the bundle does not hold what is asked for, or the network's volumes
    and scores are not those of the bundle. What a network does not tell beforehand (TorchScript's scores), its call
    raises.
    """
    files = bundle.engine_files(engine)
    if engine == TORCHSCRIPT:
        return _torchscript(files, bundle, threads)
    return _openvino(files, bundle, precision, threads, pinned=pinned, is_quantised=bundle.is_quantised(engine))


def _openvino(
    files: list[Path], bundle: Bundle, precision: str, threads: int, *, pinned: bool, is_quantised: bool
) -> Engine:
    # openvino's command-line tools, imported along with it, report every start to their makers; without this package
    # they do not, and nothing is written to HOME
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    core = openvino.Core()
    model_path = next(path for path in files if path.suffix == ".xml")
    weights_path = next(path for path in files if path.suffix == ".bin")  # checked; not what OpenVINO finds beside it
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": pinned,
    }
    try:
        model = core.read_model(model_path, weights_path)
        _check_openvino(model, bundle, model_path, is_quantised=is_quantised)
        compiled = core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise SetupError(f"{model_path}: OpenVINO cannot compile it: {' '.join(str(error).split())}") from error
    request = compiled.create_infer_request()
    unfold = _Unfold(bundle.channels, threads)

    def run(volume: Volume) -> Scores:
        # shared: else infer copies the scores for an answer that nobody reads, a tenth of a window's time
        request.infer([np.ascontiguousarray(volume[None, None])], share_inputs=True, share_outputs=True)
        answer = request.get_output_tensor().data
        _check_scores(answer.shape, volume.shape, bundle, model_path)
        return unfold(answer[0])

    return run


class _Unfold:
    """Scores of blocks of voxels as those of voxels: 5 ms of a window of 0.12 s, where OpenVINO takes 20.

    Into the same array again where windows are alike: a new one would be held beside the last, and take 1 ms more.
    """

    def __init__(self, channels: int, threads: int) -> None:
        self._channels = channels
        self._threads = threads
        self._voxels: Scores = np.empty(0, np.int8)

    def __call__(self, blocks: Scores) -> Scores:
        """(class, z, y, x) of (class * side ** 3, z / side, y / side, x / side), a block's voxels in their order, x
        fastest: a buffer that the next call overwrites. The same array where blocks are voxels.
        """
        places, *sides = blocks.shape
        side = round((places / self._channels) ** (1 / 3))
        if side == 1:
            return blocks
        z, y, x = (n * side for n in sides)
        if self._voxels.shape != (self._channels, z, y, x) or self._voxels.dtype != blocks.dtype:
            self._voxels = np.empty((self._channels, z, y, x), blocks.dtype)
        of_class = blocks.reshape(self._channels, side, side, side, *sides)

        def place(label: int) -> None:
            for dz, dy, dx in product(range(side), repeat=3):
                self._voxels[label, dz::side, dy::side, dx::side] = of_class[label, dz, dy, dx]

        with ThreadPoolExecutor(self._threads) as pool:
            for _ in pool.map(place, range(self._channels)):
                pass
        return self._voxels


def _torchscript(files: list[Path], bundle: Bundle, threads: int) -> Engine:
    try:
        import torch
    except ImportError as error:
        raise SetupError(
            f"{files[0]}: needs torch, which is missing: install its CPU build, or build the image --with-torch"
        ) from error

    try:
        network = torch.jit.load(str(files[0]), map_location="cpu").float().eval()
    except RuntimeError as error:
        raise SetupError(f"{files[0]}: torch cannot load it: {str(error).splitlines()[0]}") from error

    unfold = _Unfold(bundle.channels, threads)

    def run(volume: Volume) -> Scores:
        torch.set_num_threads(threads)  # of the thread that runs it, which need not be the one that loads it
        with torch.inference_mode():
            answer = network(torch.from_numpy(np.ascontiguousarray(volume[None, None])))
        _check_scores(tuple(getattr(answer, "shape", ())), volume.shape, bundle, files[0])  # a tuple of them has none
        if not answer.is_floating_point():
            raise SetupError(f"{files[0]}: its scores are {answer.dtype}, they must be floating point")
        return unfold(answer[0].float().numpy())

    return run


def _check_openvino(model: Any, bundle: Bundle, path: Path, *, is_quantised: bool) -> None:
    """SetupError unless a model that OpenVINO has read takes the bundle's volumes and answers as the bundle says."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise SetupError(f"{path}: has {len(model.inputs)} inputs and {len(model.outputs)} outputs, needs one of each")
    given, answered = model.input(0).element_type, model.output(0).element_type
    fits = answered.get_type_name() == "i8" if is_quantised else answered.is_real()
    if not given.is_real() or not fits:
        names = f"{given.get_type_name()} and {answered.get_type_name()}"
        wanted = (
            f"must be floating point and i8, for {FILE_NAME} has score_step"
            if is_quantised
            else "both must be floating point"
        )
        raise SetupError(f"{path}: its input and output are {names}, {wanted}")
    known = model.input(0).partial_shape
    for volume in _volumes(bundle):
        if not known.compatible(type(known)([1, 1, *volume])):
            raise SetupError(f"{path}: its input is {known}, field {_field(bundle)} says {volume}")
    hardest = _volumes(bundle)[0]
    reshaped = model.clone()  # weights are shared, nothing is computed: two or three milliseconds
    try:
        reshaped.reshape([1, 1, *hardest])
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise SetupError(f"{path}: cannot take {hardest}, which field {_field(bundle)} says: {reason}") from error
    scores = reshaped.output(0).partial_shape
    if scores.is_static:
        _check_scores(tuple(scores.to_shape()), hardest, bundle, path)


def _volumes(bundle: Bundle) -> list[Shape]:
    """Shapes that stand for all that the network will be given; the first has odd multiples, as far as there are any:
    a network that halves once more than its bundle says cannot take it."""
    if bundle.shape is not None:
        return [bundle.shape]
    if bundle.window is None:
        raise ValueError(f"bundle {bundle.name} has neither shape nor window")
    low, high, multiple = bundle.window.smallest, bundle.window.largest, bundle.window.multiple
    z, y, x = (a if a // multiple % 2 else min(a + multiple, b) for a, b in zip(low, high, strict=True))
    return [(z, y, x), low, high]


def _check_scores(found: tuple[int, ...], volume: tuple[int, ...], bundle: Bundle, path: Path) -> None:
    """SetupError unless scores of shape (1, class, z, y, x) belong to a volume (z, y, x) as the bundle says.

    Those of a window are as fine as it, or in place of each class there are those of the voxels of a block; those of a
    model that sees all at once may be coarser by whole factors, for they are only read as covering the same extent.
    """
    fits = len(found) == 5
    if fits and bundle.shape is None:
        side = volume[0] // max(1, found[2])
        fits = found[1] == bundle.channels * side**3 and tuple(n * side for n in found[2:]) == tuple(volume)
    elif fits:
        fits = found[1] == bundle.channels and not any(
            fine % coarse for fine, coarse in zip(volume, found[2:], strict=True)
        )
    if not fits:
        classes = "regions" if bundle.regions else "labels"
        windowed = "that grid (or 8 times as many on half that grid, of blocks of 2 x 2 x 2 voxels)"
        grids = windowed if bundle.shape is None else "that grid or one coarser by whole factors"
        raise SetupError(
            f"{path}: gives scores of shape {found} for a volume of {volume}; fields {classes} and {_field(bundle)} of "
            f"{FILE_NAME} ask for {bundle.channels} classes on {grids}"
        )


def _field(bundle: Bundle) -> str:
    return "window" if bundle.shape is None else "shape"
