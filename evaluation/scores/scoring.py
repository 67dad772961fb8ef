"""Scoring: DSC and NSD of label maps by the challenge's rules. Arrays (x, y, z) as in the files, lengths mm.

An organ absent from both masks scores 1, from one of them 0; NSD is 0 where DSC is below 0.2; four decimals. Aorta,
inferior vena cava and esophagus count between the first and the last slice of the truth, the last one itself left out,
by an off-by-one in the organisers' script. That script loops over the predictions, so that a missing one silently
leaves the average; here it scores 0 and is named.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from app.errors import VisceraError
from app.files.cases import CHANNEL
from evaluation.scores.overlap import Mask, dice, surface_dice
from evaluation.scores.relabelling import better_labels, overlaps, relabelling_line
from evaluation.shared.masks import (
    AFFINE_TOLERANCE_MM,
    MaskFile,
    affine_difference,
    mask_paths,
    open_mask,
    read_labels,
)
from evaluation.shared.protocol import DECIMALS, LEAST_DSC, LESION, STRUCTURES, Structure

Box: TypeAlias = tuple[slice, slice, slice]  # voxels along x, y, z

ABSENT_FROM_BOTH = "absent from both"
INVENTED = "absent from the truth"
MISSED = "missed"
BELOW_LEAST_DSC = f"DSC below {LEAST_DSC}: NSD 0"
ONE_SLICE = "one slice of truth: nothing left to score"
NO_PREDICTION = "no prediction"
SUSPICIOUS = 5  # so many organs that only a prediction has are a truth that does not mark them


@dataclass(frozen=True, slots=True)
class Score:
    """One structure of one case. dsc, nsd: NaN where the rules leave nothing to score. in_truth: the truth has it.

    missing: there is no prediction. note: for a person, why the figures are what they are.
    """

    case: str
    structure: Structure
    dsc: float
    nsd: float
    in_truth: bool
    note: str = ""
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A case's truth and its prediction, None if there is none."""

    truth: MaskFile
    prediction: MaskFile | None


def score_structure(
    truth: Mask, prediction: Mask, structure: Structure, spacing: tuple[float, ...], *, last_slice: bool = False
) -> tuple[float, float, str]:
    """DSC, NSD and a note, of two masks (x, y, z) of one structure and one shape; spacing in mm, same order.

    last_slice: score the last labelled slice too, which the organisers leave out.
    """
    if not truth.any():
        return (0.0, 0.0, INVENTED) if prediction.any() else (1.0, 1.0, ABSENT_FROM_BOTH)
    if not prediction.any():
        return 0.0, 0.0, MISSED
    if structure.labelled_slices:
        marked = np.flatnonzero(truth.any(axis=(0, 1)))
        slices = slice(marked[0], marked[-1] + last_slice)
        truth, prediction = truth[:, :, slices], prediction[:, :, slices]
        if not truth.any():  # 0 / 0 in the organisers' script, whose average then leaves it out
            return math.nan, math.nan, ONE_SLICE
    volume = dice(truth, prediction)
    if volume < LEAST_DSC:
        return round(volume, DECIMALS), 0.0, BELOW_LEAST_DSC
    surface = surface_dice(truth, prediction, spacing, structure.tolerance_mm)
    return round(volume, DECIMALS), round(surface, DECIMALS), ""


