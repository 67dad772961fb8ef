"""Hounsfield: stored values to HU, and what is said of values that cannot be HU. Arrays of any axis order."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.notice import Notice, Verdict
from app.types import AIR, Voxels

# What values may lie too high by, and the least share of tissue without it. Of those that fit the first counts
OFFSETS = {
    1024: 0.05,  # unsigned storage, -1024 as 0
    32768: 0.05,  # the same, all of 16 bits
    -1024: 0.2,  # an intercept that was taken off twice; a wrong slope may look like it
}
OFFSET, OFFSET_OF_AIR = 1024, 1000  # the latter is that of unsigned storage where air itself is 0
FEW = 0.001  # of the voxels; noise and damage
LOWEST_OF_CT = -1030  # HU; scanners cut at -1024
NOISE_OF_AIR = 100  # HU, above the lowest value; what air reads beside padding
WRAP = 1 << 16  # unsigned 16 bits hold a negative value as so much more
EIGHT_BITS = (128, 255)  # the highest value of an image of 8 bits, at the least and the most
TISSUE = (-150, 250)  # HU; fat to enhanced organs
TISSUE_SHARE = 0.05  # of the voxels; any scan of a body has more
INSIDE, MOSTLY = -850, 0.3  # HU, above which a body is; and the share of it that is tissue, of a chest, too
BELOW_WATER = -50  # HU; air, lung and fat lie below
BELOW_WATER_SHARE = 0.001  # of the voxels; a scan from inside the body still shows fat
BELOW_AIR = -1100  # HU; noise of air reaches here, padding lies beyond
SAMPLE = 1 << 22  # voxels looked at; more would tell no more
INT16 = np.iinfo(np.int16)


def to_hounsfield(raw: NDArray[np.generic], slope: float, intercept: float) -> tuple[Voxels, list[Notice]]:
    """`raw * slope + intercept` as int16 where the result is whole and fits, else float32; a warning per oddity.

    int16 and float32 without scaling are returned as they are, not copied; `raw` is only read. NaN and infinite
    voxels become air. Values that lie too high or low by a known offset are brought back, negative ones that unsigned
    storage made huge likewise; values beyond 16 bits are cut; others that cannot be HU are left.
    """
    voxels = _scaled(raw, slope, intercept)
    repair, notices = _judge(voxels)
    voxels = repair(voxels)
    if voxels.dtype == np.int16:
        return voxels, notices
    voxels, more = _tidy(voxels)
    is_whole = raw.dtype.kind in "iu" and _is_small_integer(slope) and _is_small_integer(intercept)
    return (voxels.astype(np.int16) if is_whole and notices and not more else voxels), notices + more


def to_stored_values(raw: NDArray[np.generic], slope: float, intercept: float) -> tuple[Voxels, list[Notice]]:
    """As `to_hounsfield`, but values stay as they are, whatever they look like; NaN and infinite voxels become air."""
    voxels = _scaled(raw, slope, intercept)
    if voxels.dtype == np.int16:
        return voxels, []
    return _finite(voxels)


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


def _judge(voxels: Voxels) -> tuple[Callable[[Voxels], Voxels], list[Notice]]:
    """What makes HU of the values, and a warning if they are none as they stand.

    A CT has air and fat well below zero, and below air only padding of one value. Judged is a sample of what is
    neither padding nor beyond 16 bits; a scan of nothing but air is a scan.
    """
    flat = voxels.reshape(-1, order="A")
    taken = np.ascontiguousarray(flat[:: max(1, flat.size // SAMPLE)])  # it is gone through several times
    sample = _within_16_bits(taken)
    if sample.size and _is_hounsfield(sample):
        return _unchanged, []
    taken = taken.astype(np.float32)
    too_high = taken > INT16.max
    if np.count_nonzero(too_high) >= TISSUE_SHARE * taken.size and _is_hounsfield(
        np.where(too_high, taken - WRAP, taken)
    ):
        return _unwrapped, [Notice("wrapped", f"values above {INT16.max} are negative ones of 16 bits; read as such")]
    if not sample.size:
        return _unchanged, []
    if offset := _offset(taken):
        sign, word = ("+", "taken off") if offset > 0 else ("-", "added")
        span = _span(_within_16_bits(taken - offset) + offset)
        text = f"{span} look like HU {sign} {abs(offset)}; {abs(offset)} {word}"
        verdict = Verdict.GOOD if _is_mostly_tissue(_within_16_bits(taken - offset)) else Verdict.CHECK
        return partial(_shifted, by=-offset), [Notice("offset", text, verdict)]
    return _unchanged, [_no_hounsfield(sample)]


def _span(sample: NDArray[Any]) -> str:
    return f"values from {float(sample.min()):g} to {float(sample.max()):g}"


def _within_16_bits(sample: NDArray[Any]) -> NDArray[Any]:
    if sample.dtype == np.int16:
        return sample
    return sample[(sample >= INT16.min) & (sample <= INT16.max)]  # NaN is not


def _is_hounsfield(sample: NDArray[Any]) -> bool:
    """Whether some values are below water, and not too many below air."""
    above = sample[sample >= BELOW_AIR]
    return not _is_below_air(sample) and bool(np.count_nonzero(above < BELOW_WATER) >= BELOW_WATER_SHARE * above.size)


def _is_below_air(sample: NDArray[Any]) -> bool:
    return bool(np.count_nonzero((sample < BELOW_AIR) & (sample > sample.min())) > TISSUE_SHARE * sample.size)


def _offset(sample: NDArray[Any]) -> int:
    """By how much the values lie too high, so that without it tissue and something below it are there; 0 if by none of
    those known."""
    for offset, share in OFFSETS.items():
        shifted = _within_16_bits(sample - offset)
        if not shifted.size or _is_below_air(shifted):
            continue
        tissue = np.count_nonzero((shifted >= TISSUE[0]) & (shifted <= TISSUE[1]))
        if tissue >= share * shifted.size and shifted.min() < TISSUE[0]:
            return OFFSET_OF_AIR if offset == OFFSET and _air_is_too_low(shifted) else offset
    return 0


def _is_mostly_tissue(shifted: NDArray[Any]) -> bool:
    """Whether what is no air is tissue for a good part, as in a CT; values of MR lie all over."""
    inside = shifted[shifted > INSIDE]
    tissue = np.count_nonzero((inside >= TISSUE[0]) & (inside <= TISSUE[1]))
    return bool(tissue >= MOSTLY * inside.size)


def _air_is_too_low(shifted: NDArray[Any]) -> bool:
    """Whether air reads lower than a CT's, which is cut at -1024 HU and reads -1000 beside padding."""
    lowest = np.quantile(shifted[shifted >= BELOW_AIR], FEW)
    air = shifted[(shifted > lowest) & (shifted < lowest + NOISE_OF_AIR)]
    half = (OFFSET - OFFSET_OF_AIR) / 2
    beside_padding = air.size > TISSUE_SHARE * shifted.size and np.median(air) < AIR + half
    return bool(lowest < LOWEST_OF_CT or beside_padding)


