"""Relabelling: whether a prediction's labels would fit the truth far better if they meant other organs.

Masks (x, y, z) as in the files.
A network that numbers organs as another data set does scores next to nothing, and looks as if it had learnt nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from app.files.labels import HIGHEST
from app.files.numberings import NUMBERINGS
from evaluation.shared.masks import LabelMap
from evaluation.shared.protocol import LEAST_DSC, STRUCTURES

Overlaps: TypeAlias = NDArray[np.int64]  # (label of the prediction, label of the truth) voxels
LEAST_GAIN = 0.1  # in mean DSC over the truth's organs: two kidneys exchanged are 0.15 of thirteen
FITS = 0.5  # DSC from which on a label is said to fit
ORGANS = {each.label: each.name for each in STRUCTURES}


@dataclass(frozen=True, slots=True)
class Relabelling:
    """pairs: by a label of the prediction the truth's that it fits. before, after: mean DSC over the truth's organs.

    These are of whole masks, without the rules of `scoring`.
    """

    pairs: Mapping[int, int]
    before: float
    after: float


def overlaps(truth: LabelMap, prediction: LabelMap) -> Overlaps:
    """How many voxels have each pair of labels, background too: (256, 256). Masks of one shape, only read.

    >>> overlaps(np.array([[[1, 1, 0]]], np.uint8), np.array([[[2, 2, 2]]], np.uint8))[2, :2].tolist()
    [1, 2]
    """
    counted: Overlaps = np.zeros((HIGHEST + 1) ** 2, np.int64)
    for z in range(truth.shape[2]):  # slice by slice: pairs take eight bytes a voxel
        pairs = prediction[:, :, z].astype(np.int64) * (HIGHEST + 1) + truth[:, :, z]
        counted += np.bincount(pairs.ravel(order="K"), minlength=counted.size)
    return counted.reshape(HIGHEST + 1, HIGHEST + 1)


def better_labels(counted: Overlaps) -> Relabelling | None:
    """Labels that do not fit the truth's organ of their number, and fit another one; None where that gains little.

    Each label of the prediction goes to one organ of the truth at the most, so that the sum of their DSC is largest.
    One that covers two organs, its own among them, is no other label.
    """
    predicted, marked = counted.sum(1), counted.sum(0)
    labels = [int(label) for label in np.flatnonzero(predicted) if label]
    organs = [label for label in ORGANS if marked[label]]
    if not labels or not organs:
        return None
    sizes = predicted[labels][:, None] + marked[organs][None]
    dsc = 2 * counted[np.ix_(labels, organs)] / sizes
    fit = {(label, organ): float(dsc[i, j]) for i, label in enumerate(labels) for j, organ in enumerate(organs)}
    before = {organ: fit.get((organ, organ), 0.0) for organ in organs}
    rows, columns = linear_sum_assignment(dsc, maximize=True)
    assigned = [(labels[row], organs[column]) for row, column in zip(rows, columns, strict=True)]
    pairs = {
        label: organ
        for label, organ in assigned
        if fit[label, organ] >= FITS and max(before[organ], before.get(label, 0.0)) < LEAST_DSC
    }
    after = before | {organ: fit[label, organ] for label, organ in pairs.items()}
    means = [sum(scores.values()) / len(organs) for scores in (before, after)]
    return Relabelling(pairs, *means) if means[1] - means[0] >= LEAST_GAIN else None


def relabelling_line(found: Relabelling) -> str:
    """For a person: what fits what, and whose numbering that is, where it is anyone's."""
    fits = ", ".join(f"{label} fits the truth's {organ} ({ORGANS[organ]})" for label, organ in found.pairs.items())
    line = f"mean DSC would be {found.after:.2f} instead of {found.before:.2f} if labels meant other organs: {fits}"
    inverse = {organ: label for label, organ in found.pairs.items()}
    for whose, pairs in (("the prediction", found.pairs), ("the truth", inverse)):
        if names := [each.name for each in NUMBERINGS if _agrees(pairs, each.organs)]:
            return f"{line}; is {whose} numbered as {' or '.join(names)}?"
    return line


def _agrees(pairs: Mapping[int, int], organs: Mapping[int, str]) -> bool:
    return all(organs.get(label) == ORGANS.get(organ, "") for label, organ in pairs.items())
