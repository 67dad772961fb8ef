"""Organ volumes: what the millilitres of a mask's labels say: organs that no body has, another data set's numbering.

Masks (z, y, x). An organ that is cut by the scan's edge may be as small as it likes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.files.labels import HIGHEST
from app.files.numberings import NUMBERINGS, Numbering
from app.types import Labels
from training.recipe import CHALLENGE_LABELS


@dataclass(frozen=True, slots=True)
class Range:
    """ml of an adult's organ. low to high: of nearly all, wide; smallest to largest: of any, disease included."""

    smallest: float
    low: float
    high: float
    largest: float


# Wide: of 38 CTs none lies outside smallest and largest. Livers of cirrhosis, spleens of leukaemia, kidneys of cysts,
# stomachs after a meal and adrenal tumours lie inside; a gallbladder may be a few voxels.
ADULT_ML = {
    "liver": Range(300, 700, 3000, 7000),
    "right_kidney": Range(10, 60, 350, 4000),
    "left_kidney": Range(10, 60, 350, 4000),
    "spleen": Range(10, 60, 900, 5000),
    "pancreas": Range(5, 20, 180, 500),
    "aorta": Range(5, 25, 350, 1000),
    "inferior_vena_cava": Range(3, 10, 150, 400),
    "right_adrenal_gland": Range(0.3, 0.7, 15, 500),
    "left_adrenal_gland": Range(0.3, 0.7, 15, 500),
    "gallbladder": Range(0, 1, 150, 800),
    "esophagus": Range(1, 4, 70, 400),
    "stomach": Range(15, 30, 1200, 5000),
    "duodenum": Range(4, 15, 180, 600),
    # of other numberings
    "portal_and_splenic_vein": Range(1, 8, 90, 300),
    "bladder": Range(1, 10, 1000, 3000),
    "prostate_or_uterus": Range(1, 10, 250, 3000),
    "left_upper_lobe": Range(50, 300, 2500, 4000),
    "left_lower_lobe": Range(50, 200, 2500, 4000),
    "right_upper_lobe": Range(50, 200, 2500, 4000),
    "right_middle_lobe": Range(20, 80, 1200, 2000),
    "right_lower_lobe": Range(50, 200, 2500, 4000),
}
OURS = Numbering("ours", dict(enumerate(CHALLENGE_LABELS[1:], 1)), len(CHALLENGE_LABELS) - 1)

# Of 38 masks renumbered as AMOS22 or BTCV have it, ours fits worse by 3.1 at the least; as they are, by 0 at the most.
LEAD = 2.0  # in misfit: how much worse ours must fit than another numbering
ALIKE = 0.5  # in misfit: numberings that fit as well as the best one
MUCH_OFF_CENTRE = 1.0  # more than another one that fits as well, and a numbering is not mentioned
TELLING = 2  # labels that a message gives as its reason, without which nothing is said


@dataclass(frozen=True, slots=True)
class Measured:
    """ml: by label, of those that a mask holds, background left out. cut: labels that touch an edge of the scan."""

    ml: Mapping[int, float]
    cut: frozenset[int]


@dataclass(frozen=True, slots=True)
class OtherNumbering:
    """names: of the numbering that fits best, and of those that mean the same by the labels that the mask holds.

    new_labels: the label here of each of these, 0 where there is none. telling: (label, what it is no volume of, what
    it is one of), the clearest first. or_else: numberings that fit as well, and mean other organs.
    """

    names: tuple[str, ...]
    new_labels: Mapping[int, int]
    telling: tuple[tuple[int, str, str], ...]
    or_else: tuple[str, ...] = ()


def measure(labels: Labels, voxel_ml: float) -> Measured:
    """Of a mask (z, y, x), also one without voxels; only read."""
    counts = np.bincount(labels.ravel(order="K"), minlength=1)
    ml = {label: float(count) * voxel_ml for label, count in enumerate(counts) if label and count}
    faces = (np.take(labels, end, axis) for axis in range(labels.ndim) for end in (0, -1) if labels.size)
    return Measured(ml, frozenset(int(label) for face in faces for label in np.unique(face) if label))


