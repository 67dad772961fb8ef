"""Program: what contenders share: reading, resampling, writing are app's, so that the way of running differs alone."""

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.files.cases import mask_name
from app.files.read import Scan, read
from app.files.write import write
from app.grid import grid_at_spacing
from app.models.bundle import Bundle, load_bundle
from app.steps.normalise import normalise
from app.steps.resample import resample, use_threads
from app.types import Labels, Volume


class Clock:
    """Seconds of named steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the block's seconds to `step`."""
        start = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start


def parser(description: str | None) -> argparse.ArgumentParser:
    """Of what every contender is told."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("scan", type=Path)
    made.add_argument("outputs", type=Path)
    made.add_argument("--bundle", type=Path, required=True, help="of the fine model")
    return made


def load(scan: Path, bundle: Path, clock: Clock) -> tuple[Scan, Bundle, Volume]:
    """The scan, the bundle, and the normalised volume on the bundle's grid."""
    threads = os.cpu_count() or 1
    use_threads(threads)
    with clock.timed("read"):
        image = read(scan)
    fine = load_bundle(bundle)
    if fine.spacing_mm is None:
        raise ValueError(f"bundle {fine.name} has no spacing")
    grid = grid_at_spacing(image.grid, fine.spacing_mm)
    with clock.timed("resample"):
        volume = normalise(resample(image.voxels, image.grid, grid), fine.fixed_intensity)
    return image, fine, volume


def finish(mask: Labels, image: Scan, outputs: Path, clock: Clock) -> None:
    """Writes the mask (z, y, x) under the name that app gives it, prints the last line."""
    with clock.timed("write"):
        write(mask, outputs / mask_name(image.path), image.header, image.orientation)
    report(clock)


def report(clock: Clock) -> None:
    """The last line."""
    print(json.dumps({"seconds": clock.seconds}))
