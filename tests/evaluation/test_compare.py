import json
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.bundle import load_bundle
from app.system import WEIGHTS
from evaluation import compare
from evaluation.compare import Case, prepare_case, rounds, run_once, scores_of, steps_of, training_window, whole_mask
from evaluation.efficiency import DONE, Efficiency
from evaluation.entrants import Contender, process
from evaluation.machine import busy_percent, describe, versions
from evaluation.measure import Run
from tests.files import save_nifti
from tests.shared import CASES, needs_cases

DATA = Path(__file__).parents[1] / "data"
PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".contenders" / "bin" / "python"


def entrant(name, log, *, boxed=False, status=DONE):
    """Writes a mask of ones, of what it is handed."""

    def run(scan, workspace):
        log.append((name, scan.name))
        outputs = workspace / "outputs"
        outputs.mkdir(parents=True, exist_ok=True)
        if status == DONE:
            shape = nib.load(scan).shape
            save_nifti(outputs / scan.name.replace("_0000", ""), np.ones(shape, np.uint8))
        (workspace / "log.txt").write_text('first\n{"parameters": 7, "seconds": {"read": 0.5}}\n')
        return Efficiency(scan.name, Run(0.0, 1.0, 0, False, (), 0.0), status, "somewhere")

    return Contender(name, "what it is", boxed, run)


@pytest.fixture
def case(tmp_path):
    whole = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((6, 5, 4), np.int16))
    boxed = (
        save_nifti(tmp_path / "box" / "a_0000.nii.gz", np.zeros((2, 3, 4), np.int16))
        if (tmp_path / "box").mkdir() is None
        else None
    )
    return Case(whole, boxed, ((1, 3), (2, 5), (0, 4)))


@pytest.fixture
def _quiet(monkeypatch):
    monkeypatch.setattr(compare, "wait_for_quiet", lambda: 0.0)


@pytest.mark.usefixtures("_quiet")
def test_contenders_take_turns(case, tmp_path):
    log = []
    entrants = [entrant("ours", log), entrant("theirs", log)]
    for each in entrants:
        (tmp_path / each.name).mkdir()
    timed = list(rounds(entrants, [case], 2, tmp_path))
    assert [name for name, _ in log] == ["ours", "theirs"] * 3  # the first round is not counted
    assert [(run.contender, run.round) for run in timed] == [("ours", 0), ("theirs", 0), ("ours", 1), ("theirs", 1)]
    assert timed[0].steps == {"read": 0.5}


def test_a_mask_of_the_box_becomes_one_of_the_scan(case, tmp_path):
    (tmp_path / "theirs").mkdir()
    run_once(entrant("theirs", [], boxed=True), case, tmp_path)
    mask = np.asarray(nib.load(tmp_path / "theirs" / "masks" / "a.nii.gz").dataobj)
    expected = np.zeros((6, 5, 4), np.uint8)
    expected[1:3, 2:5, :] = 1
    np.testing.assert_array_equal(mask, expected, strict=True)


def test_a_run_that_failed_leaves_no_mask_of_an_earlier_one(case, tmp_path):
    (tmp_path / "theirs").mkdir()
    run_once(entrant("theirs", []), case, tmp_path)
    assert (tmp_path / "theirs" / "masks" / "a.nii.gz").exists()
    run_once(entrant("theirs", [], status="time limit"), case, tmp_path)
    assert not (tmp_path / "theirs" / "masks" / "a.nii.gz").exists()


def test_scores_of_each(case, tmp_path, capsys):
    truth = tmp_path / "truth"
    truth.mkdir()
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3, 2:5, :] = 1
    save_nifti(truth / "a.nii.gz", labels)
    entrants = [entrant("ours", [], boxed=True), entrant("theirs", [], status="no mask")]
    for each in entrants:
        (tmp_path / each.name).mkdir()
    scores = scores_of(entrants, [case], truth, tmp_path)
    assert (scores["ours"][0].dsc, scores["theirs"][0].dsc) == (1, 0)
    assert "theirs: a: no prediction" in capsys.readouterr().out


