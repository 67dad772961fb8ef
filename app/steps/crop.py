"""Crop: the part of a scan that a box holds, a view. Arrays (z, y, x), spacing mm."""

import numpy as np

from app.grid import Box, Grid
from app.types import Voxels


def crop(voxels: Voxels, grid: Grid, box: Box) -> tuple[Voxels, Grid]:
    """Voxels in the box, not copied, and their grid. ValueError if the box reaches beyond `grid`.

    >>> import numpy as np
    >>> crop(np.arange(8).reshape(1, 2, 4), Grid((1, 2, 4), (5.0, 1.0, 1.0)), Box((0, 1, 1), (1, 2, 3)))
    (array([[[5, 6]]]), Grid(shape=(1, 1, 2), spacing=(5.0, 1.0, 1.0)))
    """
    if any(stop > size for stop, size in zip(box.stop, grid.shape, strict=True)):
        raise ValueError(f"{box} reaches beyond a grid of {grid.shape}")
    return voxels[box.slices], Grid(box.shape, grid.spacing)


def box_of_nonzero(voxels: Voxels) -> Box:
    """The smallest box of `voxels` with all that is not 0; the whole where all is.

    >>> box_of_nonzero(np.array([[[0, 0, 5, 0]], [[0, -1, 0, 0]], [[0, 0, 0, 0]]]))
    Box(start=(0, 0, 1), stop=(2, 1, 3))
    """
    hits = [np.zeros(size, bool) for size in voxels.shape]
    for z, plane in enumerate(voxels):  # one at a time: no volume of truth values is made
        there = plane != 0
        rows = there.any(1)
        hits[0][z] = rows.any()
        hits[1] |= rows
        hits[2] |= there.any(0)
    if not hits[0].any():
        nz, ny, nx = voxels.shape
        return Box((0, 0, 0), (nz, ny, nx))
    (z0, z1), (y0, y1), (x0, x1) = ((int(hit.argmax()), len(hit) - int(hit[::-1].argmax())) for hit in hits)
    return Box((z0, y0, x0), (z1, y1, x1))
