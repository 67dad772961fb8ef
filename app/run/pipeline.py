"""Pipeline: the way of one case, and the only place that knows its order.

read -> set upright, if it lies askew -> every stage of the system (`app.run.stage`), with its regions in between ->
restore, once for every stage whose labels are in the result -> doubt, and where there is some, the stages again with
the body turned over -> merge -> write
"""

import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import numpy as np

from app.errors import CaseError
from app.files.orientation import Orientation
from app.files.read import Scan, read
from app.files.write import check_target, write
from app.grid import Box, Grid, whole
from app.models.bundle import CUBIC, RESAMPLE_NORMALISE, load_bundle
from app.models.engine import Model, load_engine
from app.notice import Notice, Verdict
from app.run.outcome import Outcome
from app.run.second_look import NOT_TURNED, better_turns, doubts, evidence_of, said_of
from app.run.stage import Answer, run_stage
from app.run.turn import turn_of
from app.run.view import View, view_of
from app.steps.doubt import Evidence
from app.steps.merge import renamed
from app.steps.resample import sees_beyond_edges, use_threads
from app.steps.restore import restore
from app.steps.segment import averaged, mirrored, sums_parts
from app.steps.size import doubtful_size
from app.steps.volumes import organ_volumes
from app.steps.walk import Walk
from app.system.definition import SCAN, WEIGHTS, Doubt, Region, System, merged_names
from app.system.rules import Seen
from app.types import Labels, Voxels

MODELS_MB = 700  # the process, small networks and what they hold for one window, measured
BYTES_BEFORE_RESAMPLING = 8  # where the scan's own voxels are clipped or normalised first: float32, and ITK's copy
BYTES_BEYOND_EDGES = 4  # where resampling sees voxels beyond the edges: a larger copy
BYTES_OF_SPLINE = 4  # float32, between its passes
BYTES_BESIDE_SCORES = 24  # a voxel of what a model sees: the volume, its copy, labels, components

Models: TypeAlias = dict[str, Model]
"""By the stage that runs it."""


def load_models(system: System, *, threads: int, pinned: bool, weights: Path = WEIGHTS) -> Models:
    """The system's models, checked and compiled, `threads` of them at a time; what two stages share is compiled once.

    SetupError names the file and field that is wrong, of the first stage that has one.
    """
    use_threads(threads)

    def load(bundle: str, engine: str, precision: str) -> Model:
        read = load_bundle(weights / bundle)
        return Model(read, load_engine(read, engine, precision, threads, pinned=pinned))

    wanted = {name: [(b, stage.engine, stage.precision) for b in stage.bundles] for name, stage in system.stage.items()}
    # side by side: OpenVINO compiles in one thread, .3 s for each of the default system's two models
    with ThreadPoolExecutor(threads) as pool:
        loading = {one: pool.submit(load, *one) for one in dict.fromkeys(chain.from_iterable(wanted.values()))}
    models = {}
    for name, stage in system.stage.items():
        loaded = [loading[one].result() for one in wanted[name]]
        bundle = loaded[0].bundle
        engines = [engine for model in loaded for engine in mirrored(model.engine, stage.mirror_axes)]
        is_quantised = len(engines) == 1 and bundle.is_quantised(stage.engine)
        models[name] = Model(
            bundle,
            averaged(engines, bundle),
            sum(model.bundle.holds_mb for model in loaded),
            score_bytes=2 if is_quantised else 4,
        )
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
        as_it_is = system.posture.as_it_is
        scan = outcome.scan = read(source, memory_limit=memory_limit, as_it_is=as_it_is)
        outcome.warnings += scan.warnings
    with outcome.timed("upright"):
        view, warnings = view_of(scan, system.posture, memory_limit)
        outcome.warnings += warnings
        if system.doubt is not None:
            outcome.warnings += doubtful_size(view.voxels, view.grid, system.doubt.width_mm)
    with outcome.timed("load"):
        ready = models()
    run = _Run(scan, system, ready, outcome, threads, memory_limit)
    view, seen = _believed(view, run)
    outcome.evidence = seen.evidence
    labelled = _result(seen.maps, system, outcome)
    outcome.box = None if labelled.box is None else view.box_in_scan(labelled.box)
    mask = view.labels_in_scan(labelled.labels)
    outcome.volume_ml = organ_volumes(mask, scan.voxel_ml, labelled.names[1:])
    if not mask.any():
        outcome.warnings.append(Notice("empty", "no organ found; the mask is empty", Verdict.CHECK))
    with outcome.timed("write"):
        write(mask, target, scan.header, scan.orientation, overwrite=overwrite, renames=renames)


