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

from app.errors import SetupError, VisceraError
from app.files.read import read
from evaluation.maintenance.long_body import LENGTH_MM, lengthened, save


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
