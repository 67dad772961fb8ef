"""No organs: scans without an organ: slices beyond the labels of a scan, air, a cylinder of water."""

from pathlib import Path

import nibabel as nib
import numpy as np

from app.types import AIR
from evaluation.shared.masks import open_mask, read_labels

PHANTOM_SHAPE = (160, 160, 60)  # x, y, z
PHANTOM_SPACING = (2.2, 2.2, 5.0)


def write_slab(data: Path, case: str, *, above: bool, folder: Path) -> None:
    """The slices of `case` beyond its labels as a scan of its own in `folder`."""
    scan = nib.nifti1.load(data / f"{case}_0000.nii.gz")
    first, last = label_range(read_labels(open_mask(data / f"{case}.nii.gz")))
    slices = slice(last + 1, None) if above else slice(0, first)
    part = scan.slicer[:, :, slices]
    side = "above" if above else "below"
    nib.save(part, folder / f"{Path(case).name}_{side}_0000.nii.gz")


def label_range(labels: np.ndarray) -> tuple[int, int]:
    """First and last slice (x, y, z) that shows an organ."""
    found = np.flatnonzero(labels.any(axis=(0, 1)))
    return int(found[0]), int(found[-1])


def write_phantoms(folder: Path) -> None:
    """A scan of nothing but air, and one of a cylinder of water."""
    air = np.full(PHANTOM_SHAPE, AIR, np.int16)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in PHANTOM_SHAPE[:2]), indexing="ij")
    water = air.copy()
    water[x**2 + y**2 < 0.4] = 0
    affine = np.diag([-PHANTOM_SPACING[0], -PHANTOM_SPACING[1], PHANTOM_SPACING[2], 1])
    for name, voxels in (("air", air), ("water", water)):
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}_0000.nii.gz")
