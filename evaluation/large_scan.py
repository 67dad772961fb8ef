"""Large scan: `python -m evaluation.large_scan SCAN SLICES OUT`. A body of 1070 mm out of one scan of an abdomen.

The largest case of the challenge has 512 x 512 x 1338 voxels of 0.8 mm; such a scan is made here, not kept. The body is
as long whatever the number of slices, so that twice the slices are the same patient in slices half as thick. Slices
are interpolated between those of SCAN; its top 180 mm are mirrored upwards, as a long chest, its lowest 40 mm to and
fro downwards, in place of legs. Gaussian noise (sd 8 HU, always the same) keeps the file as hard to compress as a
real one. 1338 slices take half a minute and 1 GB of memory.

Example: python -m evaluation.large_scan ../shared/cases/ircad_19_0000.nii.gz 1338 large_1338_0000.nii.gz
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.errors import SetupError, VisceraError
from app.files.read import Scan, read
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


def main() -> None:
    """Parses the arguments, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path, help="180 to 890 mm of a body, an abdomen in it")
    parser.add_argument("slices", type=int)
    parser.add_argument("out", type=Path, help="a file that is not there yet, NAME_0000.nii.gz")
    arguments = parser.parse_args()
    if arguments.slices < 1:
        parser.error(f"slices must be 1 or more, found {arguments.slices}")
    try:
        _make(arguments.scan, arguments.slices, arguments.out)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")


def _make(path: Path, slices: int, out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise SetupError(f"{out}: exists; choose another name")
    if not out.name.endswith((".nii", ".nii.gz")):
        raise SetupError(f"{out}: must end in .nii or .nii.gz")
    source = read(path)
    try:
        body = lengthened(source.voxels, source.grid.spacing[0], slices)
    except ValueError as error:
        raise SetupError(f"{path}: {error}; give another scan") from error
    save(body, source, out)
    print(f"{out}: {' x '.join(map(str, body.shape[::-1]))}, {LENGTH_MM / slices:.3g} mm between slices")


if __name__ == "__main__":
    main()
