"""Dataset: training scans in memory, on a stage's grid, and samples drawn from them. Arrays (z, y, x).

An image and its labels keep grids of their own that cover the same extent, so that one set of points in -1..1 (the
outer faces, as in `torch.nn.functional.grid_sample`) reads both: the image as `app` resamples it, the labels as finely
as they are known.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from app.grid import grid_at_spacing
from app.labels import CLASSES
from app.read import read
from app.resample import resample
from app.types import Spacing

SCAN_ENDING = "_0000.nii.gz"
POINTS_PER_ORGAN = 400  # where patches may be centred; enough to see an organ everywhere


@dataclass(frozen=True, slots=True)
class Volume:
    """One scan. image: (z, y, x) HU. labels: (z, y, x), finer. extent: mm. organ_points: per organ (n, 3) in -1..1."""

    name: str
    patient: str
    image: Tensor
    labels: Tensor
    extent: Spacing
    organ_points: tuple[Tensor, ...]


def load_volumes(folder: Path, spacing: Spacing, held_out: tuple[str, ...], seed: int) -> list[Volume]:
    """Every `NAME_0000.nii.gz` with its `NAME.nii.gz` of patients not held out, its image at `spacing` (mm, z y x).

    `volumes.tsv` beside the folder names the patients; without it every volume is one. Raises ValueError where scan
    and label are not one grid, CaseError where a file cannot be read.
    """
    rng = np.random.default_rng(seed)
    return [
        _load_volume(folder / f"{name}{SCAN_ENDING}", name, patient, spacing, rng)
        for name, patient in training_patients(folder, held_out).items()
    ]


def training_patients(folder: Path, held_out: tuple[str, ...]) -> dict[str, str]:
    """Patient of every volume in `folder` that is not held out, by the volume's name, in order."""
    patients = patients_by_name(folder.parent / "volumes.tsv")
    names = [path.name.removesuffix(SCAN_ENDING) for path in sorted(folder.glob(f"*{SCAN_ENDING}"))]
    return {name: patients.get(name, name) for name in names if patients.get(name, name) not in held_out}


def patients_by_name(table: Path) -> dict[str, str]:
    """Volume name to patient, from a tab-separated table with columns `name` and `patient`; empty without a table."""
    if not table.exists():
        return {}
    with table.open() as file:
        return {row["name"]: row["patient"] for row in csv.DictReader(file, delimiter="\t")}


def drawing_weights(volumes: list[Volume]) -> np.ndarray:
    """Probability of each volume: 1 / sqrt(volumes of its patient), so that a patient's phases do not crowd out."""
    count = Counter(volume.patient for volume in volumes)
    weights = np.array([count[volume.patient] ** -0.5 for volume in volumes])
    return np.asarray(weights / weights.sum())


def _load_volume(path: Path, name: str, patient: str, spacing: Spacing, rng: np.random.Generator) -> Volume:
    scan = read(path)
    mask = read(path.with_name(f"{name}.nii.gz"))
    if mask.voxels.shape != scan.voxels.shape:
        raise ValueError(f"{path.name}: scan {scan.voxels.shape}, label {mask.voxels.shape}; they must be one grid")
    image = resample(scan.voxels, scan.grid, grid_at_spacing(scan.grid, spacing))
    labels = np.ascontiguousarray(mask.voxels.astype(np.uint8))
    return Volume(
        name=name,
        patient=patient,
        image=torch.from_numpy(image),
        labels=torch.from_numpy(labels),
        extent=scan.grid.extent,
        organ_points=tuple(_organ_points(labels, organ, rng) for organ in range(1, len(CLASSES))),
    )


def _organ_points(labels: np.ndarray, organ: int, rng: np.random.Generator) -> Tensor:
    voxels = np.argwhere(labels == organ)
    chosen = voxels[rng.permutation(len(voxels))[:POINTS_PER_ORGAN]]
    return torch.from_numpy((chosen + 0.5) / labels.shape * 2 - 1).float()
