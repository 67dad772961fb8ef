"""Prepare: scans and labels from their files to volumes, by `app`'s own reading and resampling. Arrays (z, y, x)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError
from app.files.labels import whole_labels
from app.files.read import read
from app.grid import Grid, grid_at_spacing
from app.steps.resample import resample, use_threads
from app.types import AIR, Labels, Shape, Spacing
from training.check import grid_problems
from training.layout import CaseFiles, find_cases
from training.recipe import CHALLENGE_LABELS, Data, Recipe, Stage
from training.volumes import InMemory, Volume, make_volume

FINER = 2  # labels are kept this much finer than the image, or as fine as they are: small organs live on less


def load_volumes(cases: list[CaseFiles], spacing: Spacing, recipe: Recipe) -> Iterator[Volume]:
    """The volumes of `cases` at `spacing` (mm), one at a time.

    Raises CaseError where a file cannot be read, SetupError where scan and label do not fit or a label is unknown.
    """
    use_threads(recipe.threads)
    for case in cases:
        yield load_volume(case, spacing, recipe)


def load_volume(case: CaseFiles, spacing: Spacing, recipe: Recipe) -> Volume:
    """One of them."""
    scan, mask = read(case.scan), read(case.label)
    try:
        for problem in grid_problems(scan, mask):
            raise ValueError(problem)
        labels = whole_labels(mask.voxels, len(CHALLENGE_LABELS) - 1)
    except ValueError as error:
        raise SetupError(f"{case.name}: {error}; name it in data.exclude, or see training.check") from error
    kept = shown_slices(labels, case.name, recipe.data)
    labels, voxels = labels[kept], scan.voxels[kept]
    grid = Grid(_shape(labels), scan.grid.spacing)
    image = resample(voxels, grid, grid_at_spacing(grid, spacing))
    whole = image.round().clip(AIR, np.iinfo(np.int16).max).astype(np.int16)
    finer = (max(target / FINER, own) for target, own in zip(spacing, grid.spacing, strict=True))
    z, y, x = finer
    fine = nearest(labels, grid_at_spacing(grid, (z, y, x)).shape)
    rng = np.random.default_rng([recipe.seed, *case.name.encode()])
    return make_volume(case.name, case.patient, whole, fine, grid.extent, recipe.label_classes, rng)


def shown_slices(labels: Labels, name: str, data: Data) -> slice:
    """The slices of a scan that the recipe lets training see: all, or none above or below its labels."""
    found = np.flatnonzero(labels.any(axis=(1, 2)))
    if not len(found):
        return slice(None)
    first = int(found[0]) if name in data.without_below else 0
    last = int(found[-1]) if name in data.without_above else len(labels) - 1
    return slice(first, last + 1)


def nearest(labels: Labels, shape: Shape) -> Labels:
    """`labels` at the centres of a grid of `shape` voxels and the same extent, by nearest neighbour.

    >>> nearest(np.array([[[1, 2, 3, 4, 5, 6]]], np.uint8), (1, 1, 3)).tolist()
    [[[2, 4, 6]]]
    """
    if labels.shape == shape:
        return np.ascontiguousarray(labels)
    z, y, x = (((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(shape, labels.shape, strict=True))
    picked: NDArray[np.uint8] = labels[np.ix_(z, y, x)]
    return picked


def _shape(labels: Labels) -> Shape:
    z, y, x = labels.shape
    return z, y, x


class Prepared:
    """A folder of scans and labels, prepared when a stage asks for them and kept in memory while the spacing stays."""

    def __init__(self, folder: Path) -> None:
        self._cases = find_cases(folder)
        self._kept: tuple[Spacing, dict[str, Volume]] | None = None

    def volumes(self, recipe: Recipe, stage: Stage, fold: bool) -> InMemory:
        """The fold's volumes, or those a stage trains on: all, or all but the fold's. SetupError if there are none."""
        chosen = chosen_cases(named_cases(self._cases, recipe.data), recipe.data, stage, fold)
        if self._kept is None or self._kept[0] != stage.spacing_mm:
            self._kept = (stage.spacing_mm, {})
        loaded = self._kept[1]
        missing = [case for case in chosen if case.name not in loaded]
        for case, volume in zip(missing, load_volumes(missing, stage.spacing_mm, recipe), strict=True):
            loaded[case.name] = volume
        return InMemory([loaded[case.name] for case in chosen])


class OnDemand:
    """A stage's volumes, each prepared when it is asked for: for a few samples of many scans."""

    def __init__(self, folder: Path, recipe: Recipe, stage: Stage) -> None:
        cases = named_cases(find_cases(folder), recipe.data)
        self._cases = chosen_cases(cases, recipe.data, stage, fold=False)
        self._recipe, self._spacing = recipe, stage.spacing_mm
        self.names = [case.name for case in self._cases]
        self.patients = [case.patient for case in self._cases]
        self.has_organ_free = [False] * len(self._cases)  # not known before they are read

    def __getitem__(self, index: int) -> Volume:
        return load_volume(self._cases[index], self._spacing, self._recipe)


def named_cases(cases: list[CaseFiles], data: Data) -> list[CaseFiles]:
    """All but the excluded ones. SetupError for a name in the recipe that the data do not have: a misspelt patient
    would be trained on, and said not to have been."""
    names, patients = {case.name for case in cases}, {case.patient for case in cases}
    wanted = {
        "fold_patients": set(data.fold_patients) - patients,
        "exclude": set(data.exclude) - names,
        "without_above": set(data.without_above) - names,
        "without_below": set(data.without_below) - names,
    }
    for field, unknown in wanted.items():
        if unknown:
            raise SetupError(
                f"data.{field} of the recipe names {', '.join(sorted(unknown))}, not in these {len(cases)} cases"
            )
    return [case for case in cases if case.name not in data.exclude]


def chosen_cases(cases: list[CaseFiles], data: Data, stage: Stage, fold: bool) -> list[CaseFiles]:
    """The fold's cases, or those a stage trains on. SetupError if there are none."""
    chosen = [case for case in cases if stage.shows(case.patient, data, fold=fold)]
    if not chosen:
        raise SetupError(f"stage {stage.name}: none of the {len(cases)} cases is {'of the fold' if fold else 'left'}")
    return chosen
