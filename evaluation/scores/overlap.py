"""Overlap: how alike two masks are, as volumes (DSC) and as surfaces (NSD). Plain arrays, no rule of any challenge."""

import math
import warnings
from typing import TypeAlias

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from surface_distance import compute_surface_distances

Mask: TypeAlias = NDArray[np.bool_]
MOST_PARTS = 300  # of a mask that is noise, the whole is measured at once


def dice(truth: Mask, prediction: Mask) -> float:
    """2 |A and B| / (|A| + |B|) of two masks of one shape; NaN where both are empty.

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    sizes = int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(truth & prediction)) / sizes if sizes else float("nan")


def surface_dice(truth: Mask, prediction: Mask, spacing: tuple[float, ...], tolerance_mm: float) -> float:
    """Share of both surfaces that lies within `tolerance_mm` of the other (DeepMind's surface-distance).

    Masks of one shape, three axes, `spacing` mm along each in the same order. NaN where both are empty, 0 where one is.

    Parts that lie farther apart than the tolerance are measured one by one, which changes nothing: the library's
    distance maps take seconds of a whole volume, and one stray voxel in a corner makes the volume whole.
    """
    if not truth.any() or not prediction.any():
        return 0.0 if truth.any() or prediction.any() else float("nan")
    within = total = 0.0
    for box in _separate_boxes(truth | prediction, spacing, tolerance_mm):
        near, whole = _surface_areas(truth[box], prediction[box], spacing, tolerance_mm)
        within, total = within + near, total + whole
    return within / total


def _surface_areas(
    truth: Mask, prediction: Mask, spacing: tuple[float, ...], tolerance_mm: float
) -> tuple[float, float]:
    """mm² of both surfaces that lie within the tolerance of the other, and of both in all."""
    alone = not truth.any() or not prediction.any()
    if alone:  # the library cannot measure against an empty mask under NumPy 2
        truth = prediction = truth | prediction
    with warnings.catch_warnings():
        # its last release calls scipy by names that scipy has moved; the functions are the same
        warnings.filterwarnings("ignore", "Please import", DeprecationWarning)
        found = compute_surface_distances(truth, prediction, spacing)
    if alone:
        return 0.0, float(found["surfel_areas_gt"].sum())
    pairs = (("distances_gt_to_pred", "surfel_areas_gt"), ("distances_pred_to_gt", "surfel_areas_pred"))
    within = sum(float(found[areas][found[distances] <= tolerance_mm].sum()) for distances, areas in pairs)
    return within, sum(float(found[areas].sum()) for _, areas in pairs)


def _separate_boxes(mask: Mask, spacing: tuple[float, ...], apart_mm: float) -> list[tuple[slice, ...]]:
    """Boxes that hold every component of `mask` whole, and between which no two components are within `apart_mm`."""
    components, count = cc3d.connected_components(mask, connectivity=26, return_N=True)
    found = ndimage.find_objects(components)
    if count > MOST_PARTS:
        (whole,) = ndimage.find_objects(mask.view(np.uint8))
        return [whole]
    reach = [math.ceil(apart_mm / length) + 1 for length in spacing]  # 1: surfaces lie at the corners of voxels
    boxes: list[list[tuple[int, int]]] = []
    for box in found:
        merged = [(side.start, side.stop) for side in box]
        while near := [other for other in boxes if _near(merged, other, reach)]:
            for other in near:
                boxes.remove(other)
                merged = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(merged, other, strict=True)]
        boxes.append(merged)
    return [tuple(slice(*side) for side in box) for box in boxes]


def _near(first: list[tuple[int, int]], second: list[tuple[int, int]], reach: list[int]) -> bool:
    """Whether two boxes (start and stop by axis) come within `reach` voxels of each other on every axis."""
    return all(
        start - others_stop < distance and others_start - stop < distance
        for (start, stop), (others_start, others_stop), distance in zip(first, second, reach, strict=True)
    )
