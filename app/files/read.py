"""Read: a NIfTI file to a Scan, voxels (z, y, x) in HU with their own grid.

The header goes through nibabel, which keeps it whole: the mask has to leave with the same sform, qform and codes, and
ITK refuses headers that are common in practice (direction cosines that are not orthonormal). Orientation is a view,
never a copy.
"""

import math
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from app.errors import CaseError
from app.files import packed
from app.files.foreign import LOOKED_AT, kind_of
from app.files.hounsfield import to_hounsfield, to_stored_values
from app.files.orientation import Orientation, orientation_of
from app.grid import Grid
from app.notice import Notice, Verdict
from app.types import Voxels

Header = nib.Nifti1Header  # Nifti2Header is a subclass of it
Found = TypeVar("Found")

HEADER_SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
MAGICS = (b"n+1", b"n+2")
SPACING_TOLERANCE = 0.01  # relative; writers round the affine and the voxel sizes differently
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
LARGEST_OFFSET = 1 << 30  # bytes; extensions before the voxels are text and take kilobytes
SINGULAR = 1e-3  # volume of the cell over that of the right-angled one: axes less than a tenth of a degree apart
MM_PER_UNIT = {1: 1000.0, 3: 0.001}  # NIfTI's codes for metre and micron; 2 is mm, 0 unknown
BODY_MM = (10.0, 5000.0)  # the longest side of a scan of a body, or of a part of it
NO_HEADER = "not a NIfTI file (it does not begin with a NIfTI header); export it as .nii.gz"
AS_SCANNED = "axes taken as a CT scanner stores them (left, back, head), with the header's voxel sizes"


@dataclass(frozen=True, slots=True)
class Scan:
    """voxels: (z, y, x) HU, int16 or float32, a view on the file's order. header: the file's own, unchanged.

    steps: (3, 3), column by column how far one voxel along z, y and x goes along the body's, mm; diagonal, or nearly
    so, where the scan lies straight. voxel_ml: millilitres of one voxel, fewer than its sides say where axes are
    sheared.
    """

    path: Path
    voxels: Voxels
    grid: Grid
    steps: NDArray[np.float64]
    orientation: Orientation
    header: Header
    voxel_ml: float
    warnings: tuple[Notice, ...]


def read(path: Path, *, memory_limit: int | None = None, as_it_is: bool = False) -> Scan:
    """The scan in a `.nii` or `.nii.gz` file.

    Any orientation and spacing, integer, float and scaled voxels. What is odd but usable is said in `warnings`.
    memory_limit: bytes that this process may use, where known; a scan that cannot fit is refused before it is loaded.
    as_it_is: values that cannot be HU are left, and voxel sizes are the header's to the last bit where they are those
    of its affine: as other programs read it.

    Raises CaseError, naming the file, for what cannot be segmented: not a NIfTI, truncated, not 3-D, bad spacing.
    """
    (header, raw), packing = _opened(path, lambda file: _read_all(file, path, memory_limit))
    axes, warnings = _axes(header, raw.shape)
    orientation = orientation_of(axes)
    voxels, more = (to_stored_values if as_it_is else to_hounsfield)(raw, *_scaling(header))
    lengths = [float(np.linalg.norm(axes[:, axis])) for axis in range(3)]
    if as_it_is and np.allclose(lengths, _sizes(header), rtol=SPACING_TOLERANCE):
        lengths = [float(mm) for mm in _sizes(header)]
    z, y, x = (lengths[axis] for axis in orientation.axes)
    body = orientation.to_body(voxels)
    nz, ny, nx = body.shape
    return Scan(
        path=path,
        voxels=body,
        grid=Grid((nz, ny, nx), (z, y, x)),
        steps=orientation.steps(axes),
        orientation=orientation,
        header=header,
        voxel_ml=abs(float(np.linalg.det(axes))) / 1000,
        warnings=(*packing, *warnings, *more),
    )


def read_header(path: Path) -> Header:
    """Only the header, unchecked: for a report about a scan that could not be read. CaseError if there is none."""
    header, _ = _opened(path, lambda file: _read_header(file, path))
    return header


