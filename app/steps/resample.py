"""Resample: intensities from one grid to another of the same extent. Arrays (z, y, x), lengths mm.

What a model sees, a whole scan or a crop of it, is brought so to the model's own shape or spacing.
"""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from app.alignment import FIRST_VOXEL, HALF_PIXEL, placed
from app.grid import Grid
from app.models.bundle import Resampling
from app.types import Shape, Volume, Voxels

OWN = Resampling()
CUBIC = "cubic"
INTERPOLATORS = {"linear": sitk.sitkLinear, CUBIC: sitk.sitkBSpline, "nearest": sitk.sitkNearestNeighbor}
SPLINE_REACH = 12  # voxels; with each a cubic spline's weights fall to a quarter


def resample(voxels: Voxels, source: Grid, target: Grid, how: Resampling = OWN) -> Volume:
    """Intensities of `voxels` (z, y, x; only read) at the centres of `target`: float32 (z, y, x).

    Both grids cover the same extent, or are aligned as `how` says. Where the target is coarser by a whole factor or
    more, blocks of that many voxels are averaged first, if `how` averages (to whole HU where the voxels are whole), so
    that a finer scan is a less noisy one and not a differently noisy one; the rest is interpolated, trilinearly as a
    rule. Beyond the outermost centres the edge value holds. What fills no block at the end of an axis is left out: of
    1338 slices brought to 128 the last eight.

    Raises ValueError if `voxels` does not have the shape of `source`.
    """
    if voxels.shape != source.shape:
        raise ValueError(f"voxels of shape {voxels.shape} on a grid of {source.shape}")
    image = _image(voxels, source)
    factors = _block(source, target)
    if how.averages and factors != (1, 1, 1):
        image = sitk.BinShrink(image, factors[::-1])
    if sees_beyond_edges(how):
        image = sitk.ZeroFluxNeumannPad(image, *_beyond(source, target, how))
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(target.shape[::-1])
    origin, spacing = _physical(source, target, how.alignment)
    resampler.SetOutputSpacing(spacing)
    resampler.SetOutputOrigin(origin)
    resampler.SetInterpolator(INTERPOLATORS[how.interpolation])
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    resampler.UseNearestNeighborExtrapolatorOn()
    result: NDArray[np.float32] = sitk.GetArrayFromImage(resampler.Execute(image))
    return result


def sees_beyond_edges(how: Resampling) -> bool:
    """Whether voxels are put around the volume first, which takes a copy of it."""
    return how.alignment == FIRST_VOXEL or how.interpolation == CUBIC


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


def _physical(source: Grid, target: Grid, alignment: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where ITK finds the target's first centre, and the steps between its centres: mm along (x, y, z)."""
    if alignment == HALF_PIXEL:  # from the outer face: half a voxel
        spacing = target.spacing[::-1]
        return tuple(mm / 2 for mm in spacing), spacing
    places = list(zip(placed(source, target, alignment), source.spacing, strict=True))[::-1]
    return tuple((first + 0.5) * mm for (first, _), mm in places), tuple(step * mm for (_, step), mm in places)


def _beyond(source: Grid, target: Grid, how: Resampling) -> tuple[list[int], list[int]]:
    """Voxels of the edge's value, along (x, y, z), that ITK needs before the first and after the last.

    Past a face it takes the nearest voxel along all axes, not along that one alone; and a spline sees the volume
    mirrored there, which libraries that train with splines do not.
    """
    before, after = [], []
    for size, count, (_, step) in zip(source.shape, target.shape, placed(source, target, how.alignment), strict=True):
        reach = math.ceil((count - 1) * step - (size - 1)) if how.alignment == FIRST_VOXEL else 0
        before.append(SPLINE_REACH if how.interpolation == CUBIC else 0)
        after.append(before[-1] + max(0, reach))
    return before[::-1], after[::-1]


def _block(source: Grid, target: Grid) -> Shape:
    """Source voxels per target voxel, per axis, rounded down. The tolerance keeps 2.0 / 1.0 at two."""
    z, y, x = (
        min(n, max(1, int(t / s + 1e-6))) for n, s, t in zip(source.shape, source.spacing, target.spacing, strict=True)
    )
    return z, y, x