def _no_hounsfield(sample: NDArray[Any]) -> Notice:
    span = _span(sample)
    if _is_below_air(sample):
        text = f"{span} cannot be HU (too many are below air); processed as they are, do not use the mask"
        return Notice("below-air", text, Verdict.UNUSABLE)
    if sample.min() >= 0 and EIGHT_BITS[0] <= sample.max() <= EIGHT_BITS[1]:
        text = f"{span} look like an image of 8 bits, a window of the CT; processed as they are, do not use the mask"
        return Notice("eight-bits", text, Verdict.UNUSABLE)
    text = f"{span} cannot be HU (nothing is air or fat); processed as they are, do not use the mask"
    return Notice("no-air", text, Verdict.UNUSABLE)


def _unchanged(voxels: Voxels) -> Voxels:
    return voxels


def _shifted(voxels: Voxels, *, by: int) -> Voxels:
    """int16 stays int16: what would fall out of it is cut."""
    if voxels.dtype != np.int16:
        return voxels + np.float32(by)
    kept = np.maximum(voxels, INT16.min - by) if by < 0 else np.minimum(voxels, INT16.max - by)
    return kept + np.int16(by)


def _unwrapped(voxels: Voxels) -> Voxels:
    return np.where(voxels > INT16.max, voxels - np.float32(WRAP), voxels)


def _tidy(voxels: Voxels) -> tuple[Voxels, list[Notice]]:
    """Floats (float32) that int16 has no word for: not finite is air, beyond 16 bits is cut."""
    voxels, warnings = _finite(voxels)
    if huge := int(np.count_nonzero((voxels < INT16.min) | (voxels > INT16.max))):
        text = f"{huge} values cannot be HU; cut to {INT16.min}..{INT16.max}"
        warnings.append(Notice("beyond-16-bits", text, Verdict.CHECK))
        voxels = voxels.clip(INT16.min, INT16.max)
    return voxels, warnings


def _finite(voxels: Voxels) -> tuple[Voxels, list[Notice]]:
    finite = np.isfinite(voxels)
    odd = voxels.size - int(np.count_nonzero(finite))
    if not odd:
        return voxels, []
    notice = Notice("not-finite", f"{odd} voxels are NaN or infinite; taken as air ({AIR} HU)")
    return np.where(finite, voxels, np.float32(AIR)), [notice]
