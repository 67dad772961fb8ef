"""Parts: small pieces of scans, drawn at random, and what of a mask of them is right. Arrays (z, y, x), lengths mm."""

import math
from dataclasses import dataclass

import cc3d
import numpy as np

from app.types import Labels
from evaluation.maintenance.bodies import Case, cut
from evaluation.maintenance.damages import BODY, Sample

SLAB_MM = (44, 110)  # its height; below 40 mm a scan is called thin
BOX_MM = (70, 160)  # a side, where the scan does not end before
SLABS = 0.5  # of all parts
LEAST_BODY = 0.2  # of a part's voxels; less is air
THINNED = 8  # of the body's voxels along each axis one in so many may be the middle of a box


@dataclass(frozen=True, slots=True)
class Region:
    """Of a mask, of all its organs together. right: the share of its voxels that the labels call the same."""

    ml: float
    right: float


def parts(case: Case, count: int, rng: np.random.Generator) -> list[Case]:
    """At most so many parts: slabs of all its width and boxes around places of the body. What is nearly all air is
    left out."""
    middles = np.argwhere(case.voxels[::THINNED, ::THINNED, ::THINNED] > BODY) * THINNED
    drawn = [_slab(case, rng) if rng.random() < SLABS else _box(case, middles, rng) for _ in range(count)]
    found = [cut(case, where, f"{case.name}_{number}") for number, where in enumerate(drawn) if where]
    return [part for part in found if (part.voxels > BODY).mean() >= LEAST_BODY]


def _slab(case: Case, rng: np.random.Generator) -> tuple[slice, ...]:
    slices = math.ceil(rng.uniform(*SLAB_MM) / case.grid.spacing[0])
    first = int(rng.integers(max(0, case.grid.shape[0] - slices) + 1))
    return slice(first, first + slices), slice(None), slice(None)


def _box(case: Case, middles: np.ndarray, rng: np.random.Generator) -> tuple[slice, ...]:
    """Nothing where there is no body."""
    if not len(middles):
        return ()
    halves = [math.ceil(rng.uniform(*BOX_MM) / mm / 2) for mm in case.grid.spacing]
    return tuple(slice(max(0, at - half), at + half) for at, half in zip(rng.choice(middles), halves, strict=True))


def as_sample(case: Case) -> Sample:
    """The case to be written as a scan, axes as a scanner stores them."""
    z, y, x = case.grid.spacing
    return Sample(case.voxels.T, np.diag([-x, -y, z, 1.0]), case.labels.T)


def regions_of(mask: Labels, labels: Labels, voxel_ml: float) -> list[Region]:
    """Of the mask, voxels that share a face; the largest region first."""
    components = cc3d.connected_components(mask > 0, connectivity=6)
    voxels = np.bincount(components.ravel())
    right = np.bincount(components[mask == labels], minlength=len(voxels))
    found = [Region(float(n * voxel_ml), float(same / n)) for n, same in zip(voxels[1:], right[1:], strict=True)]
    return sorted(found, key=lambda region: -region.ml)
