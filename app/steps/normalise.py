"""Normalise: Hounsfield units to what a network was trained on. The figures are the bundle's."""

import numpy as np

from app.models.bundle import Intensity
from app.types import Volume


def normalise(volume: Volume, intensity: Intensity) -> Volume:
    """A new float32 array of the shape of `volume` (HU, any shape, only read)."""
    clipped = np.clip(volume, intensity.low, intensity.high)
    clipped -= np.float32(intensity.mean)
    clipped /= np.float32(intensity.deviation)
    return clipped
