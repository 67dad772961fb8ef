"""A made-up body with its organs as boxes, and ways to damage its labels. Arrays (z, y, x), x to the patient's left."""

from pathlib import Path

import numpy as np

from app.files.numberings import NUMBERINGS
from tests.files import lps_affine, save_nifti
from training.recipe import CHALLENGE_LABELS

SPACING = (5.0, 5.0, 5.0)  # mm: 0.125 ml a voxel
ORGAN_BOXES = {  # first voxel and voxels along z, y, x
    "liver": ((18, 8, 6), (16, 24, 24)),  # 1152 ml
    "right_kidney": ((8, 34, 14), (14, 8, 10)),  # 140 ml
    "spleen": ((20, 28, 50), (14, 12, 12)),  # 252 ml
    "pancreas": ((14, 20, 32), (6, 6, 16)),  # 72 ml
    "aorta": ((2, 32, 36), (34, 4, 4)),  # 68 ml
    "inferior_vena_cava": ((2, 32, 28), (34, 4, 4)),  # 68 ml
    "right_adrenal_gland": ((24, 36, 24), (4, 4, 2)),  # 4 ml
    "left_adrenal_gland": ((24, 36, 46), (4, 4, 2)),  # 4 ml
    "gallbladder": ((14, 10, 14), (4, 6, 6)),  # 18 ml
    "esophagus": ((34, 26, 34), (4, 6, 6)),  # 18 ml
    "stomach": ((20, 8, 40), (14, 14, 10)),  # 245 ml
    "duodenum": ((8, 16, 24), (6, 8, 8)),  # 48 ml
    "left_kidney": ((9, 34, 48), (14, 8, 10)),  # 140 ml
}


def labelled_body():
    """Scan (int16 HU) and mask: organs of 60 HU in fat, lungs above them, air around the body."""
    voxels, labels = np.full((44, 56, 76), -1000, np.int16), np.zeros((44, 56, 76), np.uint8)
    voxels[:, 4:50, 4:70] = -100
    voxels[34:, 8:46, 8:66] = -800
    for organ, (start, size) in ORGAN_BOXES.items():
        box = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
        voxels[box], labels[box] = 60, CHALLENGE_LABELS.index(organ)
    return voxels, labels


def numbered_as(labels, name):
    """The mask in the numbering of that name; what that has no label for is background."""
    (numbering,) = (each for each in NUMBERINGS if each.name == name)
    table = np.zeros(len(CHALLENGE_LABELS), np.uint8)
    for label, organ in numbering.organs.items():
        if organ in CHALLENGE_LABELS:
            table[CHALLENGE_LABELS.index(organ)] = label
    return table[labels]


DAMAGES = {
    "AMOS22": lambda labels: numbered_as(labels, "AMOS22"),
    "BTCV": lambda labels: numbered_as(labels, "BTCV"),
    "TotalSegmentator v1": lambda labels: numbered_as(labels, "TotalSegmentator v1"),
    "TotalSegmentator v2": lambda labels: numbered_as(labels, "TotalSegmentator v2"),
    "left to right": lambda labels: labels[:, :, ::-1],
    "front to back": lambda labels: labels[:, ::-1],
    "head to foot": lambda labels: labels[::-1],
    "front to back and left to right": lambda labels: labels[:, ::-1, ::-1],  # turned by 180 degrees
}


def write_case(folder: Path, name, voxels, labels):
    """Scan and mask (z, y, x) in our layout."""
    for ending, array in (("_0000.nii.gz", voxels), (".nii.gz", labels)):
        save_nifti(folder / f"{name}{ending}", np.ascontiguousarray(array.T), lps_affine(SPACING))
