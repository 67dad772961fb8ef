"""Grid: where voxels lie in the body. Axes run (z, y, x) everywhere in app; lengths are mm.

z grows towards the head, y towards the back, x towards the patient's left (LPS), as in the challenge's scans.
"""

import math
from dataclasses import dataclass

from app.types import Shape, Spacing


@dataclass(frozen=True, slots=True)
class Grid:
    """shape: voxels per axis. spacing: mm between the centres of neighbouring voxels."""

    shape: Shape
    spacing: Spacing

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or not all(0 < s < math.inf for s in self.spacing):
            raise ValueError(f"a grid needs shape >= 1 and finite spacing > 0 mm, got {self.shape} and {self.spacing}")

    @property
    def extent(self) -> Spacing:
        """mm from the first voxel's outer face to the last one's, per axis."""
        z, y, x = (n * s for n, s in zip(self.shape, self.spacing, strict=True))
        return z, y, x

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return math.prod(self.spacing) / 1000


@dataclass(frozen=True, slots=True)
class Box:
    """A block of voxels: start is its first voxel per axis, stop is one past its last."""

    start: Shape
    stop: Shape

    def __post_init__(self) -> None:
        if any(not 0 <= a < b for a, b in zip(self.start, self.stop, strict=True)):
            raise ValueError(f"a box needs 0 <= start < stop on every axis, got {self.start} and {self.stop}")

    @property
    def shape(self) -> Shape:
        z, y, x = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def shifted(self, by: Shape) -> "Box":
        """The same block of a grid that begins so many voxels earlier.

        >>> Box((0, 1, 2), (1, 2, 4)).shifted((5, 0, 1))
        Box(start=(5, 1, 3), stop=(6, 2, 5))
        """
        (z0, y0, x0), (z1, y1, x1) = (
            tuple(at + more for at, more in zip(corner, by, strict=True)) for corner in (self.start, self.stop)
        )
        return Box((z0, y0, x0), (z1, y1, x1))

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x


def whole(grid: Grid) -> Box:
    """The box that holds all of `grid`."""
    return Box((0, 0, 0), grid.shape)


def grid_of_shape(source: Grid, shape: Shape) -> Grid:
    """The grid of `shape` voxels that covers exactly the extent of `source`.

    >>> grid_of_shape(Grid((10, 4, 1), (5.0, 1.0, 0.5)), (5, 4, 2))
    Grid(shape=(5, 4, 2), spacing=(10.0, 1.0, 0.25))
    """
    z, y, x = (length / n for length, n in zip(source.extent, shape, strict=True))
    return Grid(shape, (z, y, x))


def grid_at_spacing(source: Grid, spacing: Spacing, *, rounds_down: bool = False, by_ratio: bool = False) -> Grid:
    """The grid nearest to `spacing` (mm) that covers exactly the extent of `source`, at least one voxel per axis.

    The spacing gives way, so that the extent does not. rounds_down: the number of voxels is rounded down, not to the
    nearest (half to even). by_ratio: it is that of `source` times the ratio of the spacings, not the extent over the
    spacing; where it is half a voxel too much, the last bit of the quotient decides.

    >>> grid_at_spacing(Grid((10, 4, 1), (5.0, 1.0, 0.5)), (2.0, 2.0, 2.0))
    Grid(shape=(25, 2, 1), spacing=(2.0, 2.0, 0.5))
    """
    # 1e-9: 3 * 0.1 / 0.1 is 3, not a little less
    counts = [length / s for length, s in zip(source.extent, spacing, strict=True)]
    if by_ratio:
        counts = [mm / s * n for mm, s, n in zip(source.spacing, spacing, source.shape, strict=True)]
    z, y, x = (max(1, math.floor(count + 1e-9) if rounds_down else round(count)) for count in counts)
    return grid_of_shape(source, (z, y, x))


def grid_from_first_voxel(source: Grid, spacing: Spacing) -> Grid:
    """The grid of exactly `spacing` (mm) that begins at the centre of the first voxel of `source` and ends at the last
    one's, to the nearest voxel (half to even).

    >>> grid_from_first_voxel(Grid((7, 10, 1), (0.7, 5.0, 2.0)), (1.5, 2.0, 1.5))
    Grid(shape=(4, 24, 1), spacing=(1.5, 2.0, 1.5))
    """
    z, y, x = (round((n - 1) * s / t + 1) for n, s, t in zip(source.shape, source.spacing, spacing, strict=True))
    return Grid((z, y, x), spacing)
