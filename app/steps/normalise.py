"""Normalise: Hounsfield units to what a network was trained on. The figures are the bundle's, or the scan's own."""

import numpy as np

from app.models.bundle import Intensity, ScanIntensity
from app.types import Volume, Voxels

NOTHING = 1e-6  # of the range between the percentiles: interpolation leaves zeros that are not quite


def normalise(volume: Volume, intensity: Intensity) -> Volume:
    """A new float32 array of the shape of `volume` (HU, any shape, only read)."""
    clipped: Volume = np.clip(volume, intensity.low, intensity.high, dtype=np.float32)
    clipped -= np.float32(intensity.mean)
    clipped /= np.float32(intensity.deviation)
    return clipped


def normalise_by_itself(volume: Volume, limits: tuple[float, float], intensity: ScanIntensity) -> Volume:
    """A new float32 array of `volume` (HU, only read): clipped to `limits`, those of the scan, then of mean 0 and
    deviation 1 (paper 001).

    With `keeps_zeros` voxels at the lower limit or below are 0 and stay so, and the others' mean and deviation count.
    A constant volume becomes zeros.
    """
    low, high = limits
    if not low < high:
        return np.zeros(volume.shape, np.float32)
    scaled: Volume = np.clip(volume, low, high, dtype=np.float32)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    counted = np.abs(scaled) > NOTHING if intensity.keeps_zeros else np.ones(scaled.shape, bool)
    if not counted.any():
        return scaled
    values = scaled[counted]
    deviation = values.std(dtype=np.float64)
    scaled[counted] = (values - values.mean(dtype=np.float64)) / (deviation if deviation > 0 else 1)
    return scaled


def percentiles(voxels: Voxels, shares: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles (0 to 100) of all voxels, linear between neighbours, as `numpy.percentile` gives them.

    Of int16 from a table of counts: sorting a scan of a thousand slices would take its memory twice and half a minute.
    """
    if voxels.dtype != np.int16:
        low, high = np.percentile(voxels, shares)
        return float(low), float(high)
    counts = np.zeros(1 << 16, np.int64)
    for plane in voxels:  # a plane at a time: bincount makes 8 bytes of every voxel
        counts += np.bincount(plane.ravel().astype(np.int32) + (1 << 15), minlength=1 << 16)
    reached = counts.cumsum()
    low, high = (_at(reached, share / 100 * (voxels.size - 1)) for share in shares)
    return low, high


def _at(reached: np.ndarray[tuple[int], np.dtype[np.int64]], rank: float) -> float:
    """Of sorted voxels that at a rank with a fraction, from how many there are up to each value."""
    lower = int(rank)
    values = [int(np.searchsorted(reached, index, side="right")) - (1 << 15) for index in (lower, lower + 1)]
    below, above = values[0], values[1] if rank > lower else values[0]
    return below + (rank - lower) * (above - below)
