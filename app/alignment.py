"""Alignment: where the voxels of a model's grid lie among those of a scan, or of a box of it. Axes (z, y, x).

Networks were trained on volumes that different libraries had resampled, and these differ in what they hold fast.
"""

import numpy as np
from numpy.typing import NDArray

from app.grid import Grid
from app.types import Shape, Spacing

HALF_PIXEL = "half-pixel"  # the outer faces: torch's align_corners=False, scipy's grid_mode, this project's own
CORNERS = "corners"  # the centres of the outermost voxels: torch's align_corners=True
FIRST_VOXEL = "first-voxel"  # the centre of the first voxel, and the spacing exactly: MONAI's Spacing
ALIGNMENTS = (HALF_PIXEL, CORNERS, FIRST_VOXEL)

Positions = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Per axis, of every voxel of one grid its index, with fractions, in another one."""


def placed(source: Grid, target: Grid, alignment: str) -> tuple[tuple[float, float], ...]:
    """Per axis (first, step): voxel j of `target` lies at index first + j * step of `source`; steps are above zero.

    >>> from app.grid import Grid
    >>> placed(Grid((10, 1, 4), (1.0, 1.0, 1.0)), Grid((4, 1, 2), (2.5, 1.0, 2.0)), "corners")
    ((0.0, 3.0), (0.0, 1.0), (0.0, 3.0))
    """
    along = zip(source.shape, source.spacing, target.shape, target.spacing, strict=True)
    return tuple(_placed_axis(*axis, alignment) for axis in along)


def _placed_axis(size: int, spacing: float, count: int, target_spacing: float, alignment: str) -> tuple[float, float]:
    if alignment == FIRST_VOXEL:
        return 0.0, target_spacing / spacing
    if alignment == CORNERS:
        # one voxel on either side: all of the target's lie on or about the first
        return 0.0, (size - 1) / (count - 1) if min(size, count) > 1 else 1 / count
    step = size / count
    return (step - 1) / 2, step


def positions(source: Grid, target: Grid, scores: Shape, alignment: str, apart: int | None = None) -> Positions:
    """Of every voxel of `source` its index among the scores of a model that saw `target`, beyond the outermost, too.

    scores: their shape; coarser than `target`, they cover the same extent. apart: an axis along which the nearest voxel
    is taken, and so every index is whole.
    """
    along = zip(source.shape, scores, target.shape, placed(source, target, alignment), strict=True)
    found = [_positions_axis(*axis, alignment) for axis in along]
    if apart is not None:
        found[apart] = nearest(scores[apart], source.shape[apart]).astype(np.float64)
    z, y, x = found
    return z, y, x


def _positions_axis(
    size: int, scores: int, count: int, place: tuple[float, float], alignment: str
) -> NDArray[np.float64]:
    index = np.arange(size)
    if alignment == HALF_PIXEL:  # the faces hold whatever the steps in between, so that these cancel
        covering: NDArray[np.float64] = (index + 0.5) * scores / size - 0.5
        return covering
    _, step = place  # the first voxels lie on each other
    return (index / step + 0.5) * scores / count - 0.5


def axis_apart(first: Spacing, then: Spacing, above: float | None) -> int | None:
    """The axis along which the nearest voxel is taken, and nothing is interpolated; None where all are alike.

    nnU-Net's rule: of two spacings (mm) the first whose longest side is more than `above` times its shortest counts,
    and its longest side is meant. Two of that length are no axis. Without `above` there is none.

    >>> axis_apart((1.0, 1.0, 1.0), (5.0, 0.8, 0.8), 3.0)
    0
    """
    if above is None:
        return None
    for spacing in (first, then):
        if max(spacing) / min(spacing) > above:
            longest = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
            return longest[0] if len(longest) == 1 else None
    return None


def nearest(size: int, count: int) -> NDArray[np.intp]:
    """Of each of `count` voxels the nearest of `size` ones of the same extent; of two that are equally near the later.

    Rounded as by scipy: what is exactly in between depends on the order of a product.

    >>> nearest(3, 2), nearest(2, 3)
    (array([0, 2]), array([0, 1, 1]))
    """
    places = size / count * (np.arange(count) + 0.5) - 0.5
    return np.floor(places.clip(0, size - 1) + 0.5).astype(np.intp)
