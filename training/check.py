"""Check: `python -m training.check DATA`. A dry run over a data set: one line per case that says what is wrong with it.

DATA is a folder in either layout of `training.layout`. Nothing is trained or written.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.errors import VisceraError
from app.labels import CLASSES, ORGANS
from app.read import Scan, read
from training.layout import CaseFiles, find_cases

OFF_GRID = 0.5  # of a voxel: how far scan and label may lie apart before they are not one grid


def problems(case: CaseFiles) -> Iterator[str]:
    """What is wrong with a case, most fundamental first; a case that cannot be read has that problem only."""
    if not case.label.exists():
        yield f"label {case.label.name} is missing"
        return
    try:
        scan, mask = read(case.scan), read(case.label)
    except VisceraError as error:
        yield str(error)
        return
    yield from grid_problems(scan, mask)
    yield from label_problems(mask.voxels)
    yield from (f"scan: {warning}" for warning in scan.warnings)


def grid_problems(scan: Scan, mask: Scan) -> Iterator[str]:
    """Shape, spacing and place of a label against its scan's."""
    if scan.grid.shape != mask.grid.shape:
        yield f"shape of the label is {mask.grid.shape} (z, y, x), of the scan {scan.grid.shape}"
        return
    if not np.allclose(scan.grid.spacing, mask.grid.spacing, rtol=0.01):
        yield f"spacing of the label is {_mm(mask.grid.spacing)}, of the scan {_mm(scan.grid.spacing)}"
    elif (apart := corner_distance(scan, mask)) > OFF_GRID * min(scan.grid.spacing):
        yield f"label and scan lie up to {apart:.1f} mm apart (their affines differ)"


def corner_distance(scan: Scan, mask: Scan) -> float:
    """mm between the same corner of the boxes around two grids in the scanner's space, in whatever order they lie."""
    boxes = []
    for image in (scan, mask):
        affine, shape = image.header.get_best_affine(), image.header.get_data_shape()[:3]
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
        places = affine[:3, :3] @ corners + affine[:3, 3:]
        boxes.append(np.array([places.min(1), places.max(1)]))
    return float(np.linalg.norm(boxes[0] - boxes[1], axis=1).max())


def label_problems(labels: np.ndarray) -> Iterator[str]:
    """Values that are no label, and a mask without any."""
    values = np.unique(labels)
    unknown = [f"{value:g}" for value in values if value not in range(len(CLASSES))]
    if unknown:
        yield f"unknown labels {', '.join(unknown[:5])}; known are 0 to {len(CLASSES) - 1}"
    elif not labels.any():
        yield "empty mask"


def describe(case: CaseFiles) -> tuple[bool, str]:
    """Whether a case is fit to train on, and its line."""
    found = list(problems(case))
    if found:
        return False, f"{case.name}: {'; '.join(found)}"
    values = np.unique(read(case.label).voxels)
    absent = [name for label, name in enumerate(ORGANS, 1) if label not in values]
    return True, f"{case.name}: ok" + (f", without {', '.join(absent)}" if absent else "")


def main() -> None:
    """Parses the arguments, prints a line per case; exit status 1 where one is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only-wrong", action="store_true", help="leave out the cases that are in order")
    arguments = parser.parse_args()
    try:
        cases = find_cases(arguments.data)
    except VisceraError as error:
        parser.exit(2, f"{error}\n")
    wrong = 0
    for case in cases:
        good, line = describe(case)
        wrong += not good
        if not good or not arguments.only_wrong:
            print(line, flush=True)
    patients = len({case.patient for case in cases})
    print(f"{len(cases)} cases of {patients} patients, {wrong} with something wrong")
    parser.exit(int(wrong > 0))


def _mm(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing) + " mm (z, y, x)"


if __name__ == "__main__":
    main()