@dataclass(frozen=True, slots=True)
class _Run:
    """What every stage of a case is told."""

    scan: Scan
    system: System
    models: Models
    outcome: Outcome
    threads: int
    memory_limit: int | None

    def held_beside(self, seen: Voxels) -> int:
        """Bytes of the scan's own voxels, where what is seen of it are others."""
        return 0 if np.may_share_memory(seen, self.scan.voxels) else self.scan.voxels.nbytes

    @property
    def held_by_models(self) -> int:
        """Bytes. What one has run with it keeps, so that all stages count."""
        return max(MODELS_MB, sum(model.holds_mb for model in self.models.values())) << 20


@dataclass(frozen=True, slots=True)
class _Map:
    """A label map on the scan's own grid. names: by id. box: what its stage saw, None for all of the scan."""

    labels: Labels
    names: tuple[str, ...]
    box: Box | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the stages made of a view: maps: of every stage whose labels are in the result. warnings, doubts: of it.

    evidence: what the doubts come from.
    """

    maps: dict[str, _Map]
    warnings: list[Notice]
    evidence: Evidence | None
    doubts: list[Notice]

    @property
    def is_confirmed(self) -> bool:
        """Whether the first stage located something, the result is not empty, and nothing is doubted."""
        return not self.doubts and self.evidence is not None and self.evidence.agreement is not None


def _believed(view: View, run: _Run) -> tuple[View, _Seen]:
    """The view whose result is to be written, and that: as the scan lies, or as the body does where there is doubt."""
    seen, doubt, warnings = _run_stages(view, run), run.system.doubt, run.outcome.warnings
    if doubt is None or not seen.doubts:
        warnings += seen.warnings
        return view, seen
    try:
        for turn, other in _turns(view, run, doubt, len(seen.maps)):
            again = _run_stages(other, run, len(seen.maps))
            if not again.is_confirmed:
                continue
            view, seen = (other, again) if doubt.turns else (view, seen)
            warnings += [said_of(turn, is_segmented=doubt.turns), *seen.warnings]
            return view, seen
    except CaseError:  # for want of memory; what was found as the scan lies is there all the same
        seen.doubts.append(NOT_TURNED)
    warnings += [*seen.warnings, *seen.doubts]
    return view, seen


def _turns(view: View, run: _Run, doubt: Doubt, masks: int) -> Iterator[tuple[Orientation, View]]:
    def look(voxels: Voxels, grid: Grid) -> Answer:
        return _answer(doubt.first, voxels, grid, None, run, masks)

    return better_turns(view, look, doubt, run.models[doubt.first].bundle.labels)


def _run_stages(view: View, run: _Run, masks: int = 0) -> _Seen:
    """No more scores than one stage's are held. masks: of the scan's size, held already."""
    system, outcome, grid = run.system, run.outcome, view.grid
    boxes: dict[str, Box | None] = {SCAN: None}
    wanted = {system.result.of, *system.mapped}
    maps: dict[str, _Map] = {}
    warnings: list[Notice] = []
    first: Labels | None = None
    evidence: Evidence | None = None
    for name, stage in system.stage.items():
        box, names = boxes[stage.sees], run.models[name].bundle.labels
        if (box or whole(grid)).shape[0] * grid.spacing[0] < stage.min_height_mm:
            boxes |= {region: box for region, entry in system.region.items() if entry.of == name}
            continue
        outcome.box = None if box is None else view.box_in_scan(box)  # of a case that fails in this stage, too
        answer = _answer(name, view.voxels, grid, box, run, masks + len(maps))
        boxes |= _boxes_of(name, answer, box, names, grid, run, warnings)
        if name in wanted:
            with outcome.timed("restore"):
                labels = restore(
                    answer.scores,
                    answer.labels,
                    answer.box,
                    grid,
                    positions=answer.positions,
                    regions=run.models[name].bundle.regions,
                    threads=run.threads,
                )
            maps[name] = _Map(labels, names, box)
        if system.doubt is not None and name == system.doubt.first:
            first = answer.labels
        if system.doubt is not None and name == system.result.of and first is not None and answer.labels.any():
            with outcome.timed("doubt"):
                evidence = evidence_of(first, answer, grid, system.doubt, names, located=box is not None)
        del answer  # before the next stage's scores come
    found = [] if system.doubt is None or evidence is None else doubts(evidence, system.doubt)
    return _Seen(maps, warnings, evidence, found)


def _answer(name: str, voxels: Voxels, grid: Grid, box: Box | None, run: _Run, masks: int) -> Answer:
    """Of a stage. masks: of the scan's size, held already."""
    return run_stage(
        voxels,
        grid,
        box,
        run.system.stage[name],
        run.models[name],
        timed=functools.partial(_timed, run.outcome, name),
        check=lambda fine, walk: _check_memory(voxels, fine, run.models[name], walk, run, masks),
        file=run.scan.orientation,
        threads=run.threads,
    )


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
    return maps[system.result.of]


