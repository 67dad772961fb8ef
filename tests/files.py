"""Files that tests make: small NIfTI scans with any header."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # as the challenge's scans lie


def lps_affine(spacing_xyz=(0.8, 0.9, 2.5), origin=(100.0, 120.0, -300.0)):
    affine = LPS @ np.diag([*spacing_xyz, 1.0])
    affine[:3, 3] = origin
    return affine


def save_nifti(path, voxels_xyz, affine=None, *, codes=(1, 1), scaling=None, kind=nib.Nifti1Image, **fields):
    """`voxels_xyz` in the file's own axis order; `fields` go into the header as they are, however wrong."""
    affine = lps_affine() if affine is None else affine
    image = kind(voxels_xyz, affine)
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    if scaling is not None:
        image.header.set_slope_inter(*scaling)
    header = image.header
    header["vox_offset"] = header.sizeof_hdr + 4
    for name, value in fields.items():
        header[name] = value
    raw = header.binaryblock + bytes(4) + np.asfortranarray(voxels_xyz).tobytes(order="F")
    Path(path).write_bytes(gzip.compress(raw, 1) if str(path).endswith(".gz") else raw)
    return Path(path)


def body_phantom(shape_xyz=(60, 50, 30)):
    """Air with an ellipsoid of soft tissue, int16 HU, axes as in the file."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape_xyz), indexing="ij")
    return np.where(x**2 + y**2 + z**4 < 0.8, 40, -1000).astype(np.int16)


def texts(notices):
    """What a person reads of warnings."""
    return [notice.text for notice in notices]
