"""Straighten: a scan whose axes are not the body's, on a grid whose axes are. Arrays (z, y, x).

A network has seen bodies upright. `steps` are (3, 3): column by column how far, in mm along the body's (z, y, x), one
voxel along the scan's z, y and x goes. ITK turns index into place; its axes run (x, y, z).
"""

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from app.grid import Box, Grid
from app.types import AIR, Labels, Shape, Voxels

Steps = NDArray[np.float64]


def tilt_degrees(steps: Steps) -> float:
    """The largest angle between an axis of the scan and the body's.

    >>> round(tilt_degrees(np.array([[2.0, 0, 0], [0, 1, 1], [0, -1, 1]])))  # turned about z
    45
    """
    cosines = np.abs(np.diag(steps)) / np.linalg.norm(steps, axis=0)
    return math.degrees(math.acos(min(1.0, float(cosines.min()))))


def shear_degrees(steps: Steps) -> float:
    """By how much two axes of the scan are further from or nearer to each other than a right angle, at the most."""
    cosines = steps / np.linalg.norm(steps, axis=0)
    products = np.abs(cosines.T @ cosines - np.eye(3))
    return math.degrees(math.asin(min(1.0, float(products.max()))))


def upright_grid(steps: Steps, shape: Shape, largest_mm: float = math.inf) -> Grid:
    """The grid along the body's axes that holds the whole scan. A step along an axis crosses one of its voxels, or is
    `largest_mm` long if that is less: labels come back as the nearest one, and on a coarse grid that is far away.
    """
    sides = np.abs(steps) @ np.array(shape)
    spacing = np.minimum(1 / np.linalg.norm(np.linalg.inv(steps), axis=0), largest_mm)
    nz, ny, nx = (max(1, math.ceil(side / s - 1e-6)) for side, s in zip(sides, spacing, strict=True))
    z, y, x = (float(s) for s in spacing)
    return Grid((nz, ny, nx), (z, y, x))


def straightened(voxels: Voxels, steps: Steps, grid: Grid) -> Voxels:
    """HU on the upright grid, in the middle of which the middle of the scan lies; air where the scan is not.

    Trilinear, of the type of `voxels`.
    """
    to_scan = np.linalg.inv(steps) @ np.diag(grid.spacing)
    return _resampled(voxels, to_scan, grid.shape, sitk.sitkLinear, AIR)


def bent_back(labels: Labels, steps: Steps, grid: Grid, shape: Shape) -> Labels:
    """Labels on the upright grid at every voxel of a scan of `shape`: the nearest one."""
    to_upright = np.linalg.inv(np.diag(grid.spacing)) @ steps
    return _resampled(labels, to_upright, shape, sitk.sitkNearestNeighbor, 0)


def box_in_scan(box: Box, steps: Steps, grid: Grid, shape: Shape) -> Box:
    """The smallest box of the scan that holds a box of the upright grid."""
    to_scan = np.linalg.inv(steps) @ np.diag(grid.spacing)
    corners = np.array([[(box.start, box.stop)[(n >> axis) & 1][axis] for axis in range(3)] for n in range(8)])
    places = (corners - np.array(grid.shape) / 2) @ to_scan.T + np.array(shape) / 2
    low = np.clip(np.floor(places.min(0) + 1e-6), 0, np.array(shape) - 1).astype(int)
    high = np.clip(np.ceil(places.max(0) - 1e-6), low + 1, shape).astype(int)
    (z0, y0, x0), (z1, y1, x1) = low.tolist(), high.tolist()
    return Box((z0, y0, x0), (z1, y1, x1))


def _resampled(voxels: Voxels, matrix: NDArray[np.floating], shape: Shape, interpolator: int, outside: int) -> Voxels:
    """`voxels` at each index of `shape`; matrix: from its steps to those of `voxels`, middle upon middle."""
    middle = (np.array(voxels.shape) - 1) / 2 - matrix @ ((np.array(shape) - 1) / 2)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[::-1, ::-1].ravel().tolist())
    transform.SetTranslation(middle[::-1].tolist())
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    target = (shape[::-1], transform, interpolator, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), np.eye(3).ravel().tolist())
    result: Voxels = sitk.GetArrayFromImage(sitk.Resample(image, *target, float(outside), image.GetPixelID()))
    return result
