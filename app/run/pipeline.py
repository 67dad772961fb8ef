"""Pipeline: the way of one case, and the only place that knows its order.

read -> every stage of the system (`app.run.stage`), with its regions in between -> restore, once for every stage whose
labels are in the result -> merge -> write
"""

import functools
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from app.errors import CaseError
from app.files.read import Scan, read
from app.files.write import check_target, write
from app.grid import Box, Grid, whole
from app.models.bundle import RESAMPLE_NORMALISE, Bundle, load_bundle
from app.models.engine import Model, load_engine
from app.notice import Notice, Verdict
from app.run.outcome import Outcome
from app.run.stage import Answer, run_stage
from app.steps.merge import renamed
from app.steps.resample import CUBIC, sees_beyond_edges, use_threads
from app.steps.restore import restore
from app.steps.segment import averaged
from app.steps.volumes import organ_volumes
from app.steps.walk import Walk
from app.system.definition import SCAN, WEIGHTS, Region, System, merged_names
from app.system.rules import Seen
from app.types import Labels

MODELS_BYTES = 500 << 20  # the networks and what they hold for one window, measured
BYTES_BEFORE_RESAMPLING = 8  # where the scan's own voxels are clipped or normalised first: float32, and ITK's copy
BYTES_BEYOND_EDGES = 4  # where resampling sees voxels beyond the edges: a larger copy
BYTES_OF_SPLINE = 8  # ITK's coefficients, float64
BYTES_PER_SCORE = 5  # float32 and the labels' and components' temporaries, measured: 76 bytes a voxel of 14 classes

Models: TypeAlias = dict[str, Model]
"""By the stage that runs it."""


def load_models(system: System, *, threads: int, pinned: bool, weights: Path = WEIGHTS) -> Models:
    """The system's models, checked and compiled; what two stages share is compiled once.

    SetupError names the file and field that is wrong.
    """
    use_threads(threads)

    @functools.cache
    def engine_of(bundle: str, engine: str, precision: str) -> Model:
        read = load_bundle(weights / bundle)
        return Model(read, load_engine(read, engine, precision, threads, pinned=pinned))

    models = {}
    for name, stage in system.stage.items():
        loaded = [engine_of(bundle, stage.engine, stage.precision) for bundle in stage.bundles]
        bundle = loaded[0].bundle
        models[name] = Model(bundle, averaged([model.engine for model in loaded], bundle))
    return models


def run_case(
    source: Path,
    target: Path,
    system: System,
    models: Callable[[], Models],
    outcome: Outcome,
    *,
    threads: int,
    memory_limit: int | None = None,
    overwrite: bool = False,
    renames: bool = True,
) -> None:
    """Segments the scan in `source` and writes its mask to `target`; what is found goes into `outcome`.

    models: called after the scan has been read, so that the two may be loaded side by side. memory_limit: bytes.
    overwrite: replace a target that Viscera did not write, too. renames: as `app.files.write.can_rename` says of the
    target's folder. Raises CaseError if the scan cannot be segmented or the mask not be written.
    """
    check_target(target, overwrite=overwrite)
    with outcome.timed("read"):
        scan = outcome.scan = read(source, memory_limit=memory_limit)
        outcome.warnings += scan.warnings
    with outcome.timed("load"):
        ready = models()
    labelled = _result(_run_stages(scan, system, ready, outcome, threads, memory_limit), system, outcome)
    mask = labelled.labels
    outcome.volume_ml = organ_volumes(mask, scan.voxel_ml, labelled.names[1:])
    if not mask.any():
        outcome.warnings.append(Notice("empty", "no organ found; the mask is empty", Verdict.CHECK))
    with outcome.timed("write"):
        write(mask, target, scan.header, scan.orientation, overwrite=overwrite, renames=renames)


@dataclass(frozen=True, slots=True)
class _Map:
    """A label map on the scan's own grid. names: by id. box: what its stage saw, None for all of the scan."""

    labels: Labels
    names: tuple[str, ...]
    box: Box | None


