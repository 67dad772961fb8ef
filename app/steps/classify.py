"""Classify: the class with the highest score, or regions that overlap. Scores (class, z, y, x), labels (z, y, x)."""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.types import Labels, Scores

SLAB_VOXELS = 1 << 18  # their best scores, 1 MB, stay in the cache while the classes go by


def classify(scores: Scores, regions: Sequence[int] = (), *, threads: int = 1) -> Labels:
    """The winning class of each voxel, the lower id where two are equal, as `scores.argmax(0)`.

    regions: without a background class, ids in the order in which they are painted, one over the other, wherever their
    own score is above zero, which is a probability of more than a half. threads: how many share the volume; regions are
    painted on one.

    Walked class by class: numpy's argmax over the first axis strides through memory and takes several times as long.
    """
    labels = np.zeros(scores.shape[1:], np.uint8)
    if regions:
        for label, score in zip(regions, scores, strict=True):
            np.putmask(labels, score > 0, label)
        return labels
    planes = max(1, SLAB_VOXELS // max(1, math.prod(scores.shape[2:])))

    def fill(first: int) -> None:
        _put_winners(scores[:, first : first + planes], labels[first : first + planes])

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(labels), planes)):
            pass
    return labels


def _put_winners(scores: Scores, labels: Labels) -> None:
    """Writes the winners of scores (class, z, y, x) into labels (z, y, x; uint8), which are all zero."""
    best = scores[0].copy()
    for label in range(1, len(scores)):
        # classes rise, so the largest that ever led is the last that did; much faster than a masked assignment
        np.maximum(labels, (scores[label] > best) * np.uint8(label), out=labels)
        np.maximum(best, scores[label], out=best)
