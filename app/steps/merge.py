"""Merge: several label maps of one grid into one. Arrays (z, y, x), uint8; ids mean the same in all of them."""

from collections.abc import Collection, Sequence

import numpy as np

from app.types import Labels


def overlay(maps: Sequence[Labels], over: Collection[int]) -> Labels:
    """The first map, and over it what any other one has of the labels `over`, later maps last; a new array."""
    merged = maps[0].copy()
    for other in maps[1:]:
        for label in over:
            merged[other == label] = label
    return merged


def fallback(maps: Sequence[Labels], label: int) -> Labels:
    """The second map's `label` over the first map, whose own goes; where it has none, the first map; a new array.

    Where the first map's own went is background.
    """
    first, second = maps
    there = second == label
    if not there.any():
        return first.copy()
    merged = np.where(first == label, 0, first).astype(np.uint8)
    merged[there] = label
    return merged


def ranked_overlay(maps: Sequence[Labels], label: int) -> Labels:
    """Two maps as paper 003's code merges them, a new array: the union of `label`, of which the first n voxels, as many
    as the second map has, become what that map says.

    The loop's range looks like a slip, but the published figures were made with it.
    """
    first, second = maps
    merged = first.copy()
    there = second == label
    merged[there] = label
    union = np.flatnonzero(merged == label)[: np.count_nonzero(there)]
    merged.flat[union] = second.flat[union]
    return merged


def renamed(labels: Labels, ids: Sequence[int]) -> Labels:
    """Each id i as ids[i]; the same array where nothing changes."""
    if list(ids) == list(range(len(ids))):
        return labels
    table = np.zeros(256, np.uint8)
    table[: len(ids)] = ids
    return table[labels]
