"""Region: the box of a scan that a stage's labels tell to look at. Arrays (z, y, x), mm."""

import math

import cc3d
import numpy as np
from numpy.typing import NDArray

from app.grid import Box, Grid, grid_of_shape
from app.types import Labels, Shape, Spacing

ROUNDING_MM = 1e-6  # what products of voxels and spacings may be off


def organ_box(
    labels: Labels,
    grid: Grid,
    *,
    min_component_ml: float,
    min_component_share: float,
    margin_mm: Spacing,
    at_least_mm: Spacing = (0.0, 0.0, 0.0),
) -> Box | None:
    """The box of `grid` around all organs of `labels`, a coarser label map of the same extent.

    Connected parts are those of all organs together (6 neighbours). None if the largest is below `min_component_ml`.
    Parts smaller than that are left out if they are also below `min_component_share` of the largest (a blob beside a
    whole abdomen, but not the other kidney of a slab that shows little else), unless the box would cut through one: a
    box whose face runs through a predicted organ grows until none does. margin_mm: along (z, y, x), on both sides of
    the parts that are kept. at_least_mm: along (z, y, x), what the box has where the grid is so large: a shorter one
    grows on both sides alike, as far as there is something.
    """
    coarse = grid_of_shape(grid, _shape(labels))
    parts = cc3d.connected_components(labels > 0, connectivity=6)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    millilitres = sizes * coarse.voxel_ml
    largest = millilitres.max()
    if largest == 0 or largest < min_component_ml:
        return None
    kept = millilitres >= min(min_component_ml, min_component_share * largest)
    kept[0] = False
    while True:
        spans = [_span(kept[parts], axis, coarse, margin) for axis, margin in enumerate(margin_mm)]
        voxels = [_voxels(*span, grid.spacing[axis], grid.shape[axis]) for axis, span in enumerate(spans)]
        rounded = [(low * s, high * s) for (low, high), s in zip(voxels, grid.spacing, strict=True)]
        cut = _cut(parts, sizes, rounded, coarse) & ~kept
        if not cut.any():
            break
        kept |= cut
    grown = [
        _grown(*span, math.ceil(length / mm), size)
        for span, length, mm, size in zip(voxels, at_least_mm, grid.spacing, grid.shape, strict=True)
    ]
    (z0, z1), (y0, y1), (x0, x1) = grown
    return Box((z0, y0, x0), (z1, y1, x1))