def _run_stages(
    scan: Scan, system: System, models: Models, outcome: Outcome, threads: int, memory_limit: int | None
) -> dict[str, _Map]:
    """Of every stage whose labels are in the result, its label map; no more scores than one stage's are held."""
    boxes: dict[str, Box | None] = {SCAN: None}
    wanted = {system.result.of, *system.mapped}
    maps: dict[str, _Map] = {}
    for name, stage in system.stage.items():
        box = boxes[stage.sees]
        if (box or whole(scan.grid)).shape[0] * scan.grid.spacing[0] < stage.min_height_mm:
            boxes |= {region: box for region, entry in system.region.items() if entry.of == name}
            continue
        outcome.box = box  # of a case that fails in this stage, too
        answer = run_stage(
            scan.voxels,
            scan.grid,
            box,
            stage,
            models[name],
            timed=functools.partial(_timed, outcome, name),
            check=lambda grid, bundle, walk: _check_memory(scan, grid, bundle, walk, memory_limit, len(maps)),
        )
        boxes |= _boxes_of(name, answer, box, system, models[name].bundle.labels, scan.grid, outcome)
        if name in wanted:
            with outcome.timed("restore"):
                labels = restore(
                    answer.scores, answer.labels, answer.box, scan.grid, positions=answer.positions, threads=threads
                )
            maps[name] = _Map(labels, models[name].bundle.labels, box)
        del answer  # before the next stage's scores come
    return maps


def _timed(outcome: Outcome, stage: str, step: str) -> AbstractContextManager[None]:
    return outcome.timed(f"{stage}.{step}")


def _result(maps: dict[str, _Map], system: System, outcome: Outcome) -> _Map:
    """The label map that the system names, merged from those of its stages where it says so."""
    for name, merge in system.merge.items():
        with outcome.timed(name):
            parts = [maps[other] for other in merge.of]
            names = merged_names([part.names for part in parts])
            alike = [renamed(part.labels, [names.index(label) for label in part.names]) for part in parts]
            maps[name] = _Map(merge.rule(alike, Seen(names, located=parts[0].box is not None)), names, parts[0].box)
    result = maps[system.result.of]
    outcome.box = result.box
    return result


def _boxes_of(
    stage: str,
    answer: Answer,
    seen: Box | None,
    system: System,
    names: tuple[str, ...],
    grid: Grid,
    outcome: Outcome,
) -> dict[str, Box | None]:
    """Of every region that a stage's answer tells; where it tells nothing, what the stage saw, with a warning."""
    boxes = {}
    for name, region in system.region.items():
        if region.of != stage:
            continue
        with outcome.timed(name):
            found = _box_of(region, answer, Seen(names, located=seen is not None), grid)
        if found is None:
            what = "the whole volume" if seen is None else f"what {stage} saw"
            text = f"{stage} found no organ for {name}; {what} is processed"
            outcome.warnings.append(Notice("not-located", text, Verdict.CHECK))
        boxes[name] = found or seen
    return boxes


def _box_of(region: Region, answer: Answer, about: Seen, grid: Grid) -> Box | None:
    """A region in voxels of the scan's grid, from the answer of its stage, which may have seen a box only."""
    box = region.rule(answer.labels, Grid(answer.box.shape, grid.spacing), about)
    if box is None:
        return None
    (z0, y0, x0), (z1, y1, x1) = (
        tuple(a + b for a, b in zip(corner, answer.box.start, strict=True)) for corner in (box.start, box.stop)
    )
    return Box((z0, y0, x0), (z1, y1, x1))


def _check_memory(scan: Scan, fine: Grid, bundle: Bundle, walk: Walk, limit: int | None, masks: int) -> None:
    """Refuse a field of view whose scores the limit would kill without a word: any spacing is read, even metres.

    A slice of a few voxels is filled up to a window of the walk, and its scores with it. masks: of the scan's size,
    held already.
    """
    how, voxels = bundle.resampling, math.prod(scan.grid.shape)
    before = BYTES_BEFORE_RESAMPLING if how.order != RESAMPLE_NORMALISE else 0
    before += BYTES_BEYOND_EDGES if sees_beyond_edges(how) else 0
    before += BYTES_OF_SPLINE if how.interpolation == CUBIC else 0
    here = scan.voxels.nbytes + voxels * (1 + masks + before) + MODELS_BYTES
    per_voxel = BYTES_PER_SCORE * (len(bundle.labels) + 2)  # scores, the volume and its normalised copy
    needed = math.prod(fine.shape) * per_voxel + here
    if bundle.window is None and needed - here <= MODELS_BYTES:  # the same for every scan, and in MODELS_BYTES
        if not before:
            return
        needed = here
    if bundle.window is not None and limit is not None and needed <= limit:  # so that windows can be counted
        filled = walk.plan(fine.shape, bundle.window).filled(fine.shape)
        needed = math.prod(filled) * per_voxel + here
    if limit is not None and needed > limit:
        extent = " x ".join(f"{length:.0f}" for length in fine.extent)
        raise CaseError(
            f"{scan.path.name}: {extent} mm (z, y, x) to segment need {needed / 2**30:.3g} GB, more than the "
            f"{limit / 2**30:.3g} GB allowed here; check the spacing, or raise the memory limit"
        )
