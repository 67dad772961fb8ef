"""Clean: small components off a label map, on the fine grid (papers 001, 003). Arrays (z, y, x)."""

import cc3d
import numpy as np

from app.types import Labels, Scores


def drop_small(labels: Labels, *, min_share: float) -> Labels:
    """`labels` without the parts of an organ smaller than `min_share` of that organ's largest part (26 neighbours).

    A new uint8 array; `min_share` 1 keeps the largest part of each organ (and its equals), 0 keeps all.
    """
    parts, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
    sizes = np.bincount(parts.ravel())
    organ = np.zeros(count + 1, np.uint8)
    organ[parts.ravel()] = labels.ravel()
    largest = np.zeros(256, np.int64)
    np.maximum.at(largest, organ, sizes)
    kept = sizes >= min_share * largest[organ]
    return np.where(kept, organ, 0).astype(np.uint8)[parts]


def drop_small_regions(labels: Labels, *, min_voxels: float) -> Labels:
    """`labels` without connected regions of all organs together (6 neighbours) of fewer than `min_voxels`; a new array.

    For what a model claims where nothing told it where to look (paper 001 drops such regions before it takes its box).
    """
    regions = cc3d.connected_components(labels > 0, connectivity=6)
    kept = np.bincount(regions.ravel()) >= min_voxels
    return np.where(kept[regions], labels, 0).astype(np.uint8)


def swap_winners(scores: Scores, labels: Labels, cleaned: Labels) -> None:
    """In place: where `labels`, the scores' winners, and `cleaned` differ, the two classes swap their scores.

    So the winners are `cleaned`, and a part that was dropped stays dropped when scores are interpolated.
    """
    z, y, x = np.nonzero(labels != cleaned)
    before, after = labels[z, y, x], cleaned[z, y, x]
    winning = scores[before, z, y, x]
    scores[before, z, y, x] = scores[after, z, y, x]
    scores[after, z, y, x] = winning
