import nibabel as nib
import numpy as np
import pytest

from evaluation.benchmark import rounds
from evaluation.benchmark.boxes import BoxedScan
from evaluation.benchmark.roster import Contender
from evaluation.benchmark.rounds import run_once, scores_of, steps_of, turns
from evaluation.efficiency.measure import Run
from evaluation.efficiency.timing import DONE, TimedCase
from tests.files import save_nifti


def entrant(name, log, *, boxed=False, status=DONE, shape=None):
    """Writes a mask of ones, of what it is handed."""

    def timer(scan, place):
        log.append((name, scan.name))
        if status == DONE:
            voxels = np.ones(shape or nib.load(scan).shape, np.uint8)
            save_nifti(place.outputs / scan.name.replace("_0000", ""), voxels)
        place.log.write_text('first\n{"seconds": {"read": 0.5}}\n')
        return TimedCase(scan.name, Run(0.0, 1.0, 0), status, "somewhere", "" if status == DONE else "no plans.json")

    return Contender(name, "what it is", boxed, timer)


@pytest.fixture
def case(tmp_path):
    whole = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((6, 5, 4), np.int16))
    (tmp_path / "box").mkdir()
    boxed = save_nifti(tmp_path / "box" / "a_0000.nii.gz", np.zeros((2, 3, 4), np.int16))
    return BoxedScan(whole, boxed, ((1, 3), (2, 5), (0, 4)))


@pytest.fixture
def _quiet(monkeypatch):
    monkeypatch.setattr(rounds, "wait_for_quiet", lambda: 0.0)


@pytest.mark.usefixtures("_quiet")
def test_why_a_run_failed_is_said(case, tmp_path, capsys):
    list(turns([entrant("theirs", [], status="exit status 1")], [case], 1, tmp_path))
    assert "round 1: theirs, a_0000.nii.gz: 1.00 s, exit status 1 (no plans.json)\n" in capsys.readouterr().out


@pytest.mark.usefixtures("_quiet")
def test_contenders_take_turns(case, tmp_path):
    log = []
    entrants = [entrant("ours", log), entrant("theirs", log)]
    found = list(turns(entrants, [case], 2, tmp_path))
    assert [name for name, _ in log] == ["ours", "theirs"] * 3  # the first round is not counted
    assert [(turn.contender, turn.round) for turn in found] == [("ours", 0), ("theirs", 0), ("ours", 1), ("theirs", 1)]
    assert found[0].steps == {"read": 0.5}


def test_a_mask_of_the_box_becomes_one_of_the_scan(case, tmp_path):
    run_once(entrant("theirs", [], boxed=True), case, tmp_path)
    mask = np.asarray(nib.load(tmp_path / "theirs" / "a.nii.gz").dataobj)
    expected = np.zeros((6, 5, 4), np.uint8)
    expected[1:3, 2:5, :] = 1
    np.testing.assert_array_equal(mask, expected, strict=True)


def test_a_run_that_failed_leaves_no_mask_of_an_earlier_one(case, tmp_path):
    run_once(entrant("theirs", []), case, tmp_path)
    assert (tmp_path / "theirs" / "a.nii.gz").exists()
    run_once(entrant("theirs", [], status="time limit"), case, tmp_path)
    assert not (tmp_path / "theirs" / "a.nii.gz").exists()


def test_scores_of_each(case, tmp_path, capsys):
    truth = tmp_path / "truth"
    truth.mkdir()
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3, 2:5, :] = 1
    save_nifti(truth / "a.nii.gz", labels)
    entrants = [entrant("ours", [], boxed=True), entrant("theirs", [], status="no mask")]
    scores = scores_of(entrants, [case], truth, tmp_path)
    assert (scores["ours"][0].dsc, scores["theirs"][0].dsc) == (1, 0)
    assert "theirs: a: no prediction" in capsys.readouterr().out


def test_steps_that_are_not_said(tmp_path):
    for text in ("", "Killed\n", "[1]\n", '{"parameters": 1}\n'):
        (tmp_path / "log.txt").write_text(text)
        assert steps_of(tmp_path / "log.txt") == {}


def test_a_mask_that_does_not_fit_the_box_is_a_run_that_failed(case, tmp_path):
    timed, _ = run_once(entrant("theirs", [], boxed=True, shape=(2, 3, 5)), case, tmp_path)
    assert timed.status == "unusable mask"
    assert "shape (2, 3, 5), the box has" in timed.note
