"""Damages: what scans in real folders suffer, one plain function each. Voxels (x, y, z) in the file's own order, HU.

Each takes a sample and gives another one, so that several may follow each other. A sample knows the way back from its
voxels to those of the undamaged scan.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from isal import igzip
from numpy.typing import NDArray

from app.types import AIR
from evaluation.maintenance.no_organs import label_range

BODY = -200  # HU; a column of voxels that is below it all over is beside the body
PADDING = (30, 30, 20)  # voxels on each side
MARGIN_MM = 15
SLICES = 10
WINDOW = (-160, 240)  # HU
UNITS, PIXDIM, QFORM_CODE, SROW = 123, slice(80, 92), slice(252, 254), slice(280, 328)  # bytes of a NIfTI-1 header
MICRON = 3


class NoSuchPart(ValueError):
    """A scan lacks what a damage would cut out of it."""


@dataclass(frozen=True)
class Sample:
    """A scan, damaged or not. to_scan: (4, 4), from its voxels to those of the undamaged scan. organs: its mask.

    header: by the first byte of a field in the file, other bytes for it. behind: bytes after the end of the gzip.
    """

    voxels: NDArray[np.generic]
    affine: NDArray[np.float64]
    organs: NDArray[np.uint8]
    to_scan: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    header: tuple[tuple[int, bytes], ...] = ()
    behind: bytes = b""

    @property
    def spacing(self) -> NDArray[np.float64]:
        """mm along x, y, z of the file."""
        spacing: NDArray[np.float64] = np.linalg.norm(self.affine[:3, :3], axis=0)
        return spacing

    @property
    def voxel_ml(self) -> float:
        """Of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def write(self, path: Path) -> None:
        """As NIfTI-1, gzipped; sform and qform alike, unless the header says otherwise."""
        image = nib.Nifti1Image(self.voxels, self.affine)
        image.set_qform(self.affine, 1)
        image.set_sform(self.affine, 1)
        raw = bytearray(image.to_bytes())
        for start, content in self.header:
            raw[start : start + len(content)] = content
        path.write_bytes(igzip.compress(bytes(raw), 1) + self.behind)


Damage = Callable[[Sample], Sample]


