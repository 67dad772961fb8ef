"""Hounsfield: stored values to HU, and what is said of values that cannot be HU. Arrays of any axis order."""

import numpy as np
from numpy.typing import NDArray

from app.notice import Notice, Verdict
from app.types import AIR, Voxels

OFFSET = 1024  # added by scanners and converters that store unsigned values
TISSUE = (-150, 250)  # HU; fat to enhanced organs
TISSUE_SHARE = 0.05  # of the voxels; any scan of a body has more
BELOW_WATER = -50  # HU; air, lung and fat lie below
BELOW_WATER_SHARE = 0.001  # of the voxels; a scan from inside the body still shows fat
BELOW_AIR = -1100  # HU; noise of air reaches here, padding lies beyond
SAMPLE = 1 << 22  # voxels looked at; more would tell no more
INT16 = np.iinfo(np.int16)


def to_hounsfield(raw: NDArray[np.generic], slope: float, intercept: float) -> tuple[Voxels, list[Notice]]:
    """`raw * slope + intercept` as int16 where the result is whole and fits, else float32; a warning per oddity.

    int16 and float32 without scaling are returned as they are, not copied; `raw` is only read. NaN and infinite
    voxels become air. Values that lie 1024 too high (an offset that was never taken off) are brought down, values
    beyond 16 bits are cut; others that cannot be HU are left.
    """
    voxels = _scaled(raw, slope, intercept)
    shift, warnings = _judge(voxels)
    if voxels.dtype == np.int16:
        return (voxels if not shift else np.maximum(voxels, INT16.min - shift) + np.int16(shift)), warnings
    voxels, more = _tidy(voxels + np.float32(shift) if shift else voxels)
    return voxels, warnings + more


def _scaled(raw: NDArray[np.generic], slope: float, intercept: float) -> Voxels:
    if raw.dtype == np.int16 and slope == 1 and intercept == 0:
        return raw
    if raw.dtype.kind in "iu" and _is_small_integer(slope) and _is_small_integer(intercept):
        ends = [int(end) * int(slope) + int(intercept) for end in (raw.min(), raw.max())]
        if min(ends) >= INT16.min and max(ends) <= INT16.max:
            voxels = raw.astype(np.int32)  # what does not fit wraps round, and back again: the result has 16 bits
            voxels *= int(slope)
            voxels += int(intercept)
            return voxels.astype(np.int16)
    with np.errstate(over="ignore", invalid="ignore"):
        floats = raw.astype(np.float32, copy=False)
        floats = floats if slope == 1 else floats * np.float32(slope)
        return floats if intercept == 0 else floats + np.float32(intercept)


def _is_small_integer(value: float) -> bool:
    return value.is_integer() and abs(value) < 1 << 31


def _judge(voxels: Voxels) -> tuple[int, list[Notice]]:
    """What to add to the values to make HU of them, and a warning if they are none.

    A CT has air and fat well below zero, and below air only padding of one value. Judged is a sample of what is
    neither padding nor beyond 16 bits; a scan of nothing but air is a scan.
    """
    flat = voxels.reshape(-1, order="A")
    sample = flat[:: max(1, flat.size // SAMPLE)]
    sample = sample[(sample >= INT16.min) & (sample <= INT16.max)]
    if not sample.size:
        return 0, []
    low, high = float(sample.min()), float(sample.max())
    span = f"values from {low:g} to {high:g}"
    if np.count_nonzero((sample < BELOW_AIR) & (sample > low)) > TISSUE_SHARE * sample.size:
        text = f"{span} cannot be HU (too many are below air); processed as they are, do not use the mask"
        return 0, [Notice("below-air", text, Verdict.UNUSABLE)]
    sample = sample[sample >= BELOW_AIR]
    if np.count_nonzero(sample < BELOW_WATER) >= BELOW_WATER_SHARE * sample.size:
        return 0, []
    tissue = np.count_nonzero((sample >= OFFSET + TISSUE[0]) & (sample <= OFFSET + TISSUE[1]))
    if tissue >= TISSUE_SHARE * sample.size and sample.min() < OFFSET + TISSUE[0]:
        return -OFFSET, [Notice("offset", f"{span} look like HU + {OFFSET}; {OFFSET} taken off")]
    text = f"{span} cannot be HU (nothing is air or fat); processed as they are, do not use the mask"
    return 0, [Notice("no-air", text, Verdict.UNUSABLE)]


def _tidy(voxels: Voxels) -> tuple[Voxels, list[Notice]]:
    """Floats (float32) that int16 has no word for: not finite is air, beyond 16 bits is cut."""
    warnings = []
    finite = np.isfinite(voxels)
    if odd := voxels.size - int(np.count_nonzero(finite)):
        warnings.append(Notice("not-finite", f"{odd} voxels are NaN or infinite; taken as air ({AIR} HU)"))
        voxels = np.where(finite, voxels, np.float32(AIR))
    if huge := int(np.count_nonzero((voxels < INT16.min) | (voxels > INT16.max))):
        text = f"{huge} values cannot be HU; cut to {INT16.min}..{INT16.max}"
        warnings.append(Notice("beyond-16-bits", text, Verdict.CHECK))
        voxels = voxels.clip(INT16.min, INT16.max)
    return voxels, warnings