def _grown(start: int, stop: int, count: int, size: int) -> tuple[int, int]:
    """From `start` to `stop`, or around that `count` voxels of `size`, shifted to where they are."""
    count = max(min(count, size), stop - start)
    start = min(max(start - (count - (stop - start)) // 2, 0), size - count)
    return start, start + count


def label_range(
    labels: Labels, grid: Grid, *, label: int, below_mm: float, above_mm: float, at_least_mm: float
) -> Box | None:
    """All of `grid` from `below_mm` under the lowest voxel of `label` to `above_mm` over it; None without the label.

    Where the top of the grid leaves less than `at_least_mm`, the range begins further down, and where the bottom does,
    it ends further up (paper 000, whose network finds the liver and so where the abdomen is).
    """
    planes = np.flatnonzero((labels == label).any(axis=(1, 2)))
    if not len(planes):
        return None
    coarse = grid_of_shape(grid, _shape(labels))
    lowest = planes[0] * coarse.spacing[0]
    low, high = max(lowest - below_mm, 0), min(lowest + above_mm, grid.extent[0])
    low = max(min(low, high - at_least_mm), 0)
    z0, z1 = _voxels(low, max(high, low + at_least_mm), grid.spacing[0], grid.shape[0])
    return Box((z0, 0, 0), (max(z1, z0 + 1), *grid.shape[1:]))  # one slice where no length is asked for


def box_of_large_regions(labels: Labels, grid: Grid, *, min_voxels: int, margin_mm: float = 0.0) -> Box | None:
    """The box of `grid` around all connected regions of organs (6 neighbours) that fill `min_voxels` of its voxels or
    more (paper 001, without a margin); around the largest if none does; None without any.

    margin_mm: around it, as many whole voxels as fit, as far as there are some. As if `labels` had been enlarged to
    `grid` first, each voxel of which reads the coarse one at floor(i * n / N): a coarse voxel counts as often as it
    would be read.
    """
    sources = [_read(fine, coarse) for fine, coarse in zip(grid.shape, labels.shape, strict=True)]
    times = [np.bincount(source) for source in sources]
    read = [np.flatnonzero(count) for count in times]
    regions = cc3d.connected_components(labels[np.ix_(*read)] > 0, connectivity=6)
    if not regions.any():
        return None
    z, y, x = (count[at] for count, at in zip(times, read, strict=True))
    weights = (z[:, None, None] * y[:, None] * x).ravel()
    sizes = np.bincount(regions.ravel(), weights=weights)
    sizes[0] = 0
    kept = sizes >= min(min_voxels, sizes.max())
    kept[0] = False
    start, stop = [], []
    for axis, (source, at) in enumerate(zip(sources, read, strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        hits = np.flatnonzero(np.isin(source, at[kept[regions].any(axis=others)]))
        margin = int(margin_mm / grid.spacing[axis])
        start.append(max(int(hits[0]) - margin, 0))
        stop.append(min(int(hits[-1]) + 1 + margin, grid.shape[axis]))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _read(fine: int, coarse: int) -> NDArray[np.int64]:
    """Along an axis, which coarse voxel each fine one reads when labels are enlarged: the nearest, floor(i * n / N)."""
    return np.arange(fine) * coarse // fine


def box_with_margin(labels: Labels, grid: Grid, *, margin_mm: float) -> Box | None:
    """The box of `grid` around all organs and as many whole voxels of margin as fit into `margin_mm`, one fewer at the
    end of each axis, but not less than the organs themselves (paper 003, as its code has it); None without organs.
    """
    start, stop = [], []
    for axis, (size, spacing) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        others = tuple(a for a in range(3) if a != axis)
        along = np.asarray((labels > 0).any(axis=others))
        hits = np.flatnonzero(along[_read(size, labels.shape[axis])])
        if not len(hits):
            return None
        margin = int(margin_mm / spacing)
        start.append(max(int(hits[0]) - margin, 0))
        stop.append(min(int(hits[-1]) + max(margin, 1), size))
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _span(organs: NDArray[np.bool_], axis: int, grid: Grid, margin_mm: float) -> tuple[float, float]:
    """mm from the first voxel's outer face: where the organs begin and end along an axis, with the margin."""
    others = tuple(a for a in range(3) if a != axis)
    hits = np.flatnonzero(organs.any(axis=others))
    spacing = grid.spacing[axis]
    return hits[0] * spacing - margin_mm, (hits[-1] + 1) * spacing + margin_mm


def _cut(
    parts: NDArray[np.integer], sizes: NDArray[np.int64], spans: list[tuple[float, float]], grid: Grid
) -> NDArray[np.bool_]:
    """Per part (0 is none) whether a box of these spans (mm) runs through it: some of it is inside, not all."""
    touched = tuple(
        slice(*_voxels(low + ROUNDING_MM, high - ROUNDING_MM, spacing, size))
        for (low, high), spacing, size in zip(spans, grid.spacing, grid.shape, strict=True)
    )
    within = tuple(
        slice(math.ceil((low - ROUNDING_MM) / spacing), math.floor((high + ROUNDING_MM) / spacing))
        for (low, high), spacing in zip(spans, grid.spacing, strict=True)
    )
    reaching, inside = (np.bincount(parts[at].ravel(), minlength=len(sizes)) for at in (touched, within))
    result: NDArray[np.bool_] = (reaching > 0) & (inside < sizes)  # never 0, whose size is taken as 0
    return result


def _voxels(low_mm: float, high_mm: float, spacing: float, size: int) -> tuple[int, int]:
    """First voxel and one past the last of those that reach into the span, within 0..size."""
    return max(0, math.floor(low_mm / spacing)), min(size, math.ceil(high_mm / spacing))


def _shape(labels: Labels) -> Shape:
    z, y, x = labels.shape
    return z, y, x