def in_order(sample: Sample, order: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Sample:
    """The voxels in another order, the header as it was."""
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    back = np.zeros((4, 4))
    back[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        back[old, new], back[old, 3] = (-1, sample.voxels.shape[old] - 1) if flip else (1, 0)
    return replace(
        sample,
        voxels=np.ascontiguousarray(sample.voxels.transpose(order)[steps]),
        organs=np.ascontiguousarray(sample.organs.transpose(order)[steps]),
        to_scan=sample.to_scan @ back,
    )


def diagonal_header(sample: Sample) -> Sample:
    """Axes to the right, the front and the head, whatever the voxels' order is."""
    return replace(sample, affine=np.diag([*sample.spacing, 1.0]))


def wrong_sform(sample: Sample) -> Sample:
    """A diagonal sform beside a qform that is right."""
    rows = np.hstack([np.diag(sample.spacing), np.zeros((3, 1))]).astype("<f4").tobytes()
    return replace(sample, header=(*sample.header, (SROW.start, rows)))


def micron(sample: Sample) -> Sample:
    """The header's unit of length is a thousandth of a millimetre."""
    return replace(sample, header=(*sample.header, (UNITS, bytes([MICRON]))))


def no_pixdim(sample: Sample) -> Sample:
    """Voxel sizes of 0 and no qform, beside a good sform."""
    return replace(sample, header=(*sample.header, (PIXDIM.start, bytes(12)), (QFORM_CODE.start, bytes(2))))


def fourth_axis(sample: Sample) -> Sample:
    """One volume, in a file of four axes."""
    return replace(sample, voxels=sample.voxels[..., None])


def rubbish_behind(sample: Sample) -> Sample:
    """Bytes after a whole gzip file."""
    return replace(sample, behind=b"rubbish" * 9)


def oblique(sample: Sample, axis: int, degrees: float) -> Sample:
    """Slices turned about an axis of the body (x, y, z), as a planner may lay them; the header says so."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    a, b = (other for other in range(3) if other != axis)
    turn = np.eye(3)
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cosine, -sine, sine, cosine
    return _resampled(sample, turn @ sample.affine[:3, :3])


def tilted_gantry(sample: Sample, degrees: float) -> Sample:
    """Each slice shifted against the one below; the header says so."""
    axes = sample.affine[:3, :3].copy()
    axes[:, 2] += axes[:, 1] / sample.spacing[1] * sample.spacing[2] * np.tan(np.radians(degrees))
    return _resampled(sample, axes)


def _resampled(sample: Sample, axes: NDArray[np.float64]) -> Sample:
    """On other axes about the same middle; air where the scan has nothing."""
    middle = (np.array(sample.voxels.shape[:3]) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = sample.affine[:3] @ [*middle, 1] - axes @ middle
    back = np.linalg.inv(sample.affine) @ affine
    return replace(
        sample,
        voxels=np.rint(at(sample.voxels, back, sample.voxels.shape, AIR, sitk.sitkLinear)).astype(np.int16),
        organs=at(sample.organs, back, sample.organs.shape, 0).astype(np.uint8),
        affine=affine,
        to_scan=sample.to_scan @ back,
    )


def at(
    voxels: NDArray[np.generic],
    matrix: NDArray[np.float64],
    shape: tuple[int, ...],
    outside: float,
    interpolator: int = sitk.sitkNearestNeighbor,
) -> NDArray[np.generic]:
    """`voxels` (x, y, z) at each index of `shape`, brought to theirs by `matrix` (4, 4)."""
    kind = np.float32 if interpolator == sitk.sitkLinear else voxels.dtype
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T.astype(kind)))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel().tolist())
    transform.SetTranslation(matrix[:3, 3].tolist())
    target = sitk.Image([int(n) for n in shape[:3]], image.GetPixelID())
    result: NDArray[np.generic] = sitk.GetArrayFromImage(
        sitk.Resample(image, target, transform, interpolator, float(outside))
    ).T
    return result


def circle_of(sample: Sample, value: int) -> Sample:
    """A value in place of air outside the circle of reconstruction."""
    nx, ny, _ = sample.voxels.shape
    x, y = np.meshgrid(np.arange(nx) - (nx - 1) / 2, np.arange(ny) - (ny - 1) / 2, indexing="ij")
    outside = (np.hypot(x, y) > max(nx, ny) / 2) & (sample.voxels.max(2) < BODY)
    return replace(sample, voxels=np.where(outside[..., None], np.int16(value), sample.voxels))


def padded_with(sample: Sample, value: int) -> Sample:
    """A value around the scan on every side."""
    sides = [(n, n) for n in PADDING]
    shift = _shift([-n for n in PADDING])
    return replace(
        sample,
        voxels=np.pad(sample.voxels, sides, constant_values=value),
        organs=np.pad(sample.organs, sides),
        affine=sample.affine @ shift,
        to_scan=sample.to_scan @ shift,
    )


def stored_with_offset(sample: Sample, offset: int, kind: type[np.generic]) -> Sample:
    """So much too high, or too low, in another type."""
    return replace(sample, voxels=(sample.voxels.astype(np.int32) + offset).astype(kind))


def wrapped(sample: Sample) -> Sample:
    """Negative values in 16 bits without a sign."""
    return replace(sample, voxels=sample.voxels.astype(np.uint16))


def eight_bits(sample: Sample) -> Sample:
    """A window of soft tissue as grey values."""
    low, high = WINDOW
    grey = np.rint((sample.voxels.clip(low, high) - low) / (high - low) * 255)
    return replace(sample, voxels=grey.astype(np.uint8))


def noise(sample: Sample, seed: int = 0) -> Sample:
    """Nothing but noise about water."""
    voxels = np.random.default_rng(seed).normal(0, 60, sample.voxels.shape).astype(np.int16)
    return replace(sample, voxels=voxels, organs=np.zeros_like(sample.organs))


def cropped(sample: Sample, start: tuple[int, ...], stop: tuple[int, ...]) -> Sample:
    """A box of voxels; the header says where it lies."""
    shift = _shift(start)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return replace(
        sample,
        voxels=np.ascontiguousarray(sample.voxels[box]),
        organs=np.ascontiguousarray(sample.organs[box]),
        affine=sample.affine @ shift,
        to_scan=sample.to_scan @ shift,
    )


def _shift(voxels: Sequence[int]) -> NDArray[np.float64]:
    shift = np.eye(4)
    shift[:3, 3] = voxels
    return shift


def slices(sample: Sample, first: int, last: int) -> Sample:
    """Those from `first` to before `last`, as far as there are any."""
    nx, ny, nz = sample.voxels.shape
    return cropped(sample, (0, 0, max(0, first)), (nx, ny, min(nz, last)))


def few_slices(sample: Sample) -> Sample:
    """Ten, about the one that shows most organs."""
    counts = [len(np.unique(sample.organs[:, :, k])) for k in range(sample.organs.shape[2])]
    richest = int(np.argmax(counts))
    return slices(sample, richest - SLICES // 2, richest + SLICES // 2)


def box_around(sample: Sample, organ: int) -> Sample:
    """An organ with a little around it. NoSuchPart where it is absent."""
    there = np.argwhere(sample.organs == organ)
    if not len(there):
        raise NoSuchPart(f"label {organ} is not there")
    margin = (MARGIN_MM / sample.spacing).astype(int)
    low = np.maximum(there.min(0) - margin, 0)
    high = np.minimum(there.max(0) + 1 + margin, sample.voxels.shape)
    return cropped(sample, tuple(low.tolist()), tuple(high.tolist()))


def below_organs(sample: Sample) -> Sample:
    """What lies below the lowest organ. NoSuchPart where that is less than ten slices."""
    lowest, _ = _range_of(sample)
    if lowest < SLICES:
        raise NoSuchPart("nothing lies below the organs")
    return slices(sample, 0, lowest)


def above_organs(sample: Sample) -> Sample:
    """What lies above the highest organ. NoSuchPart where that is less than ten slices."""
    _, highest = _range_of(sample)
    if sample.voxels.shape[2] - (highest + 1) < SLICES:
        raise NoSuchPart("nothing lies above the organs")
    return slices(sample, highest + 1, sample.voxels.shape[2])


def _range_of(sample: Sample) -> tuple[int, int]:
    if not sample.organs.any():
        raise NoSuchPart("there are no organs")
    return label_range(sample.organs)
