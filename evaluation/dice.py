"""Dice: `python -m evaluation.dice --truth DIR --prediction DIR`. Overlap of masks, per organ and patient.

A patient's figure is the mean over the organs present in its truth; the overall one is the mean over patients, of
whom each has one scan here.
Organs that are predicted but absent from the truth are listed apart, in millilitres. A missing prediction counts 0.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.errors import VisceraError
from app.labels import ORGANS


@dataclass(frozen=True, slots=True)
class CaseScore:
    """dice: per organ present in the truth. absent_ml: predicted volume of organs that are not."""

    case: str
    dice: dict[str, float]
    absent_ml: dict[str, float]
    missing: bool = False

    @property
    def mean(self) -> float:
        """Mean over the organs present; NaN if the truth has none."""
        return float(np.mean(list(self.dice.values()))) if self.dice else math.nan


def dice(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    sizes = int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction))
    return 2 * int(np.count_nonzero(truth & prediction)) / sizes if sizes else 1.0


def score_case(truth: Path, prediction: Path) -> CaseScore:
    """Scores of one mask; VisceraError names both shapes if they differ."""
    case = truth.name.removesuffix(".nii.gz")
    reference, spacing = _labels(truth)
    if not prediction.exists():
        present = [name for i, name in enumerate(ORGANS, 1) if (reference == i).any()]
        return CaseScore(case, dict.fromkeys(present, 0.0), {}, missing=True)
    mask, _ = _labels(prediction)
    if mask.shape != reference.shape:
        raise VisceraError(f"{prediction.name}: shape {mask.shape}, the truth's is {reference.shape}")
    scores, absent = {}, {}
    for label, name in enumerate(ORGANS, 1):
        ours, theirs = mask == label, reference == label
        if theirs.any():
            scores[name] = dice(theirs, ours)
        elif ours.any():
            absent[name] = float(np.count_nonzero(ours)) * math.prod(spacing) / 1000
    return CaseScore(case, scores, absent)


def score_folders(truth: Path, prediction: Path) -> list[CaseScore]:
    """Every `NAME.nii.gz` in `truth` that is not a scan (`_0000`), by name."""
    paths = sorted(path for path in truth.glob("*.nii.gz") if not path.name.endswith("_0000.nii.gz"))
    if not paths:
        raise VisceraError(f"{truth}: no .nii.gz masks here")
    return [score_case(path, prediction / path.name) for path in paths]


def overall(scores: list[CaseScore]) -> float:
    """Mean over the patients whose truth has any organ."""
    return float(np.nanmean([score.mean for score in scores]))


def table(scores: list[CaseScore]) -> str:
    """A row per organ, a column per case, for a person."""
    width = max(len(name) for name in ORGANS) + 2
    lines = ["".join([" " * width, *(f"{score.case:>12.11}" for score in scores), f"{'mean':>12}"])]
    for name in ORGANS:
        values = [score.dice.get(name, math.nan) for score in scores]
        known = [value for value in values if not math.isnan(value)]
        cells = ["-" if math.isnan(value) else f"{value:.3f}" for value in values]
        cells.append(f"{np.mean(known):.3f}" if known else "-")
        lines.append("".join([f"{name:<{width}}", *(f"{cell:>12}" for cell in cells)]))
    means = [*(score.mean for score in scores), overall(scores)]
    lines.append("".join([f"{'mean':<{width}}", *(f"{value:>12.3f}" for value in means)]))
    for score in scores:
        if score.missing:
            lines.append(f"{score.case}: no prediction, counted as 0")
        lines += [f"{score.case}: {name} predicted, absent: {ml:.1f} ml" for name, ml in score.absent_ml.items()]
    return "\n".join(lines)


def save(scores: list[CaseScore], path: Path, system: str | None = None) -> None:
    """The same as JSON, with the system whose masks were scored, where it is known."""
    cases = [{**asdict(score), "mean": score.mean if score.dice else None} for score in scores]
    content = {"system": system, "mean_dice": overall(scores), "cases": cases}
    path.write_text(json.dumps(content, indent=1) + "\n")


def _labels(path: Path) -> tuple[NDArray[np.uint8], tuple[float, float, float]]:
    image = cast(nib.Nifti1Image, nib.load(path))
    x, y, z = image.header.get_zooms()[:3]
    return np.asarray(image.dataobj).astype(np.uint8), (float(x), float(y), float(z))


def main() -> None:
    """Parses the arguments, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--prediction", type=Path, required=True)
    parser.add_argument("--json", type=Path, help="write the scores into this file too")
    arguments = parser.parse_args()
    try:
        scores = score_folders(arguments.truth, arguments.prediction)
    except VisceraError as error:
        parser.exit(2, f"{error}\n")
    print(table(scores))
    if arguments.json:
        save(scores, arguments.json)


if __name__ == "__main__":
    main()