def _boxes_of(
    stage: str,
    answer: Answer,
    seen: Box | None,
    names: tuple[str, ...],
    grid: Grid,
    run: _Run,
    warnings: list[Notice],
) -> dict[str, Box | None]:
    """Of every region that a stage's answer tells; where it tells nothing, what the stage saw, with a warning."""
    boxes = {}
    for name, region in run.system.region.items():
        if region.of != stage:
            continue
        about = Seen(names, located=seen is not None, axes=_axes_of_who_sees(name, run))
        with run.outcome.timed(name):
            found = _box_of(region, answer, about, grid)
        if found is None:
            what = "the whole volume" if seen is None else f"what {stage} saw"
            text = f"{stage} found no organ for {name}; {what} is processed"
            warnings.append(Notice("not-located", text, Verdict.CHECK))
        boxes[name] = found or seen
    return boxes


def _axes_of_who_sees(region: str, run: _Run) -> tuple[int, int, int]:
    """Of the body's (z, y, x), as the first network has them that looks into a region; every region has one."""
    sees = next(name for name, stage in run.system.stage.items() if stage.sees == region)
    return turn_of(run.models[sees].bundle.orientation, run.scan.orientation).axes


def _box_of(region: Region, answer: Answer, about: Seen, grid: Grid) -> Box | None:
    """A region in voxels of the scan's grid, from the answer of its stage, which may have seen a box only."""
    box = region.rule(answer.labels, Grid(answer.box.shape, grid.spacing), about)
    if box is None:
        return None
    return box.shifted(answer.box.start)


def _check_memory(seen: Voxels, fine: Grid, model: Model, walk: Walk, run: _Run, masks: int) -> None:
    """Refuse a field of view whose scores the limit would kill without a word: any spacing is read, even metres.

    A slice of a few voxels is filled up to a window of the walk, and its scores with it. masks: of the scan's size,
    held already.
    """
    bundle, voxels, limit = model.bundle, seen.size, run.memory_limit
    how = bundle.resampling
    before = BYTES_BEFORE_RESAMPLING if how.order != RESAMPLE_NORMALISE else 0
    before += BYTES_BEYOND_EDGES if sees_beyond_edges(how) else 0
    before += BYTES_OF_SPLINE if how.interpolation == CUBIC else 0
    here = run.held_beside(seen) + seen.nbytes + voxels * (1 + masks + before) + run.held_by_models
    in_parts = bundle.window is not None and sums_parts(bundle.window, walk)
    per_voxel = (model.score_bytes if in_parts else 4) * bundle.channels + BYTES_BESIDE_SCORES
    needed = math.prod(fine.shape) * per_voxel + here
    if bundle.window is None and needed - here <= MODELS_MB << 20:  # the same for every scan, and in MODELS_MB
        if not before:
            return
        needed = here
    if bundle.window is not None and limit is not None and needed <= limit:  # so that windows can be counted
        filled = walk.plan(fine.shape, bundle.window).filled(fine.shape)
        needed = math.prod(filled) * per_voxel + here
    if limit is not None and needed > limit:
        extent = " x ".join(f"{length:.0f}" for length in fine.extent)
        raise CaseError(
            f"{run.scan.path.name}: {extent} mm (z, y, x) to segment need {needed / 2**30:.3g} GB, more than the "
            f"{limit / 2**30:.3g} GB allowed here; check the spacing, or raise the memory limit"
        )
