import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.run import command_line
from evaluation import oddities
from evaluation.oddities import Row, least_evidence, mean_dice, mixtures, table
from tests.files import lps_affine, save_nifti
from tests.models import known_models
from tests.shared import CASES, needs_cases


def test_dice_is_a_mean_over_organs_that_are_there():
    mask, reference = np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.uint8)
    assert mean_dice(mask, reference, 1.0) == 1
    mask[0], reference[0] = 1, 1
    mask[1] = 2
    assert mean_dice(mask, reference, 1.0) == 0.5  # organ 2 is of one alone
    assert mean_dice(mask, reference, 0.099) == 1  # and with less than a millilitre nowhere


@pytest.mark.parametrize(
    ("kind", "dice", "verdict", "fails"),
    [
        ("ten slices", 0.95, "good", False),
        ("ten slices", 0.949, "good", True),
        ("ten slices", 0.1, "check", False),
        ("ten slices", None, "refused", False),
        ("oblique 20 degrees about x", 0.93, "good", False),
        ("oblique 20 degrees about x", 0.92, "good", True),
    ],
)
def test_a_wrong_mask_without_a_word_fails(kind, dice, verdict, fails):
    assert Row("a", kind, dice, verdict, "").fails == fails


def test_the_table_has_a_row_a_kind_and_a_column_a_scan():
    rows = [
        Row("a", "noise", 1.0, "check", "empty"),
        Row("b", "noise", 0.2, "good", ""),
        Row("b", "unit", None, "refused", "empty, odd"),
    ]
    assert table(rows).splitlines() == [
        "| kind | a | b | said |",
        "|---|---|---|---|",
        "| noise | 1.000 check | 0.200 good, **wrong and good** | empty |",
        "| unit |  | refused | empty, odd |",
    ]


def test_mixtures_are_of_different_sorts_and_the_same_for_a_seed():
    drawn = [name for name, _ in mixtures(20, 1)]
    assert drawn == [name for name, _ in mixtures(20, 1)]
    assert drawn != [name for name, _ in mixtures(20, 2)]
    assert len(set(drawn)) == 20
    sorts = [oddities.PARTS, oddities.ORIENTATION, oddities.VALUES, oddities.FILES]  # in this order
    for name in drawn:
        found = [next(index for index, kinds in enumerate(sorts) if kind in kinds) for kind in name.split(" & ")]
        assert 2 <= len(found) <= 4
        assert found == sorted(set(found))


def test_the_way_of_a_scan(tmp_path, monkeypatch, capsys):
    """With made-up networks, whose every answer follows the voxels."""
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())
    voxels = np.full((48, 48, 40), -1000, np.int16)
    voxels[6:24, 18:42, 4:24] = 40
    voxels[30:42, 6:20, 20:34] = 1500
    scan = save_nifti(tmp_path / "a_0000.nii.gz", voxels, lps_affine((10, 4, 4)))
    kinds = ["left is right", "wrapped in 16 bits", "padded with 0", "box around the left kidney"]
    monkeypatch.setattr(sys, "argv", ["oddities", str(scan), "--kinds", *kinds, "--mixtures", "1"])
    with pytest.raises(SystemExit):
        oddities.main()
    printed = capsys.readouterr().out
    assert re.search(r"\| left is right \| (1.000|0.99\d) check \| (turned|mirrored) \|", printed)
    assert "| wrapped in 16 bits | 1.000" in printed
    assert "box around" not in printed.split("| kind")[1]  # it has none


@pytest.mark.parametrize(("spacing", "status"), [((10, 4, 4), 0), ((3, 4, 4), 1)])
def test_scans_as_they_are(tmp_path, monkeypatch, capsys, spacing, status):
    """The second is a body of 5 cm."""
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())
    voxels = np.full((48, 48, 40), -1000, np.int16)
    voxels[6:24, 18:42, 4:36] = 40
    scan = save_nifti(tmp_path / "a_0000.nii.gz", voxels, lps_affine(spacing))
    monkeypatch.setattr(sys, "argv", ["oddities", str(scan), "--undamaged"])
    with pytest.raises(SystemExit) as exit_info:
        oddities.main()
    assert exit_info.value.code == status
    printed = capsys.readouterr().out
    assert f"1 scans, {status} of them doubted" in printed
    assert re.search(r"least of the undamaged scans: agreement \d\.\d{3} \(a\), lead ", printed)


def test_the_least_evidence_is_told_with_its_scan():
    def row(scan, **evidence):
        return Row(scan, "undamaged", 1.0, "good", "", evidence or None)

    rows = [row("a", agreement=0.9, lead=7.0, arrangement=1.0), row("b", agreement=0.8, lead=8.0, arrangement=1.0)]
    assert least_evidence(rows) == "agreement 0.800 (b), lead 7.000 (a), arrangement 1.000 (a)"
    assert least_evidence([*rows, row("empty")]) == least_evidence(rows)
    assert least_evidence([*rows, row("unlocated", agreement=None, lead=9.0)]) == least_evidence(rows)
    assert least_evidence([row("empty")]) == ""


@pytest.mark.parametrize("options", [["--undamaged"], ["--kinds", "noise"], ["--write"]])
def test_a_scan_that_is_refused_as_it_is_is_a_line(tmp_path, monkeypatch, capsys, options):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())
    monkeypatch.setattr(oddities, "_run", lambda *_, **__: {"status": "failed", "error": "a.nii.gz: too thin"})
    scan = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((4, 4, 4), np.int16), lps_affine((1, 1, 1)))
    monkeypatch.setattr(oddities, "write_document", lambda _: pytest.fail("a document of a scan that is refused"))
    monkeypatch.setattr(sys, "argv", ["oddities", str(scan), *options])
    with pytest.raises(SystemExit) as exit_info:
        oddities.main()
    assert exit_info.value.code == 1
    assert "refused  a.nii.gz: too thin" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--undamaged", "--mixtures", "2"], "--undamaged is of the scans as they are"),
        (["--undamaged", "--write"], "--write goes with all kinds"),
        (["--mixtures", "501"], "--mixtures must be 500 at the most"),
        (["--undamaged", "--system", "nobody"], "nobody.toml: cannot be read"),
    ],
)
def test_options_that_make_no_sense_are_said(tmp_path, monkeypatch, capsys, options, said):
    scan = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((4, 4, 4), np.int16), lps_affine((1, 1, 1)))
    monkeypatch.setattr(sys, "argv", ["oddities", str(scan), *options])
    with pytest.raises(SystemExit) as exit_info:
        oddities.main()
    assert exit_info.value.code == 2
    assert said in capsys.readouterr().err


def test_the_document_is_written_between_its_marks(tmp_path, monkeypatch):
    document = tmp_path / "oddities.md"
    document.write_text(f"before\n{oddities.BEGIN}\nold\n{oddities.END}\nafter\n")
    monkeypatch.setattr(oddities, "DOCUMENT", document)
    oddities.write_document("new")
    assert document.read_text() == f"before\n{oddities.BEGIN}\n\nnew\n\n{oddities.END}\nafter\n"


@pytest.mark.slow
@needs_cases
def test_a_real_scan_that_is_damaged_is_right_or_said():
    kinds = ["header is diagonal", "oblique 20 degrees about x", "padded with 0", "ten slices"]
    command = [sys.executable, "-m", "evaluation.oddities", str(CASES / "chaos_3_0000.nii.gz"), "--kinds", *kinds]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "5 scans" in done.stdout
