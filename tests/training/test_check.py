import sys

import numpy as np
import pytest

from app.files.read import read
from tests.files import body_phantom, lps_affine, save_nifti
from tests.shared import SHARED, skip
from tests.training.labelled_bodies import DAMAGES, labelled_body, write_case
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


def said_of(folder, voxels, labels):
    write_case(folder, "body", voxels, labels)
    (case,) = find_cases(folder)
    return check.judge(case)


def test_a_body_with_all_its_organs_is_in_order(tmp_path):
    assert said_of(tmp_path, *labelled_body()) == check.Verdict(())


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_body_is_told_with_its_damage_and_nothing_else(tmp_path, damage):
    voxels, labels = labelled_body()
    verdict = said_of(tmp_path, voxels, DAMAGES[damage](labels))
    (problem,) = verdict.problems
    as_said = {f"numbered as in {damage}: ", f"label and scan are mirrored {damage} against each other: "}
    assert problem.startswith(tuple(as_said))
    assert verdict.notes == (("without duodenum",) if damage == "BTCV" else ())


def test_numbering_and_direction_are_told_apart(tmp_path):
    voxels, labels = labelled_body()
    numbering, direction = said_of(tmp_path, voxels, DAMAGES["left to right"](DAMAGES["AMOS22"](labels))).problems
    assert numbering.startswith("numbered as in AMOS22: ")
    assert direction.startswith("label and scan are mirrored left to right against")


def test_organs_that_no_body_has_and_air_inside_them_are_notes(tmp_path):
    voxels, labels = labelled_body()
    labels[labels == 1] = 0
    labels[18:22, 8:12, 6:20] = 1  # 28 ml
    voxels[18:22, 8:12, 6:13] = -700
    assert said_of(tmp_path, voxels, labels) == check.Verdict(
        (),
        (
            "liver of 28 ml, below any body's (300 ml), and not at the scan's edge",
            "air (below -300 HU) inside solid organs: liver 50%",
        ),
    )


def test_places_are_not_judged_by_values_that_are_no_hu(tmp_path):
    voxels, labels = labelled_body()
    verdict = said_of(tmp_path, (voxels + 1000).astype(np.int16) * 40, labels[::-1])
    assert verdict.problems == ()
    assert any("cannot be HU" in note for note in verdict.notes)


REAL = "tcga_bc_a10x"  # a small one


@pytest.fixture(scope="module")
def real_case():
    folder = SHARED / "data" / "train"
    if not folder.is_dir():
        skip(f"no real scans with masks: {folder} is not there")
    (case,) = (case for case in find_cases(folder) if case.name == REAL)
    return read(case.scan), read(case.label)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_real_mask_is_told(real_case, damage):
    scan, mask = real_case
    judged = check.judge_labels(DAMAGES[damage](mask.voxels), mask.voxel_ml)
    (problem,) = (*judged.verdict.problems[:1], *check.judge_places(scan, judged.labels).problems)
    assert damage in problem.partition(":")[0]


@pytest.mark.slow
def test_of_the_real_scans_and_masks_nothing_is_said_but_which_organs_they_lack():
    folder = SHARED / "data" / "train"
    if not folder.is_dir():
        skip(f"no real scans with masks: {folder} is not there")
    verdicts = {case.name: check.judge(case) for case in find_cases(folder)}
    said = [note for verdict in verdicts.values() for note in (*verdict.problems, *verdict.notes)]
    assert len(verdicts) >= 38
    assert [line for line in said if not line.startswith("without ")] == []


@pytest.mark.parametrize(("arguments", "lines"), [([], 9), (["--only-wrong"], 8)])
def test_the_command(data, monkeypatch, capsys, arguments, lines):
    monkeypatch.setattr(sys, "argv", ["check", str(data), *arguments])
    with pytest.raises(SystemExit) as stopped:
        check.main()
    assert stopped.value.code == 1
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == lines
    assert printed[-1] == "8 cases of 8 patients, 7 with something wrong"
