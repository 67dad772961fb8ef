"""Bodies: scans with their labels, cut to slabs, padded with air, stitched end to end. Arrays (z, y, x), lengths mm."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.errors import CaseError
from app.files.labels import whole_labels
from app.files.read import read
from app.grid import Grid
from app.types import AIR, Labels, Voxels
from evaluation.shared.protocol import ORGANS


@dataclass(frozen=True, slots=True)
class Case:
    """A scan with its labels (z, y, x) on one grid."""

    name: str
    voxels: Voxels
    labels: Labels
    grid: Grid


def load_case(scan: Path) -> Case:
    """A scan and the mask beside it. CaseError if they cannot be read or are not one grid."""
    name = scan.name.removesuffix("_0000.nii.gz")
    image, mask = read(scan), read(scan.with_name(f"{name}.nii.gz"))
    if image.grid.shape != mask.grid.shape:
        raise CaseError(f"{name}: the mask's shape {mask.grid.shape} is not the scan's {image.grid.shape}")
    try:
        return Case(name, image.voxels, whole_labels(mask.voxels, len(ORGANS)), image.grid)
    except ValueError as error:
        raise CaseError(f"{name}: {error}") from error


def slabs(case: Case, height_mm: float, step_mm: float) -> list[Case]:
    """`case` cut to every `height_mm` of z, a step apart, from the lowest to the highest."""
    spacing = case.grid.spacing[0]
    count = min(case.grid.shape[0], max(1, round(height_mm / spacing)))
    last = case.grid.shape[0] - count
    starts = sorted({*range(0, last + 1, max(1, round(step_mm / spacing))), last})
    return [part(case, start, start + count) for start in starts]


def part(case: Case, start: int, stop: int) -> Case:
    """The slices from `start` up to `stop`."""
    return cut(case, (slice(start, stop),), f"{case.name}[{start}:{stop}]")


def cut(case: Case, where: tuple[slice, ...], name: str) -> Case:
    """What lies at `where` (z, y, x), under a name of its own."""
    return replace(_new(case, case.voxels[where], case.labels[where]), name=name)


def padded(case: Case, height_mm: float) -> Case:
    """`case` in the middle of as much air along z as makes it `height_mm` high."""
    missing = max(0, round(height_mm / case.grid.spacing[0]) - case.grid.shape[0])
    below = missing // 2
    margins = [(below, missing - below), (0, 0), (0, 0)]
    return _new(case, np.pad(case.voxels, margins, constant_values=AIR), np.pad(case.labels, margins))


def stitched(cases: Iterable[Case], height_mm: float) -> Case:
    """The cases end to end, the first one lowest, again and again up to `height_mm`; the narrower ones amid air.

    Cases whose spacing is not the first one's are left out: they would have to be resampled.
    """
    pieces: list[Case] = []
    for case in cases:
        if not pieces or np.allclose(case.grid.spacing, pieces[0].grid.spacing):
            pieces.append(case)
        if sum(piece.grid.extent[0] for piece in pieces) >= height_mm:
            break
    while sum(piece.grid.extent[0] for piece in pieces) < height_mm:
        pieces += pieces
    side = [max(piece.grid.shape[axis] for piece in pieces) for axis in (1, 2)]
    slices = round(height_mm / pieces[0].grid.spacing[0])
    arrays = [_widened(piece, side) for piece in pieces]
    voxels, labels = (np.concatenate(parts)[:slices] for parts in zip(*arrays, strict=True))
    return _new(pieces[0], voxels, labels)


def _widened(case: Case, side: list[int]) -> tuple[Voxels, Labels]:
    missing = [wanted - n for wanted, n in zip(side, case.grid.shape[1:], strict=True)]
    margins = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    return np.pad(case.voxels, margins, constant_values=AIR), np.pad(case.labels, margins)


def _new(case: Case, voxels: Voxels, labels: Labels) -> Case:
    z, y, x = voxels.shape
    return Case(case.name, voxels, labels, Grid((z, y, x), case.grid.spacing))
