"""Label fusion: one map of 13 organs and tumours out of three (paper 002). Arrays (z, y, x) uint8 on a scan's own grid.

The challenge's cases are annotated in part: some organs, or tumours, or neither. What a case lacks is taken from a
tumour network's mask and from an organ network's map. A tumour of either kind goes over organs, because the organ
annotation hides tumours; a real organ goes over a found one; and a found organ that the annotation would have shown is
no such organ. (As the paper means it: its equations 3 and 5 as printed write a tumour as liver and ask the wrong map.)
Whether the maps lie on one grid is for the caller to see: `training.check.grid_problems`.
"""

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from app.types import Labels

TUMOUR = 14
ORGAN_IDS = frozenset(range(1, TUMOUR))


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was drawn in a group of cases: ids of organs, and whether tumours."""

    organs: frozenset[int]
    tumours: bool

    @property
    def ids(self) -> frozenset[int]:
        """All ids that a case of the group may contain."""
        return self.organs | {TUMOUR} if self.tumours else self.organs


GROUPS = {  # of FLARE23's 4,000 cases, as the paper numbers them
    "1": Annotated(frozenset(), tumours=True),  # 888 cases
    "2": Annotated(frozenset({1, 2, 3, 4}), tumours=False),  # 6
    "3": Annotated(frozenset({1, 2, 3, 4, 13}), tumours=False),  # 447
    "4": Annotated(frozenset({1, 2, 3, 4, 13}), tumours=True),  # 609
    "5": Annotated(ORGAN_IDS - {13}, tumours=False),  # 4
    "6": Annotated(ORGAN_IDS - {9}, tumours=False),  # 24
    "7": Annotated(ORGAN_IDS, tumours=False),  # 222
    "unlabelled": Annotated(frozenset(), tumours=False),  # 1,800
}


def group_of(annotation: Labels) -> str:
    """The name in GROUPS of a case by the ids it contains, as the paper does it.

    It cannot tell an organ that was not annotated from one that the patient lacks: where the source of a case is
    documented, take the group from there. ValueError: the ids are those of no group.
    """
    found = frozenset(int(label) for label in np.unique(annotation)) - {0}
    for name, annotated in GROUPS.items():
        if annotated.ids == found:
            return name
    raise ValueError(f"labels {sorted(found)} are those of no group; say what was annotated")


def fuse(annotated: Annotated, annotation: Labels, tumours: Labels | None, organs: Labels | None) -> Labels:
    """The fused map, a new array: ids 0..14.

    annotation: what was drawn; zeros where nothing was. tumours: a network's mask, 0 or 1; not read, and may be None,
    where tumours were annotated. organs: a network's map, ids 0..13; not read where all organs were annotated.
    ValueError: a map is missing, of another shape or dtype, or has ids that it cannot have.
    """
    _check("annotation", annotation, annotation.shape, annotated.ids)
    fused = annotation.copy()
    if not annotated.tumours:
        fused[_check("tumours", tumours, annotation.shape, {1}) > 0] = TUMOUR
    if annotated.organs != ORGAN_IDS:
        found = _check("organs", organs, annotation.shape, ORGAN_IDS)
        missing = (fused == 0) & ~np.isin(found, list(annotated.organs))
        fused[missing] = found[missing]
    return fused


def _check(name: str, labels: Labels | None, shape: tuple[int, ...], ids: Set[int]) -> Labels:
    if labels is None:
        raise ValueError(f"{name}: missing, and what was annotated does not do without")
    if labels.shape != shape or labels.dtype != np.uint8:
        raise ValueError(f"{name}: {labels.dtype} of shape {labels.shape}, needs uint8 of the annotation's {shape}")
    unknown = {int(label) for label in np.unique(labels)} - ids - {0}
    if unknown:
        raise ValueError(f"{name}: has the labels {sorted(unknown)}, may have {sorted(ids)} only")
    return labels
