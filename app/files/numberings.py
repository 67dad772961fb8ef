"""Numberings: which organ a label is in the data sets of others. Names as in `bundle.json`, where it has one.

Beside `labels` for the same reason: training and evaluation both ask, and neither imports the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbering:
    """organs: by label, background left out; of labels that are not in it up to `highest` all that is known is that
    none is an organ of ours."""

    name: str
    organs: Mapping[int, str]
    highest: int

    def in_place_of(self, ours: tuple[str, ...]) -> dict[int, int]:
        """By its label that of ours, 0 for what ours lacks; ours: names by label, background first.

        >>> Numbering("theirs", {1: "spleen", 2: "liver"}, 3).in_place_of(("background", "liver", "spleen"))
        {1: 2, 2: 1, 3: 0}
        """
        known = {organ: label for label, organ in enumerate(ours)}
        return {label: known.get(self.organs.get(label, ""), 0) for label in range(1, self.highest + 1)}


def _numbering(name: str, *organs: str, highest: int = 0, **more: int) -> Numbering:
    named = dict(enumerate(organs, 1)) | {label: organ for organ, label in more.items()}
    return Numbering(name, named, highest or max(named))


_ALIKE = ("spleen", "right_kidney", "left_kidney", "gallbladder")
NUMBERINGS = (
    _numbering(  # amos22.grand-challenge.org: dataset.json; "postcava" is the inferior vena cava
        "AMOS22", *_ALIKE, "esophagus", "liver", "stomach", "aorta", "inferior_vena_cava", "pancreas",
        "right_adrenal_gland", "left_adrenal_gland", "duodenum", "bladder", "prostate_or_uterus",
    ),
    _numbering(  # synapse.org/Synapse:syn3193805, "Beyond the Cranial Vault"
        "BTCV", *_ALIKE, "esophagus", "liver", "stomach", "aorta", "inferior_vena_cava", "portal_and_splenic_vein",
        "pancreas", "right_adrenal_gland", "left_adrenal_gland",
    ),
    # github.com/wasserth/TotalSegmentator, totalsegmentator/map_to_binary.py: total_v1 and total
    _numbering(
        "TotalSegmentator v1", *_ALIKE, "liver", "stomach", "aorta", "inferior_vena_cava", "portal_and_splenic_vein",
        "pancreas", "right_adrenal_gland", "left_adrenal_gland", "left_upper_lobe", "left_lower_lobe",
        "right_upper_lobe", "right_middle_lobe", "right_lower_lobe", esophagus=42, duodenum=56, bladder=104,
    ),
    _numbering(
        "TotalSegmentator v2", *_ALIKE, "liver", "stomach", "pancreas", "right_adrenal_gland", "left_adrenal_gland",
        "left_upper_lobe", "left_lower_lobe", "right_upper_lobe", "right_middle_lobe", "right_lower_lobe", "esophagus",
        duodenum=19, bladder=21, aorta=52, inferior_vena_cava=63, portal_and_splenic_vein=64, highest=117,
    ),
)  # fmt: skip
