"""Reading: the process that `training.nnunet.checkpoint` starts: `python -m training.nnunet.reading FILE FOLDER BYTES`.

It takes what `torch.load` takes with `weights_only`, and numpy's numbers, which nnU-Net's own log has; writes the
network's tensors and three words beside them, and ends. What is wrong is the last line of stderr, with exit status 2.
"""

import json
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.nnunet.checkpoint import ARRAYS, CARD, MOST_SECONDS

SPARE_BYTES = 1 << 30
MOST_TENSORS, MOST_NAME = 20_000, 200
NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


class Refused(Exception):
    """What is wrong with the file, in a line."""


def main() -> None:
    """Reads FILE and writes into FOLDER."""
    path, folder, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    _limit(size)
    try:
        _write(_load(path), folder, size)
    except Refused as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except MemoryError:
        print("needs more memory than its size allows; it is damaged, or was made to do harm", file=sys.stderr)
        sys.exit(2)


def _limit(size: int) -> None:
    """What this process may use from here on: the file in memory, a copy of it, and a spare."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    memory = pages * resource.getpagesize() + 3 * size + SPARE_BYTES
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_FSIZE, 2 * size + SPARE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _load(path: Path) -> Mapping[str, Any]:
    # mapped, not read: of a checkpoint half is the optimiser's state, which nobody looks at
    try:
        with torch.serialization.safe_globals(_numbers_of_numpy()):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of damaged files torch raises what its readers happen to
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError):
            raise
        if named := re.search(r"GLOBAL ([\w.]+)", text) or re.search(r"Unsupported (?:global|class) ([\w.]+)", text):
            what = f"holds {named[1]}, which is neither tensor, number nor text"
        else:
            what = f"holds what is neither tensor, number nor text, or is damaged ({text[:80]})"
        raise Refused(f"{what}; nothing in a checkpoint is run, so it is refused") from error
    if not isinstance(found, Mapping):
        raise Refused("holds no table; it is no checkpoint of nnU-Net v2's")
    return found


def _numbers_of_numpy() -> list[Any]:
    """numpy's numbers as pickles have them, by the names of both of its major versions."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    kinds = [type(np.dtype(name)) for name in NUMBERS]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
        (_encoded, "_codecs.encode"),
    ]


def _encoded(text: str, encoding: str) -> bytes:
    """How numpy's numbers were written in a pickle of an old protocol: as text of so many letters."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _write(found: Mapping[str, Any], folder: Path, size: int) -> None:
    tensors = found.get("network_weights")
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        raise Refused("has no network_weights; it is no checkpoint of nnU-Net v2's")
    if len(tensors) > MOST_TENSORS or not all(map(_is_name, tensors)):
        raise Refused(f"has {len(tensors)} tensors, or names that no network has")
    different = _different(tensors)
    _check_size(different, size)
    arguments = found.get("init_args")
    configuration = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    axes = found.get("inference_allowed_mirroring_axes") or ()
    if not _is_name(found.get("trainer_name")) or not _is_name(configuration):
        raise Refused("does not say trainer_name and init_args.configuration; it is no checkpoint of nnU-Net v2's")
    if not isinstance(axes, tuple | list) or not all(type(axis) is int and 0 <= axis < 3 for axis in axes):
        raise Refused("its inference_allowed_mirroring_axes are not of three dimensions")
    card = {
        "names": {name: list(different).index(_place(tensor)) for name, tensor in tensors.items()},
        "trainer": found["trainer_name"],
        "configuration": configuration,
        "mirror_axes": sorted(set(axes)),
    }
    arrays: dict[str, Any] = {str(index): _array(tensor) for index, tensor in enumerate(different.values())}
    np.savez(folder / ARRAYS, **arrays)
    (folder / CARD).write_text(json.dumps(card), encoding="utf-8")


def _is_name(value: object) -> bool:
    """Whether it may stand in a line."""
    return isinstance(value, str) and len(value) <= MOST_NAME and value.isprintable()


def _different(tensors: Mapping[str, Any]) -> dict[Any, torch.Tensor]:
    """Each tensor once, by its place in memory: nnU-Net names most of them two or four times."""
    different: dict[Any, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise Refused(f"network_weights.{name} is no dense tensor")
        if tensor.is_complex() or tensor.device.type != "cpu":
            raise Refused(f"network_weights.{name} is no tensor of numbers in memory")
        different.setdefault(_place(tensor), tensor)
    return different


def _place(tensor: torch.Tensor) -> Any:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _check_size(different: Mapping[Any, torch.Tensor], size: int) -> None:
    """Refused where tensors are larger than the file in all: a step of 0 makes a few bytes a tensor of any shape."""
    total = sum(tensor.numel() * tensor.element_size() for tensor in different.values())
    if total > size:
        raise Refused(
            f"network_weights declare {total} bytes, the file has {size}; it is damaged, or was made to do harm"
        )


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).contiguous().numpy()


if __name__ == "__main__":
    main()
