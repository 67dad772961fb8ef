"""Overlay: `python -m evaluation.overlay SCAN MASK OUT.png`. Three planes through the organs, to look at.

Axial, coronal and sagittal, each at the slice that shows most of the mask, or of another mask (`--slices-of`, so that
two pictures show the same), patient's right on the left as in a viewer.
"""

import argparse
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from app.errors import VisceraError
from app.files.labels import whole_labels
from app.files.read import read
from evaluation.pictures.planes import COLOURS, overlay
from evaluation.shared.own_files import refuse_foreign

MARK = "viscera evaluation.overlay"  # in the picture's own text, says who drew it


def main() -> None:
    """Parses the arguments, writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path, help="NIfTI")
    parser.add_argument("mask", type=Path, help="its mask")
    parser.add_argument("picture", type=Path, help="PNG to write; its folder is made")
    parser.add_argument("--slices-of", type=Path, metavar="MASK", help="a mask of this scan that decides on the slices")
    arguments = parser.parse_args()
    paths = [path for path in (arguments.mask, arguments.slices_of) if path is not None]
    try:
        if arguments.picture.suffix != ".png":
            raise VisceraError(f"{arguments.picture}: must end in .png")
        # before the work: a place that cannot be written is said now
        arguments.picture.parent.mkdir(parents=True, exist_ok=True)
        refuse_foreign(arguments.picture, MARK)
        scan, *masks = (read(path) for path in (arguments.scan, *paths))
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    drawn = []
    for path, mask in zip(paths, masks, strict=True):
        if scan.grid.shape != mask.grid.shape:
            parser.exit(2, f"{path.name}: shape {mask.grid.shape}, the scan's is {scan.grid.shape}\n")
        try:
            drawn.append(whole_labels(mask.voxels, len(COLOURS) - 1))
        except ValueError as error:
            parser.exit(2, f"{path.name}: {error}, the labels drawn here\n")
    labels, *slices_of = drawn
    said = PngInfo()
    said.add_text("Software", MARK)
    picture = overlay(scan.voxels, labels, scan.grid.spacing, *slices_of)
    try:
        picture.save(arguments.picture, pnginfo=said)
    except OSError as error:
        parser.exit(2, f"{arguments.picture}: cannot be written: {error.strerror}\n")


if __name__ == "__main__":
    main()