def test_steps_that_are_not_said(tmp_path):
    for text in ("", "Killed\n", "[1]\n", '{"parameters": 1}\n'):
        (tmp_path / "log.txt").write_text(text)
        assert steps_of(tmp_path) == {}


def test_the_patch_of_training():
    assert training_window(load_bundle(WEIGHTS / "fine", "fine")) == [64, 80, 96]


def test_a_plain_process(tmp_path):
    script = "import sys, pathlib; (pathlib.Path(sys.argv[2]) / 'X.nii.gz').touch()"
    run = process(lambda scan, outputs: [sys.executable, "-c", script, scan, outputs])
    assert run(tmp_path / "X_0000.nii.gz", tmp_path / "w").status == DONE
    failing = process(lambda *_: [sys.executable, "-c", "raise SystemExit('why')"])
    result = failing(tmp_path / "X_0000.nii.gz", tmp_path / "w")
    assert (result.status, result.note) == ("exit status 1", "why")


def test_facts_of_the_machine():
    facts = describe()
    assert facts["processor"].endswith("CPUs")
    assert facts["memory"].endswith("GB")
    assert versions(["numpy", "NumPy", "no-such-package"])["numpy"] == np.__version__
    assert 0 <= busy_percent(0.1) <= 100


@pytest.mark.slow
@needs_cases
def test_the_box_is_that_of_phase_one(tmp_path):
    scan = CASES / "hcc_006_0000.nii.gz"
    case = prepare_case(scan, tmp_path)
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
    case = prepare_case(CASES / "hcc_006_0000.nii.gz", tmp_path / "box")
    bundle, prepared = WEIGHTS / "fine", tmp_path / "prepared"
    window = ["112", "112", "144"]
    made = process(lambda _, __: [PYTHON, "-m", "evaluation.contenders.prepare", bundle, prepared, "--window", *window])
    made(case.boxed, tmp_path / "p")
    options = {
        "steps-float32": ["steps", "--engine", "openvino-float32"],
        "steps-onnx": ["steps", "--engine", "onnxruntime", "--onnx", prepared / "fine.onnx"],
        "eager": ["eager_torch", "--window", *window],
        "nnunet": ["nnunet", "--model", prepared / "nnunet"],
    }
    masks = {}
    for name, (module, *rest) in options.items():
        start = [PYTHON, "-m", f"evaluation.contenders.{module}"]
        run = process(lambda scan, outputs, start=start, rest=rest: [*start, scan, outputs, "--bundle", bundle, *rest])
        result = run(case.boxed, tmp_path / name)
        assert result.status == DONE, result.note
        assert json.loads((tmp_path / name / "log.txt").read_text().splitlines()[-1])["seconds"]
        masks[name] = np.asarray(nib.load(tmp_path / name / "outputs" / "hcc_006.nii.gz").dataobj)
    reference = masks.pop("steps-float32")
    # ONNX Runtime runs, in our windows, what was built from the same weights for all three others: that it is the same
    # network shows there. MONAI and nnU-Net fill the volume up at both ends, ours at one, and nnU-Net resamples with
    # splines; measured 0.969 and 0.937
    for name, least in (("steps-onnx", 0.999), ("eager", 0.95), ("nnunet", 0.9)):
        both = np.count_nonzero((masks[name] == reference) & (reference > 0))
        assert 2 * both / (np.count_nonzero(masks[name]) + np.count_nonzero(reference)) > least, name
    shutil.rmtree(prepared)
    whole_mask(tmp_path / "eager" / "outputs" / "hcc_006.nii.gz", case, tmp_path / "whole.nii.gz")
    assert nib.load(tmp_path / "whole.nii.gz").shape == nib.load(case.scan).shape
