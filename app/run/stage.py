"""Stage: the way of one model, and the only place that knows its order. Arrays (z, y, x), scores (class, z, y, x).

crop -> resample and normalise, in the bundle's order -> segment -> classify -> clean
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from app.alignment import FIRST_VOXEL, Positions, positions
from app.grid import Box, Grid, grid_at_spacing, grid_from_first_voxel, grid_of_shape, whole
from app.models.bundle import CLIP_RESAMPLE_NORMALISE, NORMALISE_RESAMPLE, RESAMPLE_NORMALISE, Bundle
from app.models.engine import Model
from app.steps.classify import classify
from app.steps.clean import swap_winners
from app.steps.crop import crop
from app.steps.normalise import normalise, normalise_by_itself, percentiles
from app.steps.resample import resample
from app.steps.segment import segment
from app.steps.walk import Walk
from app.system.definition import Stage
from app.system.rules import Seen
from app.types import Labels, Scores, Volume, Voxels

Timed = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stage says of the box that it saw. labels: the scores' winners. positions: of every voxel of the box its
    index among the scores.

    Without a window the scores are the engine's buffer, which its next call overwrites.
    """

    scores: Scores
    labels: Labels
    box: Box
    positions: Positions


def run_stage(
    voxels: Voxels,
    grid: Grid,
    box: Box | None,
    stage: Stage,
    model: Model,
    *,
    timed: Timed,
    check: Callable[[Grid, Bundle, Walk], None] = lambda *_: None,
) -> Answer:
    """A stage on the box of a scan (`voxels` on `grid`), or on all of it where there is none.

    timed: times a block by the step's name. check: is told the model's grid, and how it will be covered, before
    anything is made on it.
    """
    seen, bundle = box or whole(grid), model.bundle
    about = Seen(bundle.labels, located=box is not None)
    with timed("crop"):
        cropped, crop_grid = crop(voxels, grid, seen)
        model_grid = grid_of(bundle, crop_grid)
        walk = stage.walk(model_grid, about)
        check(model_grid, bundle, walk)
    volume = _prepared(voxels, cropped, crop_grid, model_grid, bundle, timed)
    with timed("network"):
        scores = segment(volume, bundle, model.engine, walk)
    with timed("clean"):
        labels = cleaned = classify(scores)
        labels.flags.writeable = False  # a rule that worked in place would leave the scores as they were
        z, y, x = labels.shape  # coarser than the model's grid, as its scores may be
        scores_grid = grid_of_shape(model_grid, (z, y, x))
        for rule in stage.clean:
            cleaned = rule(cleaned, scores_grid, about)
        if cleaned is not labels:
            swap_winners(scores, labels, cleaned)
    where = positions(crop_grid, model_grid, (z, y, x), bundle.resampling.alignment)
    return Answer(scores, cleaned, seen, where)


def _prepared(
    voxels: Voxels, cropped: Voxels, crop_grid: Grid, model_grid: Grid, bundle: Bundle, timed: Timed
) -> Volume:
    """What the network sees, on its grid. voxels: of the whole scan, whose percentiles may count."""
    order, before = bundle.resampling.order, cropped
    limits = (0.0, 0.0) if bundle.intensity is None else (bundle.intensity.low, bundle.intensity.high)
    if bundle.scan_intensity is not None:
        with timed("percentiles"):
            limits = percentiles(voxels, (bundle.scan_intensity.low_percentile, bundle.scan_intensity.high_percentile))
    if order != RESAMPLE_NORMALISE:
        with timed("normalise"):
            clips = order == CLIP_RESAMPLE_NORMALISE
            before = np.clip(cropped, *limits, dtype=np.float32) if clips else _normalised(cropped, limits, bundle)
    with timed("resample"):
        volume = resample(before, crop_grid, model_grid, bundle.resampling)
    if order == NORMALISE_RESAMPLE:
        return volume
    with timed("normalise"):
        return _normalised(volume, limits, bundle)


def _normalised(volume: Voxels, limits: tuple[float, float], bundle: Bundle) -> Volume:
    if bundle.scan_intensity is not None:
        return normalise_by_itself(volume, limits, bundle.scan_intensity)
    return normalise(volume, bundle.fixed_intensity)


def grid_of(bundle: Bundle, seen: Grid) -> Grid:
    """The bundle's grid for what it sees of a scan."""
    if bundle.shape is not None:
        return grid_of_shape(seen, bundle.shape)
    if bundle.spacing_mm is None:
        raise ValueError(f"bundle {bundle.name} has neither shape nor spacing_mm")
    if bundle.resampling.alignment == FIRST_VOXEL:
        return grid_from_first_voxel(seen, bundle.spacing_mm)
    return grid_at_spacing(seen, bundle.spacing_mm, rounds_down=bundle.resampling.rounds_down)
