"""Size: whether a body is as large as bodies are, in the spacing that its header says. Arrays (z, y, x), HU, mm."""

import numpy as np

from app.grid import Grid
from app.notice import Notice, Verdict
from app.types import Voxels

NO_AIR = -300  # HU
FULL = 0.1  # of the columns of a slice; less of them have only couch or cable
THINNED = (8, 4, 1)


def doubtful_size(voxels: Voxels, grid: Grid, adult_mm: tuple[float, float]) -> list[Notice]:
    """A warning where the body is narrower or wider than an adult's is at all; none where the scan's sides cut it."""
    width = body_width_mm(voxels, grid)
    if width is None or adult_mm[0] <= width <= adult_mm[1]:
        return []
    what = "a child or a wrong spacing" if width < adult_mm[0] else "a wrong spacing"
    return [Notice("size", f"the body is {width:.0f} mm wide: {what}; check volumes and mask", Verdict.CHECK)]


def body_width_mm(voxels: Voxels, grid: Grid) -> float | None:
    """Left to right, median of a few slices; None where no air is seen beside it on both sides."""
    z, y, x = THINNED
    tissue = (voxels[::z, ::y, ::x] > NO_AIR).mean(1) > FULL
    widths = []
    for row in tissue:
        there = np.flatnonzero(row)
        if len(there) and there[0] > 0 and there[-1] < len(row) - 1:
            widths.append(there[-1] - there[0] + 1)
    if 2 * len(widths) < len(tissue):
        return None
    return float(np.median(widths)) * grid.spacing[2]
