"""Checkpoint: a file that nnU-Net trained, read as data. A pickle can hold a program: nothing of it is run.

A process of its own reads it (`training.nnunet.reading`), which has little memory, no more time than it needs and an
environment without anybody's secrets, and which takes tensors, numbers and text alone. What it hands back are plain
arrays and JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from training.nnunet.tables import shown

PROJECT = Path(__file__).parents[2]
MOST_BYTES = 16 << 30  # of a checkpoint; nnU-Net's largest network has 2 GB with its optimiser's state
MOST_SECONDS = 600
MOST_SAID = 300  # letters of a reason
ARRAYS, CARD = "weights.npz", "card.json"  # what the process writes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """weights: by nnU-Net's keys, several of which may share an array; float32 (whole numbers int64). trainer: its
    class's name. mirror_axes: of the plan's axes those along which training mirrored; empty where it did not, or does
    not say."""

    weights: dict[str, NDArray[Any]]
    trainer: str
    configuration: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """SetupError where the file is no checkpoint of nnU-Net v2's, is damaged, or holds anything but data."""
    size = _checked_size(path)
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "training.nnunet.reading", str(path.resolve()), folder, str(size)],
                cwd=folder,
                env={"PYTHONPATH": str(PROJECT), "PATH": os.defpath, "OMP_NUM_THREADS": "1", "HOME": folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise SetupError(f"{path}: not read within {MOST_SECONDS} s; it is none of nnU-Net's") from error
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()[-1:] if done.returncode == 2 else []
            reason = shown(said[0], MOST_SAID) if said else "needs more memory than its size allows, or is damaged"
            raise SetupError(f"{path}: {reason}")
        return _from_files(Path(folder), path)


def _checked_size(path: Path) -> int:
    """Bytes of the file, which is a zip that is stored as it is: declared sizes are what is there."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RecursionError) as error:
        raise SetupError(f"{path}: is no checkpoint that PyTorch 1.6 or later saved, or is damaged") from error
    if size > MOST_BYTES:
        raise SetupError(f"{path}: has {size} bytes, more than the {MOST_BYTES} of any network that is supported")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise SetupError(f"{path}: its entries are compressed, which PyTorch's are not; save the checkpoint again")
    if sum(entry.file_size for entry in entries) > size:
        raise SetupError(f"{path}: declares more bytes than it has; it is damaged, or was made to do harm")
    return size


def _from_files(folder: Path, path: Path) -> Checkpoint:
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    with np.load(folder / ARRAYS, allow_pickle=False) as file:
        arrays = {index: file[index] for index in file.files}
    weights = {name: arrays[str(index)] for name, index in card["names"].items()}
    if not weights:
        raise SetupError(f"{path}: network_weights is empty; training never saved a network")
    return Checkpoint(weights, card["trainer"], card["configuration"], tuple(card["mirror_axes"]))