def score_pair(
    pair: Pair, structures: Sequence[Structure], *, last_slice: bool = False
) -> tuple[list[Score], list[str]]:
    """Every structure of one case, and warnings. VisceraError names a file that does not hold labels."""
    case, truth = pair.truth.case, read_labels(pair.truth)
    boxes = ndimage.find_objects(truth)
    if pair.prediction is None:
        return [
            Score(case, each, 0.0, 0.0, _box(boxes, each.label) is not None, NO_PREDICTION, missing=True)
            for each in structures
        ], []
    prediction = read_labels(pair.prediction)
    found = ndimage.find_objects(prediction)
    scores = []
    for each in structures:
        box = _union(_box(boxes, each.label), _box(found, each.label))
        marked, predicted = truth[box] == each.label, prediction[box] == each.label
        dsc, nsd, note = score_structure(marked, predicted, each, pair.truth.spacing, last_slice=last_slice)
        if note == INVENTED:
            note += f", {np.count_nonzero(predicted) * pair.truth.voxel_ml:.1f} ml predicted"
        scores.append(Score(case, each, dsc, nsd, bool(marked.any()), note))
    warnings = _unknown_labels(case, {"truth": boxes, "prediction": found}, structures)
    invented = sum(score.note.startswith(INVENTED) for score in scores)
    if invented >= SUSPICIOUS:
        warnings.append(
            f"{case}: {invented} organs are predicted that its truth lacks; if it does not mark them: --labels"
        )
    if any(each.in_truth and each.dsc < LEAST_DSC for each in scores):  # else no other organ can be meant
        found = better_labels(overlaps(truth, prediction))
        warnings += [f"{case}: {relabelling_line(found)}"] if found else []
    return scores, warnings


def pair_up(truth: Path, prediction: Path) -> tuple[list[Pair], list[str]]:
    """Every truth with its prediction, and warnings: what has no partner, what lies elsewhere in the body.

    Damaged files and wrong shapes are known before anything is scored: VisceraError, naming all of them.
    """
    if not prediction.is_dir():
        raise VisceraError(f"{prediction}: no such folder")
    pairs, warnings, errors = [], [], []
    for path in mask_paths(truth, some=True):
        partner = prediction / path.name
        reference = open_mask(path)
        if not partner.exists():
            plain = partner.with_suffix("")
            hint = f"; {plain.name} is there, but the organisers look for {partner.name}" if plain.exists() else ""
            warnings.append(f"{reference.case}: no prediction {partner}, counted as 0{hint}")
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
            far = f"up to {apart:.3g} mm apart" if math.isfinite(apart) else "who knows where"
            warnings.append(
                f"{reference.case}: the affines differ, voxels lie {far}; scored voxel by voxel all the same"
            )
        pairs.append(Pair(reference, mask))
    if errors:
        raise VisceraError("\n".join(errors))
    if not any(pair.prediction for pair in pairs):
        warnings.append(f"{prediction}: holds no prediction at all; files that end in {CHANNEL}.nii.gz count as scans")
    known = {pair.truth.path.name for pair in pairs}
    extra = [path.name for path in mask_paths(prediction) if path.name not in known]
    warnings += [f"{name}: a prediction without truth, not scored" for name in extra]
    return pairs, warnings


def score_folders(
    truth: Path, prediction: Path, structures: Sequence[Structure] = STRUCTURES, *, last_slice: bool = False
) -> tuple[list[Score], list[str]]:
    """Scores of every case in `truth`, and warnings."""
    pairs, warnings = pair_up(truth, prediction)
    scores = []
    for pair in pairs:
        own, remarks = score_pair(pair, structures, last_slice=last_slice)
        scores += own
        warnings += remarks
    return scores, warnings


def _box(boxes: Sequence[Box | None], label: int) -> Box | None:
    return boxes[label - 1] if label <= len(boxes) else None


def _union(first: Box | None, second: Box | None) -> Box:
    """The smallest box around both; an empty one of three axes where there is neither."""
    if first is None or second is None:
        return first or second or (slice(0), slice(0), slice(0))
    sides = [slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)]
    return sides[0], sides[1], sides[2]


def _unknown_labels(case: str, masks: Mapping[str, Sequence[Box | None]], structures: Sequence[Structure]) -> list[str]:
    known = {each.label for each in (*STRUCTURES, *structures)}
    warnings = []
    for name, boxes in masks.items():
        labels = [label for label, box in enumerate(boxes, 1) if box is not None and label not in known]
        if labels:
            hint = "; --lesion scores it" if labels == [LESION.label] else ""
            warnings.append(f"{case}: the {name} holds labels that are not scored: {', '.join(map(str, labels))}{hint}")
    return warnings
