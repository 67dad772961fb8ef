"""What is asked of nnunetv2 and what is made of its answer; a few lines of Python stand in for it."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from app.errors import SetupError
from tests.files import save_nifti
from training.nnunet import whole_case
from training.nnunet.archive import Trained
from training.nnunet.whole_case import check_package, predicted, proof_of_case

FAILS = "import sys; print('a warning', file=sys.stderr); sys.exit('the reason\\a')"
SAYS_WHAT_IT_IS_ASKED = """
import json, os, pathlib, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
mask = pathlib.Path(options["-o"], "case.nii.gz")
mask.parent.mkdir()
asked = {"options": sys.argv[1:], "inputs": os.listdir(options["-i"]), "environment": sorted(os.environ)}
mask.write_text(json.dumps(asked))
"""


@pytest.fixture
def scan(tmp_path):
    (tmp_path / "proof").mkdir()
    return save_nifti(tmp_path / "scan.nii.gz", np.zeros((3, 4, 5), np.int16))


def predicted_by(program, scan, monkeypatch, *, folds=("0",), names=("checkpoint_final.pth",), mirrored=False):
    monkeypatch.setattr(whole_case, "PREDICT", program)
    trained = Trained(Path("model"), {fold: Path(name) for fold, name in zip(folds, names, strict=True)})
    return predicted(scan, trained, ".nii.gz", scan.parent / "proof", mirrored=mirrored)


def test_what_must_be_there(scan, monkeypatch):
    monkeypatch.setattr(whole_case, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match="needs nnunetv2 beside what is here"):
        check_package(scan, ".nii.gz")
    monkeypatch.setattr(whole_case, "find_spec", lambda _: "there")
    check_package(scan, ".nii.gz")
    with pytest.raises(SetupError, match="is not there; --proof-scan is one scan"):
        check_package(scan.parent, ".nii.gz")
    with pytest.raises(SetupError, match=re.escape("files that end in .nrrd?; give one of those")):
        check_package(scan, ".nrrd\n")


def test_what_it_is_asked(scan, monkeypatch):
    monkeypatch.setenv("A_SECRET", "x")
    best = 2 * ("checkpoint_best.pth",)
    asked = predicted_by(SAYS_WHAT_IT_IS_ASKED, scan, monkeypatch, folds=("0", "3"), names=best).read_text()
    assert '"inputs": ["case_0000.nii.gz"]' in asked
    assert '"-m", "model", "-f", "0", "3", "-device", "cpu"' in asked
    assert '"-chk", "checkpoint_best.pth"' in asked
    assert '"--disable_tta"' in asked
    assert "A_SECRET" not in asked


def test_mirrored_where_the_system_is(scan, monkeypatch):
    assert "--disable_tta" not in predicted_by(SAYS_WHAT_IT_IS_ASKED, scan, monkeypatch, mirrored=True).read_text()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        pytest.param(FAILS, r"scan.nii.gz: nnunetv2 could not segment it: the reason\?", id="its last line"),
        pytest.param("", "could not segment it: no reason", id="no mask and no word"),
    ],
)
def test_a_run_that_fails(scan, monkeypatch, program, message):
    with pytest.raises(SetupError, match=message):
        predicted_by(program, scan, monkeypatch)


def test_folds_of_two_kinds_of_checkpoint_cannot_be_asked_for_at_once(scan, monkeypatch):
    names = ("checkpoint_final.pth", "checkpoint_best.pth")
    with pytest.raises(
        SetupError, match=r"checkpoint_best.pth and checkpoint_final.pth; prove one of them with --fold"
    ):
        predicted_by(FAILS, scan, monkeypatch, folds=("0", "1"), names=names)


def proof(scan, monkeypatch, ours, theirs):
    """Of two masks, `ours` in the place of what a system makes."""
    monkeypatch.setattr(whole_case, "run_case", lambda _, target, *_more, **_options: save_nifti(target, ours))
    monkeypatch.setattr(whole_case.metadata, "version", lambda name: f"of {name}")
    there = save_nifti(scan.parent / "proof" / "case.nii.gz", theirs)
    return proof_of_case(scan, there, None, ("background", "liver", "spleen", "aorta"), threads=1)


def test_the_counts_of_a_proof(scan, monkeypatch):
    """Of 60 voxels 10 are liver to both, 2 to ours alone; 4 are spleen to theirs, 1 of which is liver to ours."""
    ours, theirs = np.zeros((2, 60), np.uint8)
    ours[:13] = 1
    theirs[:10] = 1
    theirs[12:16] = 2
    found = proof(scan, monkeypatch, ours.reshape(3, 4, 5), theirs.reshape(3, 4, 5))
    assert found == {
        "against": "nnunetv2 of nnunetv2",
        "scan": "scan.nii.gz",
        "same_label": 54 / 60,
        "same_of_labelled": 10 / 16,
        "dice": {"liver": round(20 / 23, 4), "spleen": 0.0},
    }


def test_a_mask_of_another_shape(scan, monkeypatch):
    masks = (np.zeros(shape, np.uint8) for shape in ((3, 4, 5), (5, 4, 3)))
    with pytest.raises(SetupError, match=r"nnunetv2 wrote a mask of \(5, 4, 3\), the scan has \(3, 4, 5\)"):
        proof(scan, monkeypatch, *masks)
