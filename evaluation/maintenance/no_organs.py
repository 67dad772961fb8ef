"""No organs: scans without an organ: slices beyond the labels of a scan, air, a cylinder of water."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from app.types import AIR
from evaluation.shared.masks import open_mask, read_labels

PHANTOM_SHAPE = (160, 160, 60)  # x, y, z
PHANTOM_SPACING = (2.2, 2.2, 5.0)


@dataclass(frozen=True, slots=True)
class Slab:
    """Slices of a scan beyond its labels.

    case: "train/NAME" or "val/NAME". shows: what of the body, in a word. above: of the highest label, else below the
    lowest. start_mm, stop_mm: how far beyond it; to the scan's end without `stop_mm`.
    """

    case: str
    shows: str
    above: bool
    start_mm: float = 0
    stop_mm: float | None = None

    @property
    def name(self) -> str:
        """Of the scan that it becomes."""
        return f"{Path(self.case).name}_{self.shows}"


def write_slab(data: Path, slab: Slab, folder: Path) -> None:
    """The slab as a scan of its own in `folder`. ValueError where the scan does not reach so far."""
    scan = nib.nifti1.load(data / f"{slab.case}_0000.nii.gz")
    first, last = label_range(read_labels(open_mask(data / f"{slab.case}.nii.gz")))
    beyond = scan.shape[2] - 1 - last if slab.above else first
    spacing_mm = float(scan.header.get_zooms()[2])
    near = round(slab.start_mm / spacing_mm)
    far = beyond if slab.stop_mm is None else round(slab.stop_mm / spacing_mm)
    if not near < far <= beyond:
        raise ValueError(f"{slab.case}: has {beyond * spacing_mm:.0f} mm beyond its labels, too few for {slab.shows}")
    slices = slice(last + 1 + near, last + 1 + far) if slab.above else slice(first - far, first - near)
    nib.save(scan.slicer[:, :, slices], folder / f"{slab.name}_0000.nii.gz")


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
