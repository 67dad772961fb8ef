"""Pipeline: the way of one case, and the only place that knows its order.

read -> every stage of the system (`app.run.stage`), with its regions in between -> restore -> write
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from app.errors import CaseError
from app.files.read import Scan, read
from app.files.write import check_target, write
from app.grid import Box, Grid
from app.models.bundle import Bundle, load_bundle
from app.models.engine import Model, load_engine
from app.run.outcome import Outcome
from app.run.stage import Answer, run_stage
from app.steps.resample import use_threads
from app.steps.restore import restore
from app.steps.volumes import organ_volumes
from app.steps.windows import plan_windows
from app.system.definition import SCAN, WEIGHTS, Region, System

MODELS_BYTES = 500 << 20  # the networks and what they hold for one window, measured
BYTES_PER_SCORE = 5  # float32 and the labels' and components' temporaries, measured: 76 bytes a voxel of 14 classes

Models: TypeAlias = dict[str, Model]
"""By the stage that runs it."""


def load_models(system: System, *, threads: int, pinned: bool, weights: Path = WEIGHTS) -> Models:
    """The system's models, checked and compiled. SetupError names the file and field that is wrong."""
    use_threads(threads)
    models = {}
    for name, stage in system.stage.items():
        bundle = load_bundle(weights / stage.bundle)
        models[name] = Model(bundle, load_engine(bundle, stage.engine, stage.precision, threads, pinned=pinned))
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
) -> None:
    """Segments the scan in `source` and writes its mask to `target`; what is found goes into `outcome`.

    models: called after the scan has been read, so that the two may be loaded side by side. memory_limit: bytes.
    overwrite: replace a target that Viscera did not write, too. Raises CaseError if the scan cannot be segmented or the
    mask not be written.
    """
    check_target(target, overwrite=overwrite)
    with outcome.timed("read"):
        scan = outcome.scan = read(source, memory_limit=memory_limit)
        outcome.warnings += scan.warnings
    with outcome.timed("load"):
        ready = models()
    answer = _run_stages(scan, system, ready, outcome, memory_limit)
    with outcome.timed("restore"):
        mask = restore(answer.scores, answer.labels, answer.box, scan.grid, threads=threads)
    outcome.volume_ml = organ_volumes(mask, scan.voxel_ml, ready[system.result.of].bundle.labels[1:])
    if not mask.any():
        outcome.warnings.append("no organ found; the mask is empty")
    with outcome.timed("write"):
        write(mask, target, scan.header, scan.orientation, overwrite=overwrite)


def _run_stages(scan: Scan, system: System, models: Models, outcome: Outcome, memory_limit: int | None) -> Answer:
    """The answer of the last stage, which is the result's, since every other one must be used by a later one."""
    boxes: dict[str, Box | None] = {SCAN: None}

    def answer_of(name: str) -> Answer:
        stage = system.stage[name]
        outcome.box = boxes[stage.sees]
        return run_stage(
            scan.voxels,
            scan.grid,
            outcome.box,
            stage,
            models[name],
            timed=lambda step: outcome.timed(f"{name}.{step}"),
            check=lambda grid, bundle: _check_memory(scan, grid, bundle, memory_limit),
        )

    *earlier, last = system.stage
    for name in earlier:
        boxes |= _boxes_of(name, answer_of(name), system, scan.grid, outcome)  # its scores are let go
    return answer_of(last)


def _boxes_of(stage: str, answer: Answer, system: System, grid: Grid, outcome: Outcome) -> dict[str, Box | None]:
    """Of every region that a stage's answer tells, with a warning where it tells nothing."""
    boxes = {}
    for name, region in system.region.items():
        if region.of != stage:
            continue
        with outcome.timed(name):
            boxes[name] = _box_of(region, answer, grid)
        if boxes[name] is None:
            outcome.warnings.append(f"{stage} found no organ for {name}; the whole volume is processed")
    return boxes


def _box_of(region: Region, answer: Answer, grid: Grid) -> Box | None:
    """A region in voxels of the scan's grid, from the answer of its stage, which may have seen a box only."""
    box = region.rule(answer.labels, Grid(answer.box.shape, grid.spacing))
    if box is None:
        return None
    (z0, y0, x0), (z1, y1, x1) = (
        tuple(a + b for a, b in zip(corner, answer.box.start, strict=True)) for corner in (box.start, box.stop)
    )
    return Box((z0, y0, x0), (z1, y1, x1))


def _check_memory(scan: Scan, fine: Grid, bundle: Bundle, limit: int | None) -> None:
    """Refuse a field of view whose scores the limit would kill without a word: any spacing is read, even metres.

    A slice of a few voxels is filled up to a window, and its scores with it.
    """
    here = scan.voxels.nbytes + math.prod(scan.grid.shape) + MODELS_BYTES
    per_voxel = BYTES_PER_SCORE * (len(bundle.labels) + 2)  # scores, the volume and its normalised copy
    if bundle.window is None and math.prod(fine.shape) * per_voxel <= MODELS_BYTES:
        return  # the same for every scan, and in MODELS_BYTES
    needed = math.prod(fine.shape) * per_voxel + here
    if bundle.window is not None and limit is not None and needed <= limit:  # so that windows can be counted
        filled = plan_windows(fine.shape, bundle.window).filled(fine.shape)
        needed = math.prod(filled) * per_voxel + here
    if limit is not None and needed > limit:
        extent = " x ".join(f"{length:.0f}" for length in fine.extent)
        raise CaseError(
            f"{scan.path.name}: {extent} mm (z, y, x) to segment need {needed / 2**30:.3g} GB, more than the "
            f"{limit / 2**30:.3g} GB allowed here; check the spacing, or raise the memory limit"
        )
