"""Hounsfield: stored values to HU, and what is said of values that cannot be HU. Arrays of any axis order."""

import numpy as np
from numpy.typing import NDArray

from app.types import Voxels

AIR = -1024  # HU; what lies outside the field of view, and what NaN and infinite voxels are taken as
OFFSET = 1024  # added by scanners and converters that store unsigned values
TISSUE = (-150, 250)  # HU; fat to enhanced organs, a good part of any scan of a body
TISSUE_SHARE = 0.05
BELOW_WATER = -50  # HU; air, lung and fat lie below
BELOW_SHARE = 0.001  # of the voxels; a scan inside the body still shows fat
INT16 = np.iinfo(np.int16)


def to_hounsfield(raw: NDArray[np.generic], slope: float, intercept: float) -> tuple[Voxels, list[str]]:
    """`raw * slope + intercept` as int16 where the result is whole, else float32, and one warning per oddity.

    int16 and float32 without scaling are returned as they are, not copied; `raw` is only read. NaN and infinite
    voxels become air. Values that lie 1024 too high (an offset that was never taken off) are brought down; others
    that cannot be HU are left.
    """
    if raw.dtype.kind == "f" or not (_is_small_integer(slope) and _is_small_integer(intercept)):
        voxels, warnings = _float_voxels(raw, slope, intercept)
    else:
        voxels, warnings = _integer_voxels(raw, int(slope), int(intercept))
    return _without_offset(voxels, warnings)


def _is_small_integer(value: float) -> bool:
    return value.is_integer() and abs(value) < 1 << 31


def _float_voxels(raw: NDArray[np.generic], slope: float, intercept: float) -> tuple[Voxels, list[str]]:
    with np.errstate(over="ignore", invalid="ignore"):
        voxels = raw.astype(np.float32, copy=False)
        if slope != 1:
            voxels = voxels * np.float32(slope)
        if intercept != 0:
            voxels = voxels + np.float32(intercept)
    finite = np.isfinite(voxels)
    count = voxels.size - int(np.count_nonzero(finite))
    if not count:
        return voxels, []
    return np.where(finite, voxels, np.float32(AIR)), [f"{count} voxels are NaN or infinite; taken as air ({AIR} HU)"]


def _integer_voxels(raw: NDArray[np.generic], slope: int, intercept: int) -> tuple[Voxels, list[str]]:
    if raw.dtype == np.int16 and slope == 1 and intercept == 0:
        return raw, []
    ends = [int(raw.min()) * slope + intercept, int(raw.max()) * slope + intercept]
    if min(ends) < INT16.min or max(ends) > INT16.max:
        wide = raw.astype(np.float64) * slope + intercept
        return wide.clip(INT16.min, INT16.max).astype(np.int16), [
            f"values from {min(ends)} to {max(ends)} cannot be HU; cut to {INT16.min}..{INT16.max}"
        ]
    voxels = raw.astype(np.int32)  # what does not fit wraps round, and back again: the result has 16 bits
    voxels *= slope
    voxels += intercept
    return voxels.astype(np.int16), []


def _without_offset(voxels: Voxels, warnings: list[str]) -> tuple[Voxels, list[str]]:
    """A CT has air and fat well below zero; where next to nothing is, the values are something else.

    Said of a scan of one value only where that value is not below zero: a scan of nothing but air is a scan.
    """
    low, high = float(voxels.min()), float(voxels.max())
    if np.count_nonzero(voxels < BELOW_WATER) >= BELOW_SHARE * voxels.size:
        return voxels, warnings
    tissue = np.count_nonzero((voxels >= OFFSET + TISSUE[0]) & (voxels <= OFFSET + TISSUE[1]))
    dark = np.count_nonzero(voxels < OFFSET + TISSUE[0])
    if tissue >= TISSUE_SHARE * voxels.size and dark:
        message = f"values from {low:g} to {high:g} look like HU + {OFFSET}; {OFFSET} taken off"
        # int16 holds the result: what is next to never below -50 comes down to -1074, and noise below that is cut
        return np.maximum(voxels, INT16.min + OFFSET) - voxels.dtype.type(OFFSET), [*warnings, message]
    message = f"values from {low:g} to {high:g} cannot be HU (nothing is air or fat); processed as they are"
    return voxels, [*warnings, f"{message}, check the mask"]
