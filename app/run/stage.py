"""Stage: the way of one model, and the only place that knows its order. Arrays (z, y, x), scores (class, z, y, x).

crop -> resample -> normalise -> segment -> classify -> clean
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from app.grid import Box, Grid, grid_at_spacing, grid_of_shape, whole
from app.models.bundle import Bundle
from app.models.engine import Model
from app.steps.classify import classify
from app.steps.clean import swap_winners
from app.steps.crop import crop
from app.steps.normalise import normalise
from app.steps.resample import resample
from app.steps.segment import segment
from app.system.definition import Stage
from app.types import Labels, Scores, Voxels


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stage says of the box that it saw; scores and labels, their winners, cover exactly its extent.

    Without a window the scores are the engine's buffer, which its next call overwrites.
    """

    scores: Scores
    labels: Labels
    box: Box


def run_stage(
    voxels: Voxels,
    grid: Grid,
    box: Box | None,
    stage: Stage,
    model: Model,
    *,
    timed: Callable[[str], AbstractContextManager[None]],
    check: Callable[[Grid, Bundle], None] = lambda _grid, _bundle: None,
) -> Answer:
    """A stage on the box of a scan (`voxels` on `grid`), or on all of it where there is none.

    timed: times a block by the step's name. check: is told the model's grid before anything is made on it.
    """
    seen = box or whole(grid)
    with timed("crop"):
        cropped, own = crop(voxels, grid, seen)
        fine = _grid_of(model.bundle, own)
        check(fine, model.bundle)
    with timed("resample"):
        volume = resample(cropped, own, fine)
    with timed("normalise"):
        volume = normalise(volume, model.bundle.intensity)
    with timed("network"):
        scores = segment(volume, model.bundle, model.engine)
    with timed("clean"):
        labels = cleaned = classify(scores)
        labels.flags.writeable = False  # a rule that worked in place would leave the scores as they were
        z, y, x = labels.shape  # coarser than the model's grid, as its scores may be
        own_grid = grid_of_shape(fine, (z, y, x))
        for rule in stage.clean:
            cleaned = rule(cleaned, own_grid, located=box is not None)
        if cleaned is not labels:
            swap_winners(scores, labels, cleaned)
    return Answer(scores, cleaned, seen)


def _grid_of(bundle: Bundle, seen: Grid) -> Grid:
    if bundle.shape is not None:
        return grid_of_shape(seen, bundle.shape)
    if bundle.spacing_mm is None:
        raise ValueError(f"bundle {bundle.name} has neither shape nor spacing_mm")
    return grid_at_spacing(seen, bundle.spacing_mm)
