"""Write: a mask as `.nii.gz` with the header of its scan. Masks (z, y, x), uint8.

Written beside the target and renamed into place, so that a mask that is there is whole. Where renaming does not work,
as on some network file systems, it is written straight into its place, and removed if that fails.

The name inside its gzip file says that Viscera wrote it: nothing else is ever replaced by itself. Whatever program
stores an edited mask again writes a gzip file of its own, so that a mask corrected by hand does not count as ours.
"""

import os
import secrets
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from isal import igzip

from app import __version__
from app.errors import CaseError
from app.files.orientation import Orientation
from app.files.read import Header
from app.types import Labels

# RFC 1952: deflate, and a name from byte 10 on. No time, which gzip would write beside a name that gunzip -N gave back
GZIP_WITH_NAME = b"\x1f\x8b\x08\x08\0\0\0\0"
NAME_AT = 10
MARK = "viscera mask "  # the name; the version follows
GZIP_LEVEL = 1  # of isal's 0..3; a mask is mostly zeros: higher levels save little and cost time


def write(
    mask: Labels,
    path: Path,
    header: Header,
    orientation: Orientation,
    *,
    overwrite: bool = False,
    renames: bool = True,
) -> None:
    """The mask in the file's own axis order, shape, affine, sform, qform and codes.

    header: of the scan, only read. overwrite: as in `check_target`. renames: as `can_rename` says of the folder. Raises
    CaseError if the mask cannot be written; nothing is left behind then.
    """
    stored = orientation.to_file(mask)
    try:
        if renames:
            _write_beside(stored, path, header, overwrite=overwrite)
        else:
            _write_in_place(stored, path, header, overwrite=overwrite)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def can_rename(folder: Path) -> bool:
    """Whether a file there can take the place of another, which is tried. OSError where none can be written."""
    first, second = _partial(folder), _partial(folder)
    try:
        for path in (first, second):
            path.write_bytes(b"\0")
        try:
            os.replace(first, second)
        except OSError:
            return False
        return True
    finally:
        for path in (first, second):
            path.unlink(missing_ok=True)


def check_target(path: Path, *, overwrite: bool) -> None:
    """CaseError where a mask must not go: to what Viscera did not write, unless `overwrite`; where no file can be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_be_written(path, error) from error
    if not overwrite and not is_replaceable(path):
        raise CaseError(
            f"{path.name}: exists and was not written by viscera; choose another output folder, or say --overwrite"
        )


def is_replaceable(path: Path) -> bool:
    """Whether what is there may be lost: an empty file, or a mask that bears our mark. Anything else is another's."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(NAME_AT + len(MARK))
    except OSError:
        return False
    return not start or (start.startswith(GZIP_WITH_NAME) and start[NAME_AT:] == MARK.encode())


def _write_beside(stored: Labels, path: Path, header: Header, *, overwrite: bool) -> None:
    partial = _partial(path.parent)
    try:
        with partial.open("xb") as raw:
            _write_to(raw, stored, header)
        check_target(path, overwrite=overwrite)  # again: another program may have come first since the case began
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _write_in_place(stored: Labels, path: Path, header: Header, *, overwrite: bool) -> None:
    check_target(path, overwrite=overwrite)
    path.unlink(missing_ok=True)  # as a renaming would: what a link leads to stays as it is
    raw = path.open("xb")
    try:
        with raw:
            _write_to(raw, stored, header)
    except BaseException:  # a container that is stopped, too
        path.unlink(missing_ok=True)
        raise


def _write_to(raw: BinaryIO, stored: Labels, header: Header) -> None:
    with igzip.IGzipFile(MARK + __version__, "wb", GZIP_LEVEL, raw, mtime=0) as file:
        file.write(_mask_header(header).binaryblock + bytes(4))  # four zero bytes: no extensions
        for k in range(stored.shape[2]):
            file.write(stored[:, :, k].tobytes(order="F"))


def _partial(folder: Path) -> Path:
    """A name that nobody else has; two containers may share the folder."""
    return folder / f".{secrets.token_hex(8)}.partial"


def _cannot_be_written(path: Path, error: OSError) -> CaseError:
    return CaseError(f"{path.name}: cannot be written: {error.strerror or error}")


def _mask_header(header: Header) -> Header:
    """A little-endian copy of the scan's header for uint8 voxels without scaling."""
    ours = header.as_byteswapped("<")
    ours.set_data_dtype(np.uint8)
    ours.set_slope_inter(1, 0)
    ours["vox_offset"] = ours.sizeof_hdr + 4
    ours["cal_min"] = ours["cal_max"] = 0  # a display range in HU means nothing here
    return cast(Header, ours)
