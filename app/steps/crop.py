"""Crop: the part of a scan that a box holds, a view. Arrays (z, y, x), spacing mm."""

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
