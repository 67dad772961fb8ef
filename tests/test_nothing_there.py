"""Scans without a patient, with the weights that ship: nothing is found, everything is said."""

import json

import numpy as np
import pytest

from app.run import command_line
from tests.files import lps_affine, save_nifti

pytestmark = pytest.mark.slow  # the fine model runs on all of a body's volume

AIR = np.full((160, 150, 60), -1000, np.int16)
X, Y = np.meshgrid(np.linspace(-1, 1, 160), np.linspace(-1, 1, 150), indexing="ij")


def cylinder(hounsfield):
    image = AIR.copy()
    image[X**2 + Y**2 < 0.4] = hounsfield
    return image


@pytest.mark.parametrize(
    "voxels",
    [
        pytest.param(AIR, id="air"),
        pytest.param(cylinder(0), id="a cylinder of water"),
        pytest.param((AIR + np.random.default_rng(0).normal(0, 20, AIR.shape)).astype(np.int16), id="noise in air"),
    ],
)
def test_no_box_and_next_to_nothing_in_the_mask(tmp_path, voxels):
    save_nifti(tmp_path / "in_0000.nii.gz", voxels, lps_affine((2.2, 2.2, 5.0)))
    report = tmp_path / "report.jsonl"
    arguments = ["--inputs", str(tmp_path / "in_0000.nii.gz"), "--outputs", str(tmp_path / "out")]
    assert command_line.main([*arguments, "--report", str(report)]) == 0
    line = json.loads(report.read_text())
    assert line["box"] is None
    assert any("whole volume" in warning["text"] for warning in line["warnings"])
    assert sum(line["volume_ml"].values()) <= 5
