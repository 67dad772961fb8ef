"""Pipeline: the way of one case, and the only place that knows its order.

read -> locate -> crop -> resample -> normalise -> segment -> clean -> restore -> write
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.errors import CaseError
from app.files.read import Scan, read
from app.files.write import check_target, write
from app.grid import Box, Grid, grid_at_spacing, whole
from app.models.bundle import Bundle, load_bundle
from app.models.engine import Engine, load_engine
from app.models.labels import ORGANS
from app.steps.classify import classify
from app.steps.clean import demote, drop_small, drop_small_regions
from app.steps.crop import crop
from app.steps.locate import locate
from app.steps.normalise import normalise
from app.steps.resample import resample, use_threads
from app.steps.restore import restore
from app.steps.segment import segment
from app.steps.windows import plan_windows
from app.system.definition import WEIGHTS, System
from app.types import Labels

MODELS_BYTES = 500 << 20  # both networks and what they hold for one window, measured
BYTES_PER_SCORE = 5  # float32 and the labels' and components' temporaries, measured: 76 bytes a voxel of 14 classes


@dataclass(frozen=True, slots=True)
class Models:
    """Both phases' bundles, compiled."""

    localiser: Bundle
    localiser_engine: Engine
    fine: Bundle
    fine_engine: Engine


@dataclass(slots=True)
class Outcome:
    """What is known of a case; filled step by step, so that a case that fails keeps what was found before.

    box: voxels that phase one kept, (z, y, x) of the scan; None if it found nothing. seconds: per step.
    """

    scan: Scan | None = None
    box: Box | None = None
    volume_ml: dict[str, float] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the block's seconds to `step`, also when the block fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def load_models(system: System, *, threads: int, pinned: bool, weights: Path = WEIGHTS) -> Models:
    """The system's models, checked and compiled. SetupError names the file and field that is wrong."""
    use_threads(threads)
    localiser = load_bundle(weights / system.locate.bundle, "localiser")
    fine = load_bundle(weights / system.segment.bundle, "fine")
    return Models(
        localiser,
        load_engine(localiser, system.locate.engine, system.locate.precision, threads, pinned=pinned),
        fine,
        load_engine(fine, system.segment.engine, system.segment.precision, threads, pinned=pinned),
    )


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
    with outcome.timed("locate"):
        outcome.box = locate(
            scan.voxels,
            scan.grid,
            ready.localiser,
            ready.localiser_engine,
            min_component_ml=system.locate.min_component_ml,
            min_component_share=system.locate.min_component_share,
            margin_mm=system.locate.margin_mm,
        )
    if outcome.box is None:
        outcome.warnings.append("phase one found no organ; the whole volume is processed")
    mask = _segment_box(scan, system, ready, outcome, threads, memory_limit)
    outcome.volume_ml = organ_volumes(mask, scan.voxel_ml)
    if not mask.any():
        outcome.warnings.append("no organ found; the mask is empty")
    with outcome.timed("write"):
        write(mask, target, scan.header, scan.orientation, overwrite=overwrite)


def _segment_box(
    scan: Scan, system: System, models: Models, outcome: Outcome, threads: int, memory_limit: int | None
) -> Labels:
    """Phase two: the mask (z, y, x) of the whole scan, from what lies in the box, or from all of it without one."""
    box = outcome.box or whole(scan.grid)
    if models.fine.spacing_mm is None:
        raise ValueError(f"bundle {models.fine.name} has no spacing")
    with outcome.timed("crop"):
        voxels, grid = crop(scan.voxels, scan.grid, box)
        fine_grid = grid_at_spacing(grid, models.fine.spacing_mm)
        _check_memory(scan, fine_grid, models.fine, memory_limit)
    with outcome.timed("resample"):
        volume = resample(voxels, grid, fine_grid)
    with outcome.timed("normalise"):
        volume = normalise(volume, models.fine.intensity)
    with outcome.timed("segment"):
        scores = segment(volume, models.fine, models.fine_engine)
    with outcome.timed("clean"):
        labels = classify(scores)
        cleaned = drop_small(labels, min_share=system.clean.min_share)
        if outcome.box is None:
            cleaned = drop_small_regions(cleaned, min_voxels=system.clean.min_unlocated_ml / fine_grid.voxel_ml)
        demote(scores, labels, cleaned)
    with outcome.timed("restore"):
        return restore(scores, cleaned, box, scan.grid, threads=threads)


def _check_memory(scan: Scan, fine: Grid, bundle: Bundle, limit: int | None) -> None:
    """Refuse a field of view whose scores the limit would kill without a word: any spacing is read, even metres.

    A slice of a few voxels is filled up to a window, and its scores with it.
    """
    filled = fine.shape if bundle.window is None else plan_windows(fine.shape, bundle.window).filled(fine.shape)
    here = scan.voxels.nbytes + math.prod(scan.grid.shape) + MODELS_BYTES
    arrays = len(bundle.labels) + 2  # scores, the volume and its normalised copy
    needed = math.prod(filled) * BYTES_PER_SCORE * arrays + here
    if limit is not None and needed > limit:
        extent = " x ".join(f"{length:.0f}" for length in fine.extent)
        raise CaseError(
            f"{scan.path.name}: {extent} mm (z, y, x) to segment need {needed / 2**30:.3g} GB, more than the "
            f"{limit / 2**30:.3g} GB allowed here; check the spacing, or raise the memory limit"
        )


def organ_volumes(mask: Labels, voxel_ml: float) -> dict[str, float]:
    """Millilitres of each organ, by name, in the order of the ids."""
    counts = np.zeros(256, np.int64)
    for plane in mask:  # bincount makes 8 bytes of every voxel: a plane at a time
        counts += np.bincount(plane.ravel(), minlength=256)
    return {name: float(counts[i]) * voxel_ml for i, name in enumerate(ORGANS, 1)}
