"""Overlap: how alike two masks are, as volumes (DSC) and as surfaces (NSD). Plain arrays, no rule of any challenge."""

import warnings
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from surface_distance import compute_surface_dice_at_tolerance, compute_surface_distances

Mask: TypeAlias = NDArray[np.bool_]


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
    """
    if not truth.any() or not prediction.any():
        return 0.0 if truth.any() or prediction.any() else float("nan")
    # what the library does too, over several passes of the whole volume
    (box,) = ndimage.find_objects((truth | prediction).view(np.uint8))
    with warnings.catch_warnings():
        # its last release calls scipy by names that scipy has moved; the functions are the same
        warnings.filterwarnings("ignore", "Please import", DeprecationWarning)
        distances = compute_surface_distances(truth[box], prediction[box], spacing)
    return float(compute_surface_dice_at_tolerance(distances, tolerance_mm))
