import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.system.definition import WEIGHTS
from evaluation import compare
from evaluation.benchmark.roster import Contender
from evaluation.compare import BoxedScan, box_scan, run_once, scores_of, steps_of, training_window, turns
from evaluation.efficiency.measure import Run
from evaluation.efficiency.timing import DONE, TimedCase, process_timer, workspace
from tests.files import save_nifti
from tests.shared import CASES, needs_cases

DATA = Path(__file__).parents[1] / "data"
PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".contenders" / "bin" / "python"


def entrant(name, log, *, boxed=False, status=DONE, shape=None):
    """Writes a mask of ones, of what it is handed."""

    def timer(scan, place):
        log.append((name, scan.name))
        if status == DONE:
            voxels = np.ones(shape or nib.load(scan).shape, np.uint8)
            save_nifti(place.outputs / scan.name.replace("_0000", ""), voxels)
        place.log.write_text('first\n{"seconds": {"read": 0.5}}\n')
        return TimedCase(scan.name, Run(0.0, 1.0, 0), status, "somewhere")

    return Contender(name, "what it is", boxed, timer)


@pytest.fixture
def case(tmp_path):
    whole = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((6, 5, 4), np.int16))
    (tmp_path / "box").mkdir()
    boxed = save_nifti(tmp_path / "box" / "a_0000.nii.gz", np.zeros((2, 3, 4), np.int16))
    return BoxedScan(whole, boxed, ((1, 3), (2, 5), (0, 4)))


@pytest.fixture
def _quiet(monkeypatch):
    monkeypatch.setattr(compare, "wait_for_quiet", lambda: 0.0)


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


def test_the_patch_of_training():
    assert training_window(load_bundle(WEIGHTS / "fine")) == [80, 112, 144]


@pytest.mark.parametrize("training", [{}, {"recipe": "fine.toml"}, {"patch": [80, 112]}, {"patch": [80, 112, "144"]}])
def test_a_bundle_that_names_no_patch_needs_a_window(training):
    bundle = replace(load_bundle(WEIGHTS / "fine"), training=training)
    with pytest.raises(SetupError, match="say --window"):
        training_window(bundle)


def test_a_mask_that_does_not_fit_the_box_is_a_run_that_failed(case, tmp_path):
    timed, _ = run_once(entrant("theirs", [], boxed=True, shape=(2, 3, 5)), case, tmp_path)
    assert timed.status == "unusable mask"
    assert "shape (2, 3, 5), the box has" in timed.note


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        compare.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--rounds", "0"], "--rounds takes 1 or more", id="no round"),
        pytest.param(["--python", "nowhere"], "nowhere: not there; `sh scripts/contenders`", id="no environment"),
        pytest.param(["--python", sys.executable, "--peer", "nowhere"], "--peer nowhere: no such file", id="no peer"),
    ],
)
def test_mistakes_are_said_before_anything_runs(monkeypatch, tmp_path, capsys, options, message):
    cases = ["--cases", DATA / "phantom_0000.nii.gz"]
    assert run(monkeypatch, "--image", "x", *cases, "--out", tmp_path / "B.md", *options) == 2
    assert message in capsys.readouterr().err


def test_two_scans_of_one_name_are_refused(monkeypatch, tmp_path, capsys):
    shutil.copy(DATA / "phantom_0000.nii.gz", tmp_path)
    cases = ["--cases", DATA / "phantom_0000.nii.gz", tmp_path / "phantom_0000.nii.gz"]
    assert run(monkeypatch, "--image", "x", *cases, "--python", sys.executable) == 2
    assert "two scans are called phantom_0000.nii.gz" in capsys.readouterr().err


@pytest.mark.slow
@needs_cases
def test_the_box_is_that_of_phase_one(tmp_path):
    scan = CASES / "hcc_006_0000.nii.gz"
    case = box_scan(scan, tmp_path / "box")
    image, boxed = nib.load(scan), nib.load(case.boxed)
    assert boxed.shape == tuple(stop - start for start, stop in case.box)
    assert boxed.shape < image.shape
    inside = np.asarray(image.dataobj)[tuple(slice(*sides) for sides in case.box)]
    np.testing.assert_array_equal(np.asarray(boxed.dataobj), inside)
    # a voxel lies at the same place of the body in both
    start = [side[0] for side in case.box]
    np.testing.assert_allclose(boxed.affine[:3, 3], (image.affine @ [*start, 1])[:3], atol=1e-3)


@pytest.mark.slow
@needs_cases
def test_contenders_run_the_same_network(tmp_path):
    """With one window over the whole box all of them say nearly the same."""
    if not PYTHON.exists():
        pytest.skip("no contenders here: sh scripts/contenders makes their environment")
    case = box_scan(CASES / "hcc_006_0000.nii.gz", tmp_path / "box")
    bundle, prepared = WEIGHTS / "fine", tmp_path / "prepared"
    window = ["112", "112", "144"]
    command = [PYTHON, "-m", "evaluation.contenders.prepare", bundle, prepared, "--window", *window]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)  # compares the networks' scores itself
    options = {
        "steps-float32": ["steps", "--engine", "openvino-float32"],
        "steps-onnx": ["steps", "--engine", "onnxruntime", "--onnx", prepared / "fine.onnx"],
        "eager": ["eager_torch", "--weights", prepared / "fine.pth", "--window", *window],
        "nnunet": ["nnunet", "--model", prepared / "nnunet"],
    }
    masks = {}
    for name, (module, *rest) in options.items():
        start = [PYTHON, "-m", f"evaluation.contenders.{module}"]
        words = ["--bundle", bundle, *rest]
        timer = process_timer(lambda scan, place, start=start, words=words: [*start, scan, place.outputs, *words], name)
        with workspace(tmp_path) as place:
            timed = timer(case.boxed, place)
            assert timed.status == DONE, timed.note
            assert steps_of(place.log)
            masks[name] = np.asarray(nib.load(place.outputs / "hcc_006.nii.gz").dataobj)
    reference = masks.pop("steps-float32")
    # ONNX Runtime runs, in our windows, what was built from the same weights for all three others: that it is the same
    # network shows there. MONAI and nnU-Net fill the volume up at both ends, ours at one, and nnU-Net resamples with
    # splines; measured 0.969 and 0.937
    for name, least in (("steps-onnx", 0.999), ("eager", 0.95), ("nnunet", 0.9)):
        both = np.count_nonzero((masks[name] == reference) & (reference > 0))
        assert 2 * both / (np.count_nonzero(masks[name]) + np.count_nonzero(reference)) > least, name