def impossible_volumes(measured: Measured) -> Iterator[str]:
    """A line for each organ of ours that is smaller or larger than any body's."""
    for label, organ in OURS.organs.items():
        ml, known = measured.ml.get(label), ADULT_ML[organ]
        if ml is None:
            continue
        if ml > known.largest:
            yield f"{organ} of {_ml(ml)}, above any body's ({_ml(known.largest)})"
        elif ml < known.smallest and label not in measured.cut:
            yield f"{organ} of {_ml(ml)}, below any body's ({_ml(known.smallest)}), and not at the scan's edge"


def other_numbering(measured: Measured) -> OtherNumbering | None:
    """The numbering that the volumes fit far better than ours; None where ours fits, or no other does."""
    possible = [each for each in NUMBERINGS if max(measured.ml, default=0) <= each.highest]
    if not possible:
        return None
    misfits = {each.name: sum(misfit(measured, each).values()) for each in possible}
    least, own = min(misfits.values()), misfit(measured, OURS)
    if sum(own.values()) - least < max(LEAD, least):  # half as bad is not good
        return None
    off = {each.name: _off_centre(measured, each) for each in possible if misfits[each.name] <= least + ALIKE}
    alike = sorted((each for each in possible if each.name in off), key=lambda each: off[each.name])
    best = alike[0]
    theirs, new_labels = misfit(measured, best), _new_labels(measured, best)
    better = [label for label in own if label in theirs and theirs[label] < own[label]]
    if len(better) < TELLING:  # one organ may be ill
        return None
    alike = [each for each in alike if off[each.name] <= off[best.name] + MUCH_OFF_CENTRE]
    same = [each.name for each in alike if _new_labels(measured, each) == new_labels]
    clearest = sorted(better, key=lambda label: theirs[label] - own[label])[:TELLING]
    return OtherNumbering(
        tuple(same),
        new_labels,
        tuple((label, OURS.organs[label], best.organs[label]) for label in clearest),
        tuple(each.name for each in alike if each.name not in same),
    )


def misfit(measured: Measured, numbering: Numbering) -> dict[int, float]:
    """How far each label's volume lies beyond what nearly all adults have of its organ: 0 within, 1 a factor of e.

    Labels that the numbering has no name for are left out.
    """
    return {
        label: _beyond(ml, ADULT_ML[numbering.organs[label]], cut=label in measured.cut)
        for label, ml in measured.ml.items()
        if label in numbering.organs
    }


def _new_labels(measured: Measured, numbering: Numbering) -> dict[int, int]:
    places = numbering.in_place_of(CHALLENGE_LABELS)
    return {label: places[label] for label in measured.ml}


def _off_centre(measured: Measured, numbering: Numbering) -> float:
    """As `misfit`, but from the middle of each range: a liver of 1151 ml could be a stomach, but is seldom one."""
    total = 0.0
    for label, ml in measured.ml.items():
        if label in numbering.organs:
            known = ADULT_ML[numbering.organs[label]]
            above = math.log(ml / math.sqrt(known.low * known.high))
            total += max(0.0, above) if label in measured.cut else abs(above)
    return total


def _beyond(ml: float, known: Range, *, cut: bool) -> float:
    if ml > known.high:
        return math.log(ml / known.high)
    return math.log(known.low / ml) if ml < known.low and not cut else 0.0


def renumbered(labels: Labels, new_labels: Mapping[int, int]) -> Labels:
    """A new mask with each label's new one; labels without one stay.

    >>> renumbered(np.array([[[0, 1, 6, 7]]], np.uint8), {1: 3, 6: 1}).tolist()
    [[[0, 3, 1, 7]]]
    """
    table: NDArray[np.uint8] = np.arange(HIGHEST + 1, dtype=np.uint8)
    for old, new in new_labels.items():
        table[old] = new
    return table[labels]


def numbering_line(other: OtherNumbering, measured: Measured) -> str:
    """For a person, with what to do."""
    reasons = ", ".join(
        f"label {label} of {_ml(measured.ml[label])} is {their} and no {our}" for label, our, their in other.telling
    )
    changes = ", ".join(f"{old} to {new}" for old, new in other.new_labels.items() if old != new)
    or_else = f"; or else as in {' or '.join(other.or_else)}" if other.or_else else ""
    return f"numbered as in {' or '.join(other.names)}: {reasons}; renumber {changes}{or_else}"


def _ml(volume: float) -> str:
    return f"{volume:.0f} ml" if volume >= 10 else f"{volume:.2g} ml"
