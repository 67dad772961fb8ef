"""Write: a mask as `.nii.gz` with the header of its scan. Masks (z, y, x), uint8.

Written beside the target and renamed into place, so that a mask that is there is whole.
"""

import os
import secrets
from pathlib import Path
from typing import cast

import numpy as np
from isal import igzip

from app.orientation import Orientation
from app.read import Header
from app.types import Labels

GZIP_LEVEL = 1  # of isal's 0..3; a mask is mostly zeros: higher levels save little and cost time


def write(mask: Labels, path: Path, header: Header, orientation: Orientation) -> None:
    """The mask in the file's own axis order, shape, affine, sform, qform and codes.

    header: of the scan, only read. Raises OSError if the folder cannot be written to; nothing is left behind then.
    """
    stored = orientation.to_file(mask)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # two containers may share the folder
    try:
        with partial.open("xb") as raw, igzip.IGzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as file:
            file.write(_mask_header(header).binaryblock + bytes(4))  # four zero bytes: no extensions
            for k in range(stored.shape[2]):
                file.write(stored[:, :, k].tobytes(order="F"))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _mask_header(header: Header) -> Header:
    """A little-endian copy of the scan's header for uint8 voxels without scaling."""
    ours = header.as_byteswapped("<")
    ours.set_data_dtype(np.uint8)
    ours.set_slope_inter(1, 0)
    ours["vox_offset"] = ours.sizeof_hdr + 4
    ours["cal_min"] = ours["cal_max"] = 0  # a display range in HU means nothing here
    return cast(Header, ours)
