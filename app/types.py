"""Types: the shapes that data has between the steps, each with its axes named."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

AIR = -1024  # HU; what lies outside the field of view, and what NaN and infinite voxels are taken as

Shape: TypeAlias = tuple[int, int, int]  # voxels along z, y, x
Spacing: TypeAlias = tuple[float, float, float]  # mm along z, y, x
Voxels: TypeAlias = NDArray[Any]  # (z, y, x) HU, int16 or float32
Volume: TypeAlias = NDArray[np.float32]  # (z, y, x) resampled or normalised intensities
Scores: TypeAlias = NDArray[Any]  # (class, z, y, x), not softmaxed as a rule: float32, or quantised int8 and int16
Labels: TypeAlias = NDArray[np.uint8]  # (z, y, x) ids of the bundle's labels, 0 background
