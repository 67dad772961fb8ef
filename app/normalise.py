"""Normalise: Hounsfield units to what a network was trained on. The figures are the bundle's."""

import math
from dataclasses import dataclass

import numpy as np

from app.types import Volume


@dataclass(frozen=True, slots=True)
class Intensity:
    """Clip to [low, high] HU, subtract a mean, divide by a deviation (both HU)."""

    low: float
    high: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        finite = all(math.isfinite(value) for value in (self.low, self.high, self.mean, self.deviation))
        if not finite or not self.low < self.high or not self.deviation > 0:
            raise ValueError(f"needs finite values, low < high and deviation > 0, got {self}")


def normalise(volume: Volume, intensity: Intensity) -> Volume:
    """A new float32 array of the shape of `volume` (HU, any shape, only read)."""
    clipped = np.clip(volume, intensity.low, intensity.high)
    clipped -= np.float32(intensity.mean)
    clipped /= np.float32(intensity.deviation)
    return clipped
