"""Engine masks: the masks of one system by two engines, held against each other. Masks (x, y, z), uint8."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.run.outcome import Outcome
from app.run.pipeline import load_models, run_case
from app.run.resources import thread_count
from app.system.definition import System, read_system
from app.types import Labels
from evaluation.shared.masks import open_mask, read_labels


@dataclass(frozen=True, slots=True)
class Same:
    """Shares of voxels whose labels are equal. of_organs: of those that either mask calls an organ; 1 without any."""

    of_all: float
    of_organs: float


def compare_engines(
    name: str, scans: Sequence[Path], engines: tuple[str, str], weights: Path
) -> Iterator[tuple[str, Same]]:
    """Of every scan, the name and how far a system's masks by the two engines agree.

    SetupError for a system or a bundle that lacks something, CaseError for a scan that cannot be segmented.
    """
    system = read_system(name)
    with tempfile.TemporaryDirectory() as folder:
        masks = [_masks(with_engine(system, engine), scans, weights, Path(folder) / engine) for engine in engines]
        for scan, first, second in zip(scans, *masks, strict=True):
            labels = (read_labels(open_mask(path)) for path in (first, second))
            yield scan.name.removesuffix("_0000.nii.gz"), same(*labels)


def with_engine(system: System, engine: str) -> System:
    """The system with all of its stages in one engine, in float32 arithmetic."""
    stages = {name: replace(stage, engine=engine, precision="f32") for name, stage in system.stage.items()}
    return replace(system, stage=stages)


def same(first: Labels, second: Labels) -> Same:
    """Of two masks of one shape.

    >>> import numpy as np
    >>> same(np.array([[[0, 1, 1, 0]]], np.uint8), np.array([[[0, 1, 2, 0]]], np.uint8))
    Same(of_all=0.75, of_organs=0.5)
    """
    equal, organs = first == second, (first > 0) | (second > 0)
    of_organs = float(equal[organs].mean()) if organs.any() else 1.0
    return Same(float(equal.mean()), of_organs)


def _masks(system: System, scans: Sequence[Path], weights: Path, folder: Path) -> list[Path]:
    threads = thread_count()
    models = load_models(system, threads=threads, pinned=False, weights=weights)
    folder.mkdir()
    written = [folder / scan.name.replace("_0000.nii.gz", ".nii.gz") for scan in scans]
    for scan, mask in zip(scans, written, strict=True):
        run_case(scan, mask, system, lambda: models, Outcome(), threads=threads)
    return written