def _opened(path: Path, use: Callable[[BinaryIO], Found]) -> tuple[Found, list[Notice]]:
    """What `use` makes of the open file; what the system or the decompressor has against it becomes a CaseError.

    Where that is something behind the last whole member of a gzip file, it is used once more, without that.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write into it
            raise CaseError(f"{path.name}: not a regular file")
        if (found := _tried(path, use)) is not None:
            return found, []
        whole = packed.whole_members(path)
        if whole is not None and (found := _tried(path, use, whole)) is not None:
            text = f"{path.stat().st_size - whole} bytes behind the gzip data are no part of them; left out"
            return found, [Notice("trailing-bytes", text)]
    except OSError as error:
        raise CaseError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    raise CaseError(f"{path.name}: cannot be read: its gzip data are truncated or damaged; copy or export it again")


def _tried(path: Path, use: Callable[[BinaryIO], Found], packed_bytes: int | None = None) -> Found | None:
    """None where the decompressor gave up."""
    try:
        with packed.unpacked(path, packed_bytes) as file:
            return use(file)
    except packed.ERRORS:  # type: ignore[misc]  # isal's stub declares an instance
        return None


def _read_all(file: BinaryIO, path: Path, memory_limit: int | None) -> tuple[Header, NDArray[np.generic]]:
    header = _read_header(file, path)
    shape = _check_header(header, path)
    _check_memory(header, shape, path, memory_limit)
    return header, _read_voxels(file, header, shape, path)


def _read_header(file: BinaryIO, path: Path) -> Header:
    start = file.read(4)
    if len(start) < 4:
        raise CaseError(f"{path.name}: the file holds {len(start)} bytes, not a NIfTI image")
    sizes = {order: struct.unpack(f"{order}i", start)[0] for order in "<>"}
    order = next((order for order, size in sizes.items() if size in HEADER_SIZES), None)
    if order is None:
        kind = kind_of(start + file.read(LOOKED_AT - len(start)))
        raise CaseError(f"{path.name}: not a NIfTI file but {kind}" if kind else f"{path.name}: {NO_HEADER}")
    version = HEADER_SIZES[sizes[order]]
    rest = file.read(version.sizeof_hdr - 4)
    if len(rest) < version.sizeof_hdr - 4:
        raise CaseError(f"{path.name}: truncated inside its header; copy or export it again")
    return version(start + rest, order, check=False)  # type: ignore[no-untyped-call]


def _check_header(header: Header, path: Path) -> tuple[int, int, int]:
    """The shape of the one volume in the file's axis order (x, y, z as a rule). CaseError for what is no 3-D scan."""
    if bytes(header["magic"])[:3] not in MAGICS:
        raise CaseError(f"{path.name}: not a single-file NIfTI (.hdr/.img pairs: convert to .nii.gz first)")
    rank = int(header["dim"][0])
    if not 1 <= rank <= 7:
        raise CaseError(f"{path.name}: damaged header, {rank} axes; export it again")
    shape = tuple(int(n) for n in header["dim"][1 : rank + 1])
    if rank < 3 or any(n != 1 for n in shape[3:]):  # one volume of one time point is 3-D, whatever its rank
        several = rank > 3 and math.prod(shape[3:]) > 1
        advice = "split the time points and pass them one by one" if several else "save it as one 3-D volume"
        raise CaseError(f"{path.name}: {rank} axes {shape}, needs 3; {advice}")
    if min(shape) < 1:
        raise CaseError(f"{path.name}: no voxels, shape {shape}")
    if not _has_sizes(header) and _sform(header) is None:
        sizes = _numbers(_sizes(header))
        raise CaseError(f"{path.name}: voxel spacing {sizes} mm, each must be above zero; fix the header")
    try:
        kind = header.get_data_dtype().kind
    except (HeaderDataError, KeyError):
        kind = "?"
    if kind not in "iuf":
        raise CaseError(f"{path.name}: data type code {int(header['datatype'])} is not one number per voxel")
    nx, ny, nz, *_ = shape
    return nx, ny, nz


def _check_memory(header: Header, shape: tuple[int, ...], path: Path, limit: int | None) -> None:
    """Refuse what the container's limit would kill without a word, before it is loaded.

    Counted are the stored voxels, their conversion to float32 unless they are int16, two copies on the way to ITK
    (one where the file's axes are already in order) and the mask.
    """
    dtype = header.get_data_dtype()
    held = 0 if dtype == np.int16 else 4
    needed = math.prod(shape) * (dtype.itemsize + held + 2 * (held or 2) + 1)
    if limit is not None and needed > limit:
        raise CaseError(
            f"{path.name}: {shape} voxels need {needed / 2**30:.3g} GB, "
            f"more than the {limit / 2**30:.3g} GB allowed here; raise the memory limit"
        )


def _read_voxels(file: BinaryIO, header: Header, shape: tuple[int, ...], path: Path) -> NDArray[np.generic]:
    """Stored values in the file's axis order (Fortran order), read straight into the array that holds them."""
    offset = float(header["vox_offset"])
    skip = int(offset) - header.sizeof_hdr if 0 <= offset < LARGEST_OFFSET else -1
    if skip < 0 or len(file.read(skip)) < skip:
        raise CaseError(f"{path.name}: damaged header, voxels said to start at byte {offset:g}; export it again")
    needed = math.prod(shape) * header.get_data_dtype().itemsize
    try:
        flat = np.empty(needed, np.uint8)
    except (MemoryError, ValueError) as error:
        raise CaseError(f"{path.name}: {shape} voxels do not fit into memory") from error
    view = memoryview(flat.data)
    filled = 0
    while filled < needed and (count := file.readinto(view[filled:])):  # type: ignore[attr-defined]
        filled += count
    if filled < needed:
        raise CaseError(f"{path.name}: truncated, {filled} of {needed} bytes of voxels; copy or export it again")
    while file.read(1 << 20):  # to the end, where gzip checks its sum
        pass
    stored: NDArray[np.generic] = flat.view(header.get_data_dtype()).reshape(shape, order="F")
    return stored


