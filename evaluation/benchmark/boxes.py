"""Boxes: what phase one keeps of a scan as a scan of its own, and a mask of it as one of the whole."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from app.errors import VisceraError
from app.system.definition import ROOT
from evaluation.shared.masks import open_mask, read_labels
from evaluation.shared.own_files import own_folder


@dataclass(frozen=True, slots=True)
class BoxedScan:
    """A scan, and a file with what phase one kept of it. box: start and stop per axis of the file, in voxels."""

    scan: Path
    boxed: Path
    box: tuple[tuple[int, int], ...]


def box_scan(scan: Path, folder: Path) -> BoxedScan:
    """Runs phase one, through app and its report, and writes the box as a scan of its own."""
    own_folder(folder)
    report = folder / "report.jsonl"
    command = [sys.executable, "-m", "app", "--inputs", str(scan.resolve()), "--outputs", str(folder)]
    subprocess.run([*command, "--report", str(report)], cwd=ROOT, check=True, capture_output=True)
    line = json.loads(report.read_text().splitlines()[-1])
    box = tuple((start, stop) for start, stop in line["box"] or [(0, size) for size in line["shape"]])
    image = cast(nib.Nifti1Image, nib.load(scan))
    boxed = folder / scan.name
    nib.save(image.slicer[tuple(slice(*sides) for sides in box)], boxed)
    return BoxedScan(scan, boxed, box)


def write_whole_mask(boxed: Path, case: BoxedScan, target: Path) -> None:
    """A mask of the box as one of the whole scan, for scoring."""
    image = cast(nib.Nifti1Image, nib.load(case.scan))
    labels = np.zeros(image.shape, np.uint8)
    mask = open_mask(boxed)
    if mask.shape != tuple(stop - start for start, stop in case.box):
        raise VisceraError(f"{boxed.name}: shape {mask.shape}, the box has {case.box}")
    labels[tuple(slice(*sides) for sides in case.box)] = read_labels(mask)
    nib.save(nib.Nifti1Image(labels, image.affine), target)
