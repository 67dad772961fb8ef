"""Windows: what a system's network is given of real scans, for INT8: to calibrate on, and to compare it with float32.

Arrays (z, y, x), scores (channel, z, y, x).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import CaseError, SetupError
from app.models.bundle import INT8, Bundle
from app.models.engine import Engine, Model, load_engine
from app.run.outcome import Outcome
from app.run.pipeline import run_case
from app.steps.classify import classify
from app.system.definition import System
from app.types import Scores, Volume
from training.export import FLOAT32

CALIBRATED, COMPARED = 32, 8  # windows, of all scans together
STAGE = "segment"


@dataclass(frozen=True, slots=True)
class Agreement:
    """share: of the voxels that INT8 or float32 calls anything which both call the same. dice: by label; only of those
    that either has seen."""

    share: float
    dice: dict[str, float]


def windows_of(scans: Sequence[Path], system: System, bundle: Bundle, count: int, threads: int) -> list[Volume]:
    """Up to `count` windows, normalised, as many of each scan, drawn at random and always the same.

    The scans go the whole way of a case, so that windows are as they will be. SetupError where one cannot be used.
    """
    rng = np.random.default_rng(0)
    each, taken = -(-count // len(scans)), []
    for scan in scans:
        seen = KeptWindows(bundle.channels, each, rng)
        models = {STAGE: Model(bundle, seen)}
        with tempfile.TemporaryDirectory(prefix="windows-") as folder:
            target = Path(folder) / "mask.nii.gz"
            try:
                run_case(scan, target, system, lambda found=models: found, Outcome(), threads=threads)  # type: ignore[misc]
            except CaseError as error:
                raise SetupError(f"{error} (a scan to calibrate INT8 on)") from error
        taken += seen.windows
    order = rng.permutation(len(taken))
    return [taken[index] for index in order[:count]]


class KeptWindows:
    """An engine that finds nothing and keeps `count` of the windows that it is given, all as likely."""

    def __init__(self, channels: int, count: int, rng: np.random.Generator) -> None:
        self.channels, self.count, self.rng = channels, count, rng
        self.windows: list[Volume] = []
        self.given = 0

    def __call__(self, volume: Volume) -> Scores:
        self.given += 1
        at = len(self.windows) if len(self.windows) < self.count else int(self.rng.integers(self.given))
        if at < self.count:
            self.windows[at : at + 1] = [volume.copy()]
        return np.zeros((self.channels, *volume.shape), np.float32)


def agreement(bundle: Bundle, windows: Sequence[Volume], threads: int) -> Agreement:
    """Of a bundle's INT8 with its float32."""
    engines = [load_engine(bundle, engine, "f32", threads, pinned=False) for engine in (FLOAT32, INT8)]
    return agreement_of(engines[0], engines[1], bundle, windows)


def agreement_of(first: Engine, second: Engine, bundle: Bundle, windows: Sequence[Volume]) -> Agreement:
    """Of two engines; 1 where neither sees anything."""
    count = len(bundle.labels)
    table = np.zeros((count, count), np.int64)
    for window in windows:
        ours, theirs = (classify(engine(window), bundle.regions) for engine in (first, second))
        table += counts_of(ours, theirs, count)
    return agreement_in(table, bundle.labels)


def counts_of(first: NDArray[Any], second: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Voxels by the label that one says (first axis) and the other (second), of `count` labels."""
    pairs = first.ravel().astype(np.int64) * count + second.ravel().astype(np.int64)
    return np.bincount(pairs, minlength=count**2).reshape(count, count)


def agreement_in(table: np.ndarray, names: Sequence[str]) -> Agreement:
    """From `counts_of`; 1 where neither has any label."""
    same, sizes = table.diagonal(), table.sum(0) + table.sum(1)
    either = int(table.sum() - table[0, 0])
    share = float(same[1:].sum() / either) if either else 1.0
    return Agreement(share, {names[n]: float(2 * same[n] / sizes[n]) for n in range(1, len(names)) if sizes[n]})


def single(system: System) -> System:
    """The system with the first of its bundles alone: others are given the same windows."""
    stage = replace(system.stage[STAGE], with_bundles=())
    return replace(system, stage={**system.stage, STAGE: stage})
