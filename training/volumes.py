"""Volumes: scans and labels as training draws from them. Arrays (z, y, x), lengths mm, positions in -1..1.

An image and its labels keep grids of their own that cover the same extent, so that one set of points in -1..1 (the
outer faces, as in `torch.nn.functional.grid_sample`) reads both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.recipe import Spacing

AIR = -1024.0  # HU, as `app.types` has it
POINTS_PER_ORGAN = 400  # where patches may be centred; enough to see an organ everywhere
ORGAN_FREE_MM = 40  # what is beyond the labels is worth showing from this height on


class DataError(ValueError):
    """The data are not what a recipe asks for, or are damaged."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One scan.

    image: (z, y, x) int16 HU. labels: (z, y, x) uint8, on a finer grid of the same extent. extent: mm. organ_points:
    per organ (n, 3) positions inside it. organ_free: (from, to) positions along z of what lies beyond all labels.
    """

    name: str
    patient: str
    image: Tensor
    labels: Tensor
    extent: Spacing
    organ_points: tuple[Tensor, ...]
    organ_free: tuple[tuple[float, float], ...]


def make_volume(
    name: str,
    patient: str,
    image: NDArray[np.int16],
    labels: NDArray[np.uint8],
    extent: Spacing,
    classes: int,
    rng: np.random.Generator,
) -> Volume:
    """A volume of its arrays, with what sampling needs to know of them worked out."""
    return Volume(
        name=name,
        patient=patient,
        image=torch.from_numpy(image),
        labels=torch.from_numpy(labels),
        extent=extent,
        organ_points=tuple(_organ_points(labels, organ, rng) for organ in range(1, classes)),
        organ_free=organ_free(labels, extent[0]),
    )


def organ_free(labels: NDArray[np.uint8], height_mm: float) -> tuple[tuple[float, float], ...]:
    """What lies beyond all labels along z, where it is high enough to be shown: (from, to) in -1..1."""
    found = np.flatnonzero(labels.any(axis=(1, 2)))
    count = len(labels)
    ends = [(0, found[0]), (found[-1] + 1, count)] if len(found) else [(0, count)]
    return tuple(
        (start / count * 2 - 1, stop / count * 2 - 1)
        for start, stop in ends
        if (stop - start) / count * height_mm >= ORGAN_FREE_MM
    )


def drawing_weights(patients: Sequence[str]) -> NDArray[np.float64]:
    """Probability of each volume, by its patient: 1 / sqrt(volumes of the patient), so that phases do not crowd out."""
    count = Counter(patients)
    weights = np.array([count[patient] ** -0.5 for patient in patients])
    return np.asarray(weights / weights.sum())


def _organ_points(labels: NDArray[np.uint8], organ: int, rng: np.random.Generator) -> Tensor:
    voxels = np.argwhere(labels == organ)
    chosen = voxels[rng.permutation(len(voxels))[:POINTS_PER_ORGAN]]
    return torch.from_numpy((chosen + 0.5) / labels.shape * 2 - 1).float()


class Volumes(Protocol):
    """Volumes of a data set, loaded when they are asked for. has_organ_free: whether `organ_free` has an entry."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def patients(self) -> Sequence[str]: ...

    @property
    def has_organ_free(self) -> Sequence[bool]: ...

    def __getitem__(self, index: int) -> Volume: ...


class InMemory:
    """Volumes held in memory."""

    def __init__(self, volumes: Sequence[Volume]) -> None:
        self._volumes = volumes
        self.names = [volume.name for volume in volumes]
        self.patients = [volume.patient for volume in volumes]
        self.has_organ_free = [bool(volume.organ_free) for volume in volumes]

    def __getitem__(self, index: int) -> Volume:
        return self._volumes[index]
