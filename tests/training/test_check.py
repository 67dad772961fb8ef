import sys

import numpy as np
import pytest

from tests.files import body_phantom, lps_affine, save_nifti
from training import check
from training.layout import find_cases

SPACING = (2, 2, 4)


@pytest.fixture
def data(tmp_path):
    voxels = body_phantom((20, 24, 12))
    for name in ("good", "shape", "spacing", "apart", "unknown", "empty", "broken", "alone"):
        save_nifti(tmp_path / f"{name}_0000.nii.gz", voxels, lps_affine(SPACING))
        save_nifti(tmp_path / f"{name}.nii.gz", np.where(voxels > 0, 3, 0).astype(np.uint8), lps_affine(SPACING))
    labels = np.where(voxels > 0, 3, 0).astype(np.uint8)
    save_nifti(tmp_path / "shape.nii.gz", labels[1:], lps_affine(SPACING))
    save_nifti(tmp_path / "spacing.nii.gz", labels, lps_affine((2, 2, 5)))
    save_nifti(tmp_path / "apart.nii.gz", labels, lps_affine(SPACING, (100, 120, -290)))
    save_nifti(tmp_path / "unknown.nii.gz", labels * 5, lps_affine(SPACING))
    save_nifti(tmp_path / "empty.nii.gz", labels * 0, lps_affine(SPACING))
    (tmp_path / "broken_0000.nii.gz").write_bytes(b"nothing of the kind")
    (tmp_path / "alone.nii.gz").unlink()
    return tmp_path


def test_one_line_per_case_says_what_is_wrong(data):
    lines = dict(check.line(case, check.judge(case)).split(": ", 1) for case in find_cases(data))
    assert lines["good"].startswith("ok; without liver, right_kidney")
    assert lines["shape"].startswith("shape of the label is (12, 24, 19) (z, y, x), of the scan (12, 24, 20)")
    assert lines["spacing"].startswith("spacing of the label is 5 x 2 x 2 mm (z, y, x), of the scan 4 x 2 x 2 mm")
    assert lines["apart"].startswith("label and scan lie up to 10.0 mm apart")
    assert lines["unknown"].startswith("unknown labels 15; known are 0 to 13")
    assert lines["empty"].startswith("empty mask")
    assert lines["broken"].startswith("broken_0000.nii.gz: ")
    assert lines["alone"] == "label alone.nii.gz is missing"


def test_another_order_of_axes_in_the_label_is_the_same_grid(data):
    voxels = body_phantom((20, 24, 12))
    labels = np.where(voxels > 0, 3, 0).astype(np.uint8)
    affine = lps_affine(SPACING)
    affine[:, 3] += 19 * affine[:, 0]
    affine[:, 0] *= -1
    save_nifti(data / "good.nii.gz", labels[::-1], affine)
    assert not check.judge(find_cases(data)[4]).problems


def test_a_header_that_app_reads_with_a_warning_is_no_problem(data):
    voxels = body_phantom((20, 24, 12))
    header = {"codes": (0, 1), "quatern_b": 1.0, "quatern_c": 0.05}
    save_nifti(data / "good_0000.nii.gz", voxels, lps_affine(SPACING), **header)
    save_nifti(data / "good.nii.gz", (voxels > 0).astype(np.uint8), lps_affine(SPACING), **header)
    verdict = check.judge(find_cases(data)[4])
    assert verdict.problems == ()
    assert verdict.notes


def test_labels_that_scaling_has_left_a_little_off_are_whole(data):
    stored = np.where(body_phantom((20, 24, 12)) > 0, 29999, 0).astype(np.int16)
    save_nifti(data / "good.nii.gz", stored, lps_affine(SPACING), scaling=(1e-4, 0))
    verdict = check.judge(find_cases(data)[4])
    assert (verdict.problems, "spleen" in verdict.notes[-1]) == ((), False)


@pytest.mark.parametrize(("arguments", "lines"), [([], 9), (["--only-wrong"], 8)])
def test_the_command(data, monkeypatch, capsys, arguments, lines):
    monkeypatch.setattr(sys, "argv", ["check", str(data), *arguments])
    with pytest.raises(SystemExit) as stopped:
        check.main()
    assert stopped.value.code == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines
    assert printed[-1] == "8 cases of 8 patients, 7 with something wrong"
