"""Scoring: DSC and NSD of label maps by the challenge's rules. Arrays (x, y, z) as in the files, lengths mm.

An organ absent from both masks scores 1, from one of them 0; NSD is 0 where DSC is below 0.2; four decimals. Aorta,
inferior vena cava and esophagus count between the first and the last slice of the truth, the last one itself left out,
by an off-by-one in the organisers' script. That script loops over the predictions, so that a missing one silently
leaves the average; here it scores 0 and is named.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import VisceraError
from evaluation.masks import (
    AFFINE_TOLERANCE_MM,
    LabelMap,
    MaskFile,
    affine_difference,
    mask_paths,
    open_mask,
    read_labels,
)
from evaluation.overlap import Mask, dice, surface_dice
from evaluation.protocol import DECIMALS, LEAST_DSC, MASK_SUFFIX, SCAN_SUFFIX, STRUCTURES, Structure

ABSENT_FROM_BOTH = "absent from both"
MISSED = "missed"
BELOW_LEAST_DSC = f"DSC below {LEAST_DSC}: NSD 0"
ONE_SLICE = "one slice of truth: nothing left to score"
NO_PREDICTION = "no prediction"


@dataclass(frozen=True, slots=True)
class Score:
    """One structure of one case. dsc, nsd: NaN where the rules leave nothing to score. in_truth: the truth has it."""

    case: str
    structure: Structure
    dsc: float
    nsd: float
    in_truth: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A case's truth and its prediction, None if there is none."""

    truth: MaskFile
    prediction: MaskFile | None


def score_structure(
    truth: LabelMap, prediction: LabelMap, structure: Structure, spacing: tuple[float, ...], *, last_slice: bool = False
) -> tuple[float, float, str]:
    """DSC, NSD and a note on one structure, of label maps (x, y, z) of one shape; spacing in mm, same order.

    last_slice: score the last labelled slice too, which the organisers leave out.
    """
    ours, theirs = prediction == structure.label, truth == structure.label
    if not theirs.any():
        return (0.0, 0.0, "absent from the truth") if ours.any() else (1.0, 1.0, ABSENT_FROM_BOTH)
    if not ours.any():
        return 0.0, 0.0, MISSED
    if structure.labelled_slices:
        theirs, ours = _labelled_slices(theirs, ours, last_slice)
        if not theirs.any() and not ours.any():  # 0 / 0 in the organisers' script, whose average then leaves it out
            return math.nan, math.nan, ONE_SLICE
    volume = dice(theirs, ours)
    if volume < LEAST_DSC:
        return round(volume, DECIMALS), 0.0, BELOW_LEAST_DSC
    surface = surface_dice(theirs, ours, spacing, structure.tolerance_mm)
    return round(volume, DECIMALS), round(surface, DECIMALS), ""


def _labelled_slices(truth: Mask, prediction: Mask, last_slice: bool) -> tuple[Mask, Mask]:
    marked = np.flatnonzero(truth.any(axis=(0, 1)))
    slices = slice(marked[0], marked[-1] + last_slice)
    return truth[:, :, slices], prediction[:, :, slices]


def score_pair(pair: Pair, structures: Iterable[Structure], *, last_slice: bool = False) -> list[Score]:
    """Every structure of one case. VisceraError names a file that cannot be read."""
    truth = read_labels(pair.truth)
    case = pair.truth.case
    if pair.prediction is None:
        return [Score(case, each, 0.0, 0.0, bool((truth == each.label).any()), NO_PREDICTION) for each in structures]
    prediction = read_labels(pair.prediction)
    scores = []
    for each in structures:
        dsc, nsd, note = score_structure(truth, prediction, each, pair.truth.spacing, last_slice=last_slice)
        in_truth = bool((truth == each.label).any())
        if not in_truth and dsc == 0:
            note += f", {np.count_nonzero(prediction == each.label) * pair.truth.voxel_ml:.1f} ml predicted"
        scores.append(Score(case, each, dsc, nsd, in_truth, note))
    return scores


def pair_up(truth: Path, prediction: Path) -> tuple[list[Pair], list[str]]:
    """Every truth with its prediction, and warnings: what has no partner, what lies elsewhere in the body.

    Only headers are read, so that a wrong shape is known before anything is scored: VisceraError, naming all of them.
    """
    if not prediction.is_dir():
        raise VisceraError(f"{prediction}: no such folder")
    pairs, warnings, errors = [], [], []
    for path in mask_paths(truth):
        partner = prediction / path.name
        reference = open_mask(path)
        if not partner.exists():
            warnings.append(f"{reference.case}: no prediction {partner}, counted as 0")
            pairs.append(Pair(reference, None))
            continue
        try:
            mask = open_mask(partner)
        except VisceraError as error:
            errors.append(str(error))
            continue
        if mask.shape != reference.shape:
            errors.append(f"{partner}: shape {mask.shape}, the truth's is {reference.shape}")
            continue
        apart = affine_difference(reference, mask)
        if not apart <= AFFINE_TOLERANCE_MM:
            warnings.append(
                f"{reference.case}: the affines differ, voxels lie up to {apart:.3g} mm apart; not compared"
            )
        pairs.append(Pair(reference, mask))
    if errors:
        raise VisceraError("\n".join(errors))
    known = {pair.truth.path.name for pair in pairs}
    extra = sorted(path.name for path in prediction.glob(f"*{MASK_SUFFIX}") if path.name not in known)
    warnings += [f"{name}: a prediction without truth, not scored" for name in extra if not name.endswith(SCAN_SUFFIX)]
    return pairs, warnings


def score_folders(
    truth: Path, prediction: Path, structures: Sequence[Structure] = STRUCTURES, *, last_slice: bool = False
) -> tuple[list[Score], list[str]]:
    """Scores of every case in `truth`, and the warnings of `pair_up`."""
    pairs, warnings = pair_up(truth, prediction)
    return [score for pair in pairs for score in score_pair(pair, structures, last_slice=last_slice)], warnings
