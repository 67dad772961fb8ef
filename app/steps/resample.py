"""Resample: intensities from one grid to another of the same extent. Arrays (z, y, x), lengths mm.

What a model sees, a whole scan or a crop of it, is brought so to the model's own shape or spacing.
"""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from app.alignment import FIRST_VOXEL, HALF_PIXEL, nearest, placed
from app.grid import Grid
from app.models.bundle import CUBIC, Resampling
from app.steps.spline import splined
from app.types import Shape, Volume, Voxels

OWN = Resampling()
INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}


def resample(voxels: Voxels, source: Grid, target: Grid, how: Resampling = OWN, *, apart: int | None = None) -> Volume:
    """Intensities of `voxels` (z, y, x; only read) at the centres of `target`: float32 (z, y, x).

    Both grids cover the same extent, or are aligned as `how` says. Where the target is coarser by a whole factor or
    more, blocks of that many voxels are averaged first, if `how` averages (to whole HU where the voxels are whole), so
    that a finer scan is a less noisy one and not a differently noisy one; the rest is interpolated, trilinearly as a
    rule. Beyond the outermost centres the edge value holds. What fills no block at the end of an axis is left out: of
    1338 slices brought to 128 the last eight. apart: an axis along which the nearest plane is taken as it is, and only
    the planes are interpolated (`app.alignment.axis_apart`).

    Raises ValueError if `voxels` does not have the shape of `source`.
    """
    if voxels.shape != source.shape:
        raise ValueError(f"voxels of shape {voxels.shape} on a grid of {source.shape}")
    if apart is not None:
        return _planes_apart(voxels, source, target, how, apart)
    if how.interpolation == CUBIC:
        return _cubic(voxels, source, target, how, ranges="volume" if how.keeps_range else "")
    image = _image(voxels, source)
    factors = _factors(source, target, how)
    if factors != (1, 1, 1):
        image = sitk.BinShrink(image, factors[::-1])
    if sees_beyond_edges(how):
        image = sitk.ZeroFluxNeumannPad(image, [0, 0, 0], _beyond(source, target, how))
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
    return how.alignment == FIRST_VOXEL and how.interpolation != CUBIC


def use_threads(threads: int) -> None:
    """How many threads ITK may start; by itself it takes the host's cores, whatever the container is allowed."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _planes_apart(voxels: Voxels, source: Grid, target: Grid, how: Resampling, axis: int) -> Volume:
    """The planes across `axis` that are the nearest to one of the target, each once, and then as often as they are."""
    taken, each = np.unique(nearest(source.shape[axis], target.shape[axis]), return_inverse=True)
    order = [axis, *(other for other in range(3) if other != axis)]
    planes = np.transpose(voxels, order)
    if len(taken) < len(planes):
        planes = planes[taken]
    (_, *from_shape), (_, *to_shape) = ([grid.shape[other] for other in order] for grid in (source, target))
    from_mm, to_mm = ([grid.spacing[other] for other in order] for grid in (source, target))
    before = Grid((len(taken), from_shape[0], from_shape[1]), (1.0, from_mm[1], from_mm[2]))
    after = Grid((len(taken), to_shape[0], to_shape[1]), (1.0, to_mm[1], to_mm[2]))
    if how.interpolation == CUBIC:
        made = _cubic(planes, before, after, how, ranges="plane" if how.keeps_range else "")
    else:
        made = resample(planes, before, after, how)
    return np.ascontiguousarray(np.transpose(made if len(each) == len(taken) else made[each], np.argsort(order)))


def _cubic(voxels: Voxels, source: Grid, target: Grid, how: Resampling, ranges: str) -> Volume:
    factors, places = _factors(source, target, how), placed(source, target, how.alignment)
    if factors != (1, 1, 1):
        voxels = sitk.GetArrayFromImage(sitk.BinShrink(_image(voxels, source), factors[::-1]))
        places = tuple(((first + 0.5) / n - 0.5, step / n) for (first, step), n in zip(places, factors, strict=True))
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()  # as `use_threads` says
    return splined(voxels, places, target.shape, ranges=ranges, threads=threads)


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


def _beyond(source: Grid, target: Grid, how: Resampling) -> list[int]:
    """Voxels of the edge's value, along (x, y, z), that ITK needs after the last.

    Past a face it takes the nearest voxel along all axes, not along that one alone.
    """
    after = []
    for size, count, (_, step) in zip(source.shape, target.shape, placed(source, target, how.alignment), strict=True):
        after.append(max(0, math.ceil((count - 1) * step - (size - 1))))
    return after[::-1]


def _factors(source: Grid, target: Grid, how: Resampling) -> Shape:
    """Source voxels per target voxel that are averaged, per axis, rounded down. The tolerance keeps 2.0 / 1.0 at 2."""
    if not how.averages:
        return 1, 1, 1
    z, y, x = (
        min(n, max(1, int(t / s + 1e-6))) for n, s, t in zip(source.shape, source.spacing, target.spacing, strict=True)
    )
    return z, y, x
