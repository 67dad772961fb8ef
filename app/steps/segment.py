"""Segment: class scores of a model on its grid. Arrays (z, y, x), scores (class, z, y, x), never softmaxed.

Where windows overlap their scores count alike (papers 000 and 003; paper 004 on raw scores). Every window is run: a
region is a few windows as a rule, and hardly one of them is without an organ.
"""

import numpy as np

from app.models.bundle import Bundle, Intensity
from app.models.engine import Engine
from app.steps.normalise import normalise
from app.steps.windows import plan_windows
from app.types import AIR, Scores, Shape, Volume


def segment(volume: Volume, bundle: Bundle, engine: Engine) -> Scores:
    """Scores (class, z, y, x; float32) of a normalised volume (z, y, x) on the bundle's grid.

    On the same grid; without a window, where the volume is seen at once, they may be coarser, and are the engine's own.
    """
    if bundle.window is None:
        return engine(volume)
    z, y, x = volume.shape
    plan = plan_windows((z, y, x), bundle.window)
    padded = _pad(volume, plan.filled((z, y, x)), bundle.intensity)
    if len(plan.corners) == 1:
        # one window: its scores are taken as they come, no sum; a copy, since the engine keeps its own buffer
        return engine(padded)[:, :z, :y, :x].copy()
    scores = np.zeros((len(bundle.labels), *padded.shape), np.float32)
    for corner in plan.corners:
        at = tuple(slice(start, start + side) for start, side in zip(corner, plan.shape, strict=True))
        scores[:, *at] += engine(padded[at])
    for axis, starts in enumerate(plan.starts):
        _divide_by_windows(scores, axis + 1, starts, plan.shape[axis])
    return scores[:, :z, :y, :x]


def _pad(volume: Volume, shape: Shape, intensity: Intensity) -> Volume:
    """Filled up at the end of each axis with air to `shape`; the same array where nothing is missing."""
    missing = [(0, side - size) for size, side in zip(volume.shape, shape, strict=True)]
    if not any(after for _, after in missing):
        return volume
    air = normalise(np.full(1, AIR, np.float32), intensity)[0]
    return np.pad(volume, missing, constant_values=air)


def _divide_by_windows(scores: Scores, axis: int, starts: tuple[int, ...], side: int) -> None:
    """In place: how often a voxel was summed is a product over the axes, so each axis divides by its own count."""
    count = np.zeros(scores.shape[axis], np.float32)
    for start in starts:
        count[start : start + side] += 1
    if count.max() > 1:
        scores /= count.reshape([-1 if a == axis else 1 for a in range(4)])
