"""Classify: the class with the highest score, or regions that overlap. Scores (class, z, y, x), labels (z, y, x)."""

from collections.abc import Sequence

import numpy as np

from app.types import Labels, Scores


def classify(scores: Scores, regions: Sequence[int] = ()) -> Labels:
    """The winning class of each voxel, the lower id where two are equal, as `scores.argmax(0)`.

    regions: without a background class, ids in the order in which they are painted, one over the other, wherever their
    own score is above zero, which is a probability of more than a half.

    Walked class by class: numpy's argmax over the first axis strides through memory and takes several times as long.
    """
    labels = np.zeros(scores.shape[1:], np.uint8)
    if regions:
        for label, score in zip(regions, scores, strict=True):
            np.putmask(labels, score > 0, label)
        return labels
    best = scores[0].copy()
    for label in range(1, len(scores)):
        np.putmask(labels, scores[label] > best, label)
        np.maximum(best, scores[label], out=best)
    return labels
