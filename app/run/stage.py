"""Stage: the way of one model, and the only place that knows its order. Arrays (z, y, x), scores (class, z, y, x).

crop -> turn, to the axes that the model was trained on -> resample and normalise, in the bundle's order -> segment ->
turn back -> classify -> clean
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from app.alignment import FIRST_VOXEL, Positions, axis_apart, positions
from app.files.orientation import Orientation
from app.grid import Box, Grid, grid_at_spacing, grid_from_first_voxel, grid_of_shape, whole
from app.models.bundle import CLIP_RESAMPLE_NORMALISE, NORMALISE_RESAMPLE, RESAMPLE_NORMALISE, Bundle
from app.models.engine import Model
from app.run.turn import AS_SCANNERS_STORE, grid_back, positions_back, scores_back, turn_of
from app.run.view import lying
from app.steps.classify import classify
from app.steps.clean import swap_winners
from app.steps.crop import box_of_nonzero, crop
from app.steps.normalise import normalise, normalise_by_itself, percentiles
from app.steps.resample import resample
from app.steps.segment import score_unit, segment
from app.steps.walk import Walk
from app.system.definition import Stage
from app.system.rules import Seen
from app.types import Labels, Scores, Spacing, Volume, Voxels

Timed = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stage says of the box that it saw. labels: the scores' winners. positions: of every voxel of the box its
    index among the scores. score_unit: what 1 of the scores counts.

    Without a window the scores are the engine's buffer, which its next call overwrites.
    """

    scores: Scores
    labels: Labels
    box: Box
    positions: Positions
    score_unit: float = 1.0


def run_stage(
    voxels: Voxels,
    grid: Grid,
    box: Box | None,
    stage: Stage,
    model: Model,
    *,
    timed: Timed,
    check: Callable[[Grid, Walk], None] = lambda *_: None,
    file: Orientation = AS_SCANNERS_STORE,
    threads: int = 1,
) -> Answer:
    """A stage on the box of a scan (`voxels` on `grid`), or on all of it where there is none.

    timed: times a block by the step's name. check: is told the model's grid, and how it will be covered, before
    anything is made on it. file: how the axes of the scan's file lie, for a model that sees them.
    threads: that `segment` and `classify` may use; resampling has `use_threads`, the engine its own.
    """
    seen, bundle = box or whole(grid), model.bundle
    about = Seen(bundle.labels, located=box is not None)
    turn = turn_of(bundle.orientation, file)
    with timed("crop"):
        if bundle.crops_to_nonzero:
            seen = box_of_nonzero(crop(voxels, grid, seen)[0]).shifted(seen.start)
        cropped, crop_grid = lying(*crop(voxels, grid, seen), turn)
        model_grid = grid_of(bundle, crop_grid)
        walk = stage.walk(model_grid, about)
        check(model_grid, walk)
    volume = _prepared(voxels, cropped, crop_grid, model_grid, bundle, timed)
    with timed("network"):
        scores = segment(volume, bundle, model.engine, walk, threads=threads)
    with timed("clean"):
        where = _positions(crop_grid, model_grid, scores, bundle)
        where = positions_back(where, scores.shape[1:], turn)
        scores = scores_back(scores, turn)
        labels = cleaned = classify(scores, bundle.regions, threads=threads)
        labels.flags.writeable = False  # a rule that worked in place would leave the scores as they were
        z, y, x = labels.shape  # coarser than the model's grid, as its scores may be
        scores_grid = grid_of_shape(grid_back(model_grid, turn), (z, y, x))
        for rule in stage.clean:
            cleaned = rule(cleaned, scores_grid, about)
        if cleaned is not labels:
            swap_winners(scores, labels, cleaned)
    return Answer(scores, cleaned, seen, where, score_unit(scores, bundle))


def _positions(crop_grid: Grid, model_grid: Grid, scores: Scores, bundle: Bundle) -> Positions:
    """Of every voxel that the model saw its index among the scores, along the model's axes."""
    how, (_, z, y, x) = bundle.resampling, scores.shape
    apart = _axis_apart(bundle, bundle.spacing_mm, crop_grid.spacing)
    return positions(crop_grid, model_grid, (z, y, x), how.alignment, apart)


def _axis_apart(bundle: Bundle, first: Spacing | None, then: Spacing | None) -> int | None:
    """As nnU-Net asks it, for spacings that were asked for: those of a grid are a little longer or shorter."""
    if first is None or then is None:
        return None
    return axis_apart(first, then, bundle.resampling.separates_axis_above)


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
        apart = _axis_apart(bundle, crop_grid.spacing, bundle.spacing_mm)
        volume = resample(before, crop_grid, model_grid, bundle.resampling, apart=apart)
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
    how = bundle.resampling
    return grid_at_spacing(seen, bundle.spacing_mm, rounds_down=how.rounds_down, by_ratio=how.by_ratio)
