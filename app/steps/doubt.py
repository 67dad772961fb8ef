"""Doubt: what tells a mask that may be wrong from one that is right, without another one. Arrays (z, y, x).

A network that sees what it was not trained on, a body on its head or no body at all, still answers. But then its
winning scores lead by less, another network that sees the same at another resolution answers otherwise, and organs lie
where no body has them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.grid import Box, Grid
from app.types import Labels, Scores

THINNED = 3  # of the voxels of each axis one in so many is looked at, where means are taken
LEAST_POINTS = 8  # thinned voxels; a smaller organ lies nowhere


@dataclass(frozen=True, slots=True)
class Evidence:
    """voxel_mm: the longest side of the first network's voxels. agreement, lead, arrangement: by the functions here.

    agreement: None where the first one located nothing for the other to look at, as in a small part of a body.
    """

    voxel_mm: float
    agreement: float | None
    lead: float
    arrangement: float


def lead(scores: Scores, labels: Labels) -> float:
    """Mean over the voxels of organs by how much the score of their label is ahead of the next one, in the scores' unit
    (`segment.score_unit`); 0 without any.

    A few scores in a hundred are looked at.
    """
    some = (slice(None, None, THINNED),) * 3
    there = labels[some] > 0
    if not there.any():
        return 0.0
    columns = scores[:, *some][:, there].astype(np.float32, copy=False)
    own = labels[some][there][None]
    best = np.take_along_axis(columns, own, 0)[0]
    np.put_along_axis(columns, own, -np.inf, 0)
    return float((best - columns.max(0)).mean())


def agreement(first: Labels, then: Labels, box: Box, grid: Grid) -> float:
    """Dice, by label, of two label maps: one of all of `grid`, one of a box of it, each of a resolution of its own.

    2 * (voxels of organs with the same label) / (voxels of organs of the one and of the other), at the places of the
    first. 1 where both are empty.
    """
    inside, index = [], []
    for n, size, start, stop, m in zip(first.shape, grid.shape, box.start, box.stop, then.shape, strict=True):
        share = ((np.arange(n) + 0.5) / n * size - start) / (stop - start)
        within = (share >= 0) & (share < 1)
        inside.append(np.flatnonzero(within))
        index.append((share[within] * m).astype(int))
    seen = then[np.ix_(*index)]
    same = np.count_nonzero((first[np.ix_(*inside)] == seen) & (seen > 0))
    total = np.count_nonzero(first) + np.count_nonzero(seen)
    return 2 * same / total if total else 1.0


def arrangement(labels: Labels, relations: Iterable[tuple[int, int, int]]) -> float:
    """The share of the relations that hold, out of those whose two organs are there; 1 where there are none.

    relations: (label, other label, axis): the middle of the first lies at a lower index of the axis than the other's.
    """
    middles = _middles(labels)
    known = [
        bool(middles[one][axis] < middles[other][axis])
        for one, other, axis in relations
        if one in middles and other in middles
    ]
    return sum(known) / len(known) if known else 1.0


def _middles(labels: Labels) -> dict[int, NDArray[np.float64]]:
    """Of each label that is there, the mean index of its voxels."""
    thinned = labels[::THINNED, ::THINNED, ::THINNED]
    places = np.nonzero(thinned)
    found = thinned[places]
    counts = np.bincount(found, minlength=256)
    sums = np.array([np.bincount(found, index, minlength=256) for index in places])
    return {int(label): sums[:, label] / counts[label] for label in np.flatnonzero(counts >= LEAST_POINTS)}
