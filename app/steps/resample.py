"""Resample: intensities from one grid to another of the same extent. Arrays (z, y, x), lengths mm.

What a model sees, a whole scan or a crop of it, is brought so to the model's own shape or spacing.
"""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from app.grid import Grid
from app.types import Shape, Volume, Voxels


def resample(voxels: Voxels, source: Grid, target: Grid) -> Volume:
    """Intensities of `voxels` (z, y, x; only read) at the centres of `target`: float32 (z, y, x).

    Both grids cover the same extent. Where the target is coarser by a whole factor or more, blocks of that many
    voxels are averaged first (to whole HU where the voxels are whole), so that a finer scan is a less noisy one and
    not a differently noisy one; the rest is trilinear. Beyond the outermost centres the edge value holds. What fills no
    block at the end of an axis is left out: of 1338 slices brought to 128 the last eight.

    Raises ValueError if `voxels` does not have the shape of `source`.
    """
    if voxels.shape != source.shape:
        raise ValueError(f"voxels of shape {voxels.shape} on a grid of {source.shape}")
    image = _image(voxels, source)
    factors = _block(source, target)
    if factors != (1, 1, 1):
        image = sitk.BinShrink(image, factors[::-1])
    x, y, z = target.spacing[::-1]
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.shape[::-1])
    resampler.SetOutputSpacing((x, y, z))
    resampler.SetOutputOrigin((x / 2, y / 2, z / 2))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.UseNearestNeighborExtrapolatorOn()
    result: NDArray[np.float32] = sitk.GetArrayFromImage(resampler.Execute(image))
    return result


def use_threads(threads: int) -> None:
    """How many threads ITK may start; by itself it takes the host's cores, whatever the container is allowed."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _image(voxels: Voxels, grid: Grid) -> sitk.Image:
    """An ITK image whose physical space starts at the outer face of the first voxel, as every grid's does here."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    x, y, z = grid.spacing[::-1]
    image.SetSpacing((x, y, z))
    image.SetOrigin((x / 2, y / 2, z / 2))
    return image


def _block(source: Grid, target: Grid) -> Shape:
    """Source voxels per target voxel, per axis, rounded down. The tolerance keeps 2.0 / 1.0 at two."""
    z, y, x = (
        min(n, max(1, int(t / s + 1e-6))) for n, s, t in zip(source.shape, source.spacing, target.spacing, strict=True)
    )
    return z, y, x
