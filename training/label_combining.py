"""Label combining: `python -m training.label_combining DATA PREDICTIONS OUT`. A round of paper 001's repair of masks.

Masks that a network has made lack pieces of organs. The model trained on them is run on the scans it was trained on,
each mask is united with what the model says, and training goes on, on the united masks; the paper does this four times.
PREDICTIONS holds NAME.nii.gz, from the whole system, as `python -m app` writes them. A scan without one keeps its mask;
masks drawn by hand are never changed and have to be named (--manual). OUT is the data of the next round.

Organs win over background, so that they only grow; one that would grow too much keeps its voxels of before
(--most-growth, which is ours; `--most-growth inf` is the paper's way).
"""

import argparse
import math
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import CaseError, VisceraError
from app.files.labels import whole_labels
from app.files.read import Scan, read
from app.files.write import write
from app.types import Labels
from training.layout import TABLE, CaseFiles, find_cases
from training.recipe import CHALLENGE_LABELS

# The paper paints 1 to 13 and then 10, 9, 8 again: stomach (11) had swallowed gallbladder (9) and left adrenal (8)
LOW_TO_HIGH = (0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 10, 9, 8)
_RANK = np.argsort(LOW_TO_HIGH).astype(np.uint8)  # of a label
MOST_GROWTH = 0.1  # of an organ's volume in all scans together, in a round


def combined(labels: Labels, predicted: Labels, without: Iterable[int] = ()) -> Labels:
    """Of every voxel's label and prediction the one that stands later in `LOW_TO_HIGH`; a new array.

    without: organs whose prediction counts as background. ValueError if shapes differ or a value is no label.
    """
    if labels.shape != predicted.shape:
        raise ValueError(f"labels have shape {labels.shape}, their prediction {predicted.shape}")
    if max(labels.max(initial=0), predicted.max(initial=0)) >= len(_RANK):
        raise ValueError(f"labels must be 0 to {len(_RANK) - 1}")
    heard = np.where(np.isin(predicted, list(without)), np.uint8(0), predicted)
    return np.where(_RANK[heard] > _RANK[labels], heard, labels)


def grown_too_much(before: NDArray[np.float64], after: NDArray[np.float64], most: float) -> tuple[int, ...]:
    """The organs that grow by more than `most` of what they were. before, after: volume by label, background first."""
    if math.isinf(most):  # times nothing it is no number
        return ()
    return tuple(int(label) for label in np.flatnonzero(after > before * (1 + most)) if label)


def predictions_of(cases: list[CaseFiles], folder: Path, manual: Iterable[str]) -> dict[str, Path]:
    """By the case's name the files of those with a prediction, but for cases that a pattern of `manual` names."""
    free = [case for case in cases if not any(fnmatch(case.name, pattern) for pattern in manual)]
    files = {case.name: folder / case.label.name for case in free}
    return {name: path for name, path in files.items() if path.exists()}


def read_pair(case: CaseFiles, prediction: Path) -> tuple[Scan, Labels, Labels]:
    """The case's mask as read, its labels and those predicted. CaseError names a file that is no mask of its scan."""
    mask, predicted = read(case.label), read(prediction)
    if predicted.grid.shape != mask.grid.shape:
        found, needed = predicted.grid.shape, mask.grid.shape
        raise CaseError(f"{prediction}: shape {found} (z, y, x), its mask has {needed}; predict the scan it is of")
    return mask, _labels(mask), _labels(predicted)


def _labels(mask: Scan) -> Labels:
    try:
        return whole_labels(mask.voxels, len(CHALLENGE_LABELS) - 1)
    except ValueError as error:
        raise CaseError(f"{mask.path}: {error}") from error


def volumes(cases: list[CaseFiles], predictions: dict[str, Path]) -> NDArray[np.float64]:
    """ml by label in all cases that have a prediction, before and after the round: (2, class)."""
    total = np.zeros((2, len(CHALLENGE_LABELS)))
    for case in cases:
        if case.name in predictions:
            mask, labels, predicted = read_pair(case, predictions[case.name])
            for row, values in zip(total, (labels, combined(labels, predicted)), strict=True):
                row += np.bincount(values.ravel(), minlength=len(CHALLENGE_LABELS)) * mask.voxel_ml
    return total


def write_round(cases: list[CaseFiles], predictions: dict[str, Path], without: Iterable[int], out: Path) -> None:
    """The data of the next round in a new folder: united masks, links to masks that stay and to scans."""
    out.mkdir(parents=True)
    for case in cases:
        (out / case.scan.name).symlink_to(case.scan.resolve())
        if case.name not in predictions:
            (out / case.label.name).symlink_to(case.label.resolve())
            continue
        mask, labels, predicted = read_pair(case, predictions[case.name])
        write(combined(labels, predicted, without), out / case.label.name, mask.header, mask.orientation)
    rows = [f"{case.name}\t{case.patient}" for case in cases]
    (out / TABLE).write_text("\n".join(["name\tpatient", *rows]) + "\n")


def line(organ: str, before: float, after: float, *, stopped: bool) -> str:
    """An organ's volumes (ml) and their change, for a person."""
    change = f"{after / before - 1:+.1%}" if before else "new" if after else "absent"
    left = "; left as it was, for that is too much" if stopped else ""
    return f"{organ}: {before:.1f} ml, with the predictions {after:.1f} ml ({change}){left}"


def main() -> None:
    """Parses the arguments, prints a line per organ, writes the round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder, for each round its own")
    parser.add_argument("--manual", nargs="+", default=[], metavar="NAME", help="cases, or patterns such as FLARE22_*")
    parser.add_argument(
        "--most-growth", type=float, default=MOST_GROWTH, metavar="SHARE", help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.out.exists():
        parser.exit(2, f"{arguments.out}: exists; name a new folder for each round\n")
    try:
        cases = find_cases(arguments.data)
        predictions = predictions_of(cases, arguments.predictions, arguments.manual)
        if not predictions:
            parser.exit(2, f"{arguments.predictions}: has no NAME.nii.gz of a case whose mask may be changed\n")
        before, after = volumes(cases, predictions)
        stopped = grown_too_much(before, after, arguments.most_growth)
        for label, organ in enumerate(CHALLENGE_LABELS[1:], 1):
            print(line(organ, before[label], after[label], stopped=label in stopped))
        write_round(cases, predictions, stopped, arguments.out)
    except VisceraError as error:
        parser.exit(2, f"{error}\n")
    print(f"{len(predictions)} of {len(cases)} masks united with their predictions in {arguments.out}")


if __name__ == "__main__":
    main()
