"""Outcome: what is known of a case; filled step by step, so that a case that fails keeps what was found before."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.files.read import Scan
from app.grid import Box
from app.notice import Notice
from app.steps.doubt import Evidence


@dataclass(slots=True)
class Outcome:
    """box: voxels that the result's stage saw, (z, y, x) of the scan; None where it saw all of it.

    volume_ml: by the name of the label. evidence: by which the mask is believed or doubted; None of a system that never
    doubts, and of an empty mask. seconds: per step; those of a stage are called STAGE.STEP.
    """

    scan: Scan | None = None
    box: Box | None = None
    volume_ml: dict[str, float] | None = None
    evidence: Evidence | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds the block's seconds to `step`, also when the block fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
