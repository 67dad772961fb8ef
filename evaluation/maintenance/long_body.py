"""Long body: 1070 mm of a body out of one scan of an abdomen, as many slices as wanted."""

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.files.read import Scan
from app.types import Voxels

LENGTH_MM, CHEST_MM, LEGS_MM = 1070.0, 180.0, 40.0
NOISE_HU, SEED = 8.0, 0
HU = (-1024, 3071)  # of 12 bits, as scanners store them


def height_in_source(z: float, height: float) -> float:
    """What stands at `z`, of a source that reaches from 0 to `height`: both in mm above the source's first slice.

    >>> [height_in_source(z, 300.0) for z in (-90, -50, -10, 0, 120, 300, 310, 480)]
    [10.0, 30.0, 10.0, 0.0, 120.0, 300.0, 290.0, 120.0]
    """
    if z < 0:
        z = -z % (2 * LEGS_MM)
        return float(min(z, 2 * LEGS_MM - z))
    return float(min(z, 2 * height - z))


def lengthened(voxels: Voxels, spacing_z: float, slices: int) -> NDArray[np.int16]:
    """`voxels` (z, y, x; HU, only read; mm between slices) as a body of `slices` slices.

    ValueError: one slice, or too little or too much of a body to be lengthened.
    """
    height = (len(voxels) - 1) * spacing_z
    below = LENGTH_MM - CHEST_MM - height
    if height < CHEST_MM or below < 0:
        raise ValueError(f"{height:g} mm of body, needs {CHEST_MM:g} to {LENGTH_MM - CHEST_MM:g}")
    rng = np.random.default_rng(SEED)
    body = np.empty((slices, *voxels.shape[1:]), np.int16)
    for k in range(slices):
        at = height_in_source(k * LENGTH_MM / slices - below, height) / spacing_z
        low = min(int(at), len(voxels) - 2)
        plane = voxels[low] * np.float32(1 - (at - low)) + voxels[low + 1] * np.float32(at - low)
        body[k] = np.rint(plane + rng.normal(0, NOISE_HU, plane.shape)).clip(*HU)
    return body


def save(body: NDArray[np.int16], source: Scan, path: Path) -> None:
    """As a CT scanner stores it, axes to the left, the back and the head, of the spacing that its length asks for."""
    _, y, x = source.grid.spacing
    affine = np.diag([-x, -y, LENGTH_MM / len(body), 1.0])
    nib.save(nib.Nifti1Image(body.transpose(2, 1, 0), affine), path)
