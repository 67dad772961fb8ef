"""A recipe of seconds and a data set of phantoms, for tests of whole runs."""

from pathlib import Path

import numpy as np

from tests.files import body_phantom, lps_affine, save_nifti

RECIPES = Path(__file__).parents[2] / "training" / "recipes"

TINY = """
extends = "common"
name = "tiny"
role = "fine"
threads = 1
[data]
fold_patients = ["B"]
reference_masks = "phantoms"
[network]
kind = "plain-unet"
channels = [4, 6, 8]
stem_stride = 1
supervised_levels = 2
[optimiser]
warm_up_steps = 4
[export]
calibration_samples = 2
[export.window]
largest = [64, 64, 64]
smallest = [64, 64, 64]
multiple = 16
step = 0.75
[[stages]]
name = "coarse"
kind = "patch"
spacing_mm = [4.0, 4.0, 4.0]
shape = [16, 16, 16]
batch = 2
steps = 20
learning_rate = 1e-2
hold_out = true
evaluate_every = 10
[[stages]]
name = "fine"
kind = "patch"
spacing_mm = [3.0, 3.0, 3.0]
shape = [16, 16, 24]
batch = 2
steps = 6
learning_rate = 1e-3
hold_out = false
"""


# the same of a half-resolution network, whose sides are multiples of 8 and 24 at the least
HALF = TINY.replace('"plain-unet"', '"half-resolution"')
HALF = HALF.replace("[16, 16, 16]", "[24, 24, 24]").replace("[16, 16, 24]", "[24, 24, 24]")
HALF_INSTANCE = HALF.replace('"half-resolution"', '"half-resolution"\nnorm = "instance"')


def write_recipe(folder: Path, text: str = TINY) -> Path:
    """The tiny recipe beside what it extends."""
    (folder / "common.toml").write_text((RECIPES / "common.toml").read_text())
    (folder / "tiny.toml").write_text(text)
    return folder / "tiny.toml"


def write_data(folder: Path) -> Path:
    """Three volumes of two patients whose liver is the tissue."""
    folder.mkdir()
    for name in ("a1", "a2", "b"):
        voxels = body_phantom((30, 28, 26))
        save_nifti(folder / f"{name}_0000.nii.gz", voxels, lps_affine((4, 4, 4)))
        save_nifti(folder / f"{name}.nii.gz", (voxels > 0).astype(np.uint8), lps_affine((4, 4, 4)))
    (folder / "volumes.tsv").write_text("name\tpatient\na1\tA\na2\tA\nb\tB\n")
    return folder