def _scaling(header: Header) -> tuple[float, float]:
    """slope and intercept; (1, 0) where the header has none or nonsense (NIfTI: a slope of 0 means none)."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    return slope, intercept if math.isfinite(intercept) else 0.0


def _axes(header: Header, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], list[Notice]]:
    """Directions of the file's axes, (3, 3), columns in mm (RAS+): of the sform, else the qform, else as scanned.

    Where the volume lies is not looked at; no step needs it, and the mask keeps it.
    """
    sform, qform = _sform(header), _qform(header)
    unsized = []
    if not _has_sizes(header):
        text = f"voxel sizes {_numbers(_sizes(header))} mm are none; taken from the sform"
        unsized.append(Notice("pixdim", text))
    axes = next((form for form in (sform, qform) if form is not None), None)
    scale, converted = _unit(header, _scanner_order(header) if axes is None else axes, shape)
    if axes is None:
        guessed = Notice("no-orientation", f"the header has no usable orientation; {AS_SCANNED}", Verdict.CHECK)
        return _scanner_order(header) * scale, [guessed, *converted]
    warnings = [*unsized, *converted]
    if sform is None and header["sform_code"] > 0:
        text = "the header's sform is not finite or singular; the qform is used"
        warnings.append(Notice("sform-damaged", text, Verdict.CHECK))
    if sform is not None and qform is not None and orientation_of(sform) != orientation_of(qform):
        text = "sform and qform contradict each other; the sform is used"
        warnings.append(Notice("forms-contradict", text, Verdict.CHECK))
    lengths, sizes = np.linalg.norm(axes, axis=0), _sizes(header)
    if not unsized and np.abs(lengths / sizes - 1).max() > SPACING_TOLERANCE:
        text = f"voxel sizes {_numbers(sizes)} mm differ from the affine's {_numbers(lengths)} mm; taken from it"
        warnings.append(Notice("spacings-differ", text, Verdict.CHECK))
    return axes * scale, warnings


def _unit(header: Header, axes: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[float, list[Notice]]:
    """mm of the header's unit of length, and a warning unless it is mm; one in which no body is one is not believed."""
    scale = MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    longest = float((np.linalg.norm(axes, axis=0) * shape).max())
    if scale == 1:
        return 1.0, []
    if BODY_MM[0] <= longest <= BODY_MM[1] and not BODY_MM[0] <= longest * scale <= BODY_MM[1]:
        text = f"the header's unit of length makes the scan {longest * scale:.3g} mm long; taken as mm"
        return 1.0, [Notice("unit-disbelieved", text)]
    return scale, [Notice("unit", "the header's unit of length is not mm; converted")]


def _sform(header: Header) -> NDArray[np.float64] | None:
    axes = np.array([header[name][:3] for name in ("srow_x", "srow_y", "srow_z")], np.float64)
    return axes if header["sform_code"] > 0 and _is_usable(axes) else None


def _qform(header: Header) -> NDArray[np.float64] | None:
    """By nibabel, once what it refuses and others read is put right: pixdim[0] of 0 means 1, rounding of the
    quaternion is taken off."""
    if header["qform_code"] <= 0 or not _has_sizes(header):  # of which it is made
        return None
    tidy = header.copy()
    tidy["pixdim"][0] = -1 if header["pixdim"][0] == -1 else 1
    quaternion = np.array([header[name] for name in QUATERNION], np.float64)
    if not np.isfinite(quaternion).all():
        return None
    quaternion /= max(1.0, float(np.linalg.norm(quaternion)) * (1 + 1e-7))
    for name, value in zip(QUATERNION, quaternion, strict=True):
        tidy[name] = value
    axes = np.asarray(tidy.get_qform()[:3, :3], np.float64)
    return axes if _is_usable(axes) else None


def _is_usable(axes: NDArray[np.float64]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        volume, lengths = np.linalg.det(axes), np.linalg.norm(axes, axis=0)
        return bool(np.isfinite(volume) and np.isfinite(lengths).all() and abs(volume) > SINGULAR * lengths.prod())


def _scanner_order(header: Header) -> NDArray[np.float64]:
    """The order in which CT scanners store: to the patient's left, to the back, to the head."""
    return np.diag(_sizes(header) * (-1, -1, 1))


def _sizes(header: Header) -> NDArray[np.float64]:
    """Of a voxel along the file's axes, in the header's unit, as it says."""
    return np.asarray(header["pixdim"][1:4], np.float64)


def _has_sizes(header: Header) -> bool:
    """Whether what it says can be one: NaN is not above zero either."""
    return all(0 < size < math.inf for size in _sizes(header))


def _numbers(values: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
