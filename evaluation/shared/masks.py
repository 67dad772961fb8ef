"""Masks: label maps from NIfTI files, as uint8 arrays (x, y, z) as in the file.

What the organisers' script would cut down to uint8 without a word (fractions, negative values) is refused; what scaling
has left a little off a whole number is that number.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from app.errors import VisceraError
from app.files.cases import CHANNEL
from app.files.labels import whole_labels

MASK_ENDING = ".nii.gz"  # the organisers look for no other
LabelMap: TypeAlias = NDArray[np.uint8]  # (x, y, z)
AFFINE_TOLERANCE_MM = 1e-3  # float32 headers of one grid differ by less
ISAL_ERROR = cast("type[Exception]", isal_zlib.error)  # its stub says that it is an instance
DAMAGED = (OSError, EOFError, ValueError, zlib.error, ISAL_ERROR)  # of files that are cut or changed
NO_NIFTI = (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError)
BLOCK = 1 << 24  # bytes


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A file's header. spacing: mm along (x, y, z)."""

    path: Path
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: NDArray[np.float64]

    @property
    def case(self) -> str:
        return self.path.name.removesuffix(MASK_ENDING)

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing) / 1000


def mask_paths(folder: Path, *, some: bool = False) -> list[Path]:
    """`NAME.nii.gz` in `folder` by name; scans (`NAME_0000.nii.gz`) and hidden files are no masks.

    some: VisceraError where there is none.
    """
    names = sorted(path for path in folder.glob(f"*{MASK_ENDING}") if not path.name.startswith("."))
    paths = [path for path in names if not path.name.endswith(CHANNEL + MASK_ENDING)]
    if some and not paths:
        raise VisceraError(f"{folder}: no masks NAME{MASK_ENDING} here")
    return paths


def open_mask(path: Path) -> MaskFile:
    """Its header; VisceraError names a file that is damaged, or is no NIfTI file of three axes."""
    _check_whole(path)
    image = _load(path)
    if len(image.shape) != 3 or min(image.shape) < 1:
        raise VisceraError(f"{path}: shape {image.shape}, a mask has 3 axes with voxels on each")
    spacing = tuple(float(length) for length in image.header.get_zooms())
    if not all(math.isfinite(length) and length > 0 for length in spacing):
        raise VisceraError(f"{path}: its spacing {spacing} mm is not positive on every axis")
    return MaskFile(path, image.shape, spacing, np.asarray(image.affine))


def read_labels(file: MaskFile) -> LabelMap:
    """Its voxels as uint8. VisceraError where they cannot be read or do not hold labels."""
    try:
        voxels: NDArray[Any] = np.asanyarray(_load(file.path).dataobj)
    except DAMAGED as error:
        raise VisceraError(f"{file.path}: its voxels cannot be read, the file is damaged ({error})") from error
    if voxels.dtype.kind not in "buif":
        raise VisceraError(f"{file.path}: voxels of type {voxels.dtype} are not labels")
    try:
        return whole_labels(voxels)
    except ValueError as error:
        raise VisceraError(f"{file.path}: {error}") from error


def affine_difference(first: MaskFile, second: MaskFile) -> float:
    """How far apart, in mm, the two files say that the corners of the volume lie, at the most."""
    corners = np.array(np.meshgrid(*[(0, size - 1) for size in first.shape])).reshape(3, -1)
    points = np.vstack([corners, np.ones(corners.shape[1])])
    apart = (first.affine @ points - second.affine @ points)[:3]
    return float(np.linalg.norm(apart, axis=0).max())


def _check_whole(path: Path) -> None:
    """The sum at the end of a gzip file, which nibabel does not read: a flipped bit would be scored."""
    try:
        with igzip.open(path) as file:
            while file.read(BLOCK):
                pass
    except DAMAGED as error:
        raise VisceraError(f"{path}: cannot be read, the file is damaged ({error})") from error


def _load(path: Path) -> nib.Nifti1Image:
    try:
        return cast(nib.Nifti1Image, nib.load(path))
    except (*DAMAGED, *NO_NIFTI) as error:
        raise VisceraError(f"{path}: cannot be read as NIfTI ({error})") from error
