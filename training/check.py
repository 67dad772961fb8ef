"""Check: `python -m training.check DATA`. A dry run over a data set: one line per case that says what is wrong with it.

DATA is a folder in either layout of `training.layout`. Nothing is trained or written.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import VisceraError
from app.files.labels import whole_labels
from app.files.read import Scan, read
from app.notice import Verdict as Weight
from app.notice import heaviest
from app.types import Labels
from training.layout import CaseFiles, find_cases
from training.organ_places import mirrored, mirrored_line, place_notes, ways
from training.organ_volumes import impossible_volumes, measure, numbering_line, other_numbering, renumbered
from training.recipe import CHALLENGE_LABELS

OFF_GRID = 0.5  # of a voxel: how far scan and label may lie apart before they are not one grid


@dataclass(frozen=True, slots=True)
class Verdict:
    """problems: why a case cannot be trained on, the most fundamental first. notes: what is odd about it."""

    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()


def judge(case: CaseFiles) -> Verdict:
    """What is wrong with a case; one that cannot be read has that problem only."""
    if not case.label.exists():
        return Verdict((f"label {case.label.name} is missing",))
    try:
        scan, mask = read(case.scan), read(case.label)
    except VisceraError as error:
        return Verdict((str(error),))
    problems = tuple(grid_problems(scan, mask))
    notes = tuple(warning.text for warning in scan.warnings)
    try:
        labels = whole_labels(mask.voxels)
    except ValueError as error:
        return Verdict((*problems, str(error)), notes)
    of_labels = judge_labels(labels, mask.voxel_ml)
    # where the grids differ nothing more can be said: organs lie nowhere in particular then
    of_places = judge_places(scan, of_labels.labels) if not problems else Verdict(())
    problems += (*of_labels.verdict.problems, *of_places.problems)
    if not problems and not labels.any():
        problems = ("empty mask",)
    return Verdict(problems, (*notes, *of_labels.verdict.notes, *of_places.notes))


@dataclass(frozen=True, slots=True)
class JudgedLabels:
    """What is wrong with a mask's labels, and the mask (z, y, x) numbered as here, where that could be told."""

    verdict: Verdict
    labels: Labels


def judge_labels(labels: Labels, voxel_ml: float) -> JudgedLabels:
    """By the labels themselves and their volumes; labels (z, y, x) are only read."""
    problems: list[str] = []
    measured = measure(labels, voxel_ml)
    if other := other_numbering(measured):
        problems.append(numbering_line(other, measured))
        labels = renumbered(labels, other.new_labels)  # so that the rest is judged as what it is
        measured = measure(labels, voxel_ml)
    try:
        whole_labels(labels, len(CHALLENGE_LABELS) - 1)
    except ValueError as error:
        problems.append(str(error))
    absent = [name for label, name in enumerate(CHALLENGE_LABELS[1:], 1) if label not in measured.ml]
    notes = (*impossible_volumes(measured), *([f"without {', '.join(absent)}"] if absent else []))
    return JudgedLabels(Verdict(tuple(problems), notes), labels)


def judge_places(scan: Scan, labels: Labels) -> Verdict:
    """By what the scan shows where the labels (z, y, x; of its shape) lie; nothing of a scan whose values are no HU."""
    if heaviest(scan.warnings) is Weight.UNUSABLE:
        return Verdict(())
    found = ways(scan.voxels, labels, scan.grid.spacing)
    if right := mirrored(found):
        return Verdict((mirrored_line(found[0], right),))
    return Verdict((), tuple(place_notes(scan.voxels, labels, found)))


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
    """mm between the same corner of the boxes around two grids in the scanner's space, in whatever order they lie.

    0 where a header does not say where its grid lies.
    """
    boxes = []
    for image in (scan, mask):
        try:
            affine, shape = image.header.get_best_affine(), image.header.get_data_shape()[:3]
        except ValueError:  # a quaternion that is none; `app.files.read` has found the axes some other way
            return 0.0
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
        places = affine[:3, :3] @ corners + affine[:3, 3:]
        boxes.append(np.array([places.min(1), places.max(1)]))
    return float(np.linalg.norm(boxes[0] - boxes[1], axis=1).max())


def line(case: CaseFiles, verdict: Verdict) -> str:
    """For a person."""
    found = "; ".join((*(verdict.problems or ("ok",)), *verdict.notes))
    return f"{case.name}: {found}"


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
        verdict = judge(case)
        wrong += bool(verdict.problems)
        if verdict.problems or not arguments.only_wrong:
            print(line(case, verdict), flush=True)
    patients = len({case.patient for case in cases})
    print(f"{len(cases)} cases of {patients} patients, {wrong} with something wrong")
    parser.exit(int(wrong > 0))


def _mm(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing) + " mm (z, y, x)"


if __name__ == "__main__":
    main()
