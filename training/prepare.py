"""Prepare: scans and labels from their files to volumes, by `app`'s own reading and resampling. Arrays (z, y, x)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.grid import Grid, grid_at_spacing
from app.hounsfield import AIR
from app.read import read
from app.resample import resample
from app.types import Labels, Shape, Spacing
from training.layout import CaseFiles, find_cases
from training.recipe import Data, Recipe, Stage
from training.volumes import InMemory, Volume, make_volume

FINER = 2  # labels are kept this much finer than the image, or as fine as they are: small organs live on less


def load_volumes(cases: list[CaseFiles], spacing: Spacing, recipe: Recipe) -> Iterator[Volume]:
    """The volumes of `cases` at `spacing`, one at a time.

    Raises CaseError where a file cannot be read, ValueError where scan and label are not one grid.
    """
    for case in cases:
        rng = np.random.default_rng([recipe.seed, *case.name.encode()])
        yield load_volume(case, spacing, recipe, rng)


def load_volume(case: CaseFiles, spacing: Spacing, recipe: Recipe, rng: np.random.Generator) -> Volume:
    """One of them."""
    scan, mask = read(case.scan), read(case.label)
    if mask.voxels.shape != scan.voxels.shape:
        raise ValueError(f"{case.name}: scan {scan.voxels.shape}, label {mask.voxels.shape}; they must be one grid")
    labels = mask.voxels.astype(np.uint8)
    kept = shown_slices(labels, case.name, recipe.data)
    labels, voxels = labels[kept], scan.voxels[kept]
    grid = Grid(_shape(labels), scan.grid.spacing)
    image = resample(voxels, grid, grid_at_spacing(grid, spacing))
    fine = grid_at_spacing(grid, _spacing(lambda target, own: max(target / FINER, own), spacing, grid.spacing))
    whole = image.round().clip(AIR, np.iinfo(np.int16).max).astype(np.int16)
    return make_volume(case.name, case.patient, whole, nearest(labels, fine.shape), grid.extent, recipe.classes, rng)


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


def _spacing(choose: Callable[[float, float], float], one: Spacing, other: Spacing) -> Spacing:
    z, y, x = map(choose, one, other)
    return z, y, x


def _shape(labels: Labels) -> Shape:
    z, y, x = labels.shape
    return z, y, x


class Prepared:
    """A folder of scans and labels, prepared when a stage asks for them and kept while the spacing stays."""

    def __init__(self, folder: Path) -> None:
        self._cases = find_cases(folder)
        self._kept: tuple[Spacing, dict[str, Volume]] | None = None

    def volumes(self, recipe: Recipe, stage: Stage, fold: bool) -> InMemory:
        """The fold's volumes, or those a stage trains on: all, or all but the fold's."""
        if self._kept is None or self._kept[0] != stage.spacing_mm:
            self._kept = (stage.spacing_mm, {})
        loaded = self._kept[1]
        chosen = chosen_cases(self._cases, recipe, stage, fold)
        missing = [case for case in chosen if case.name not in loaded]
        for case, volume in zip(missing, load_volumes(missing, stage.spacing_mm, recipe), strict=True):
            loaded[case.name] = volume
        return InMemory([loaded[case.name] for case in chosen])


def chosen_cases(cases: list[CaseFiles], recipe: Recipe, stage: Stage, fold: bool) -> list[CaseFiles]:
    """The fold's cases, or those a stage trains on. ValueError if there are none."""
    patients = recipe.data.fold_patients
    chosen = [case for case in cases if (case.patient in patients) == fold or (not fold and not stage.hold_out)]
    if not chosen:
        what = f"no patient of the fold ({', '.join(patients)})" if fold else "no patient to train on"
        raise ValueError(f"{what} among the {len(cases)} cases; see data.fold_patients of the recipe")
    return chosen
