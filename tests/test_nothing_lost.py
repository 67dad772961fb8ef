"""Every way that was thought of to point an output at what somebody else wrote: no byte that was there is lost."""

import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from app.files.write import is_replaceable
from app.run import command_line
from evaluation.efficiency.measure import Run
from evaluation.efficiency.timing import judged
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import known_models

PROJECT = Path(__file__).parent.parent
AFFINE = lps_affine((6, 6, 8))
SHIPPED = {"files": {"torchscript": {"model.pt": "0"}}, "training": {"stages": [{"run": "fine9", "name": "1.5mm"}]}}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Scans and labels in `data`, labels alone in `labels`, a bundle, a system, and a folder of somebody else."""
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())
    monkeypatch.setattr("evaluation.time_cases.local_timer", lambda _: empty_mask)
    monkeypatch.chdir(tmp_path)
    voxels = body_phantom((30, 28, 26))
    for folder in ("data", "labels", "foreign", "foreign/masks", "linked", "hard"):
        Path(folder).mkdir()
    save_nifti("data/P1_0000.nii.gz", voxels, AFFINE)
    for folder in ("data", "labels", "foreign", "foreign/masks"):
        save_nifti(f"{folder}/P1.nii.gz", (voxels > 0).astype(np.uint8), AFFINE)
    Path("link").symlink_to("data")
    Path("linked/P1.nii.gz").symlink_to("../data/P1.nii.gz")
    Path("hard/P1.nii.gz").hardlink_to("data/P1_0000.nii.gz")
    for folder in ("weights/fine", "weights/tiny", "more/tiny"):
        write(Path(folder, "bundle.json"), json.dumps(SHIPPED))
        write(Path(folder, "model.pt"), "weights")
    write(Path("more/tiny/notes.txt"), "of somebody else")
    write(Path("none/tiny/model.pt"), "of somebody else")
    shutil.copy(PROJECT / "systems" / "viscera.toml", "mine.toml")
    for name in (
        "notes.txt",
        "notes.png",
        "scores.csv",
        "team.json",
        "team.txt",
        "picture.png",
        "metrics.csv",
        "table.csv",
    ):
        write(Path("foreign", name), "of somebody else")
    for name in ("timed/efficiency.csv", "timed/masks/P2.nii.gz", "timed/summary.txt", "curves/curves/P1.png"):
        write(Path(name), "of somebody else")
    for name in (
        "run/averaged.pt",
        "drawn/curves.png",
        "empty/curves.png",
        "teacher/teacher.pt",
        "pack.partial/index.json",
    ):
        write(Path(name), "of somebody else")
    Path("empty/metrics.csv").touch()
    return tmp_path


def empty_mask(scan, place):
    """In place of a container."""
    save_nifti(place.outputs / "P1.nii.gz", np.zeros((2, 2, 2), np.uint8))
    return judged(scan, Run(0.0, 1.0, 0), place, "somewhere", out_of_memory=False)


def contents(folder):
    """What is in every file and link below it, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path] = path.readlink()
        elif path.is_file():
            found[path] = path.read_bytes()
    return found


def run(monkeypatch, line):
    """The command as it is typed, within this process; its exit status."""
    module, *words = line.split()
    monkeypatch.setattr(sys, "argv", [module, *words])
    try:
        return (command_line if module == "app" else importlib.import_module(module)).main()
    except SystemExit as end:
        return end.code


APP = "app --inputs data/P1_0000.nii.gz --outputs"
VALIDATE = "evaluation.validate data --outputs"
TIME = "evaluation.time_cases --local --inputs data --out"
PACK = "training.pack tiny.toml --data phantoms --spacing 3 3 3 --out"
SHEET = "training.sheet tiny.toml --data phantoms --count 1 --out"
CARD = "--spacing 1 1 1 --clip 0 1 --mean 0 --deviation 1"
SCORE = "evaluation.score --truth data --prediction labels --out"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        pytest.param(f"{APP} data", 1, id="a label beside its scan"),
        pytest.param(f"{APP} link", 1, id="the same through a link"),
        pytest.param(f"{APP} labels", 1, id="a folder of labels"),
        pytest.param(f"{APP} linked", 1, id="a link to a label"),
        pytest.param(f"{APP} foreign", 1, id="a mask of another program"),
        pytest.param(f"{APP} hard --overwrite", 1, id="another name of an input"),
        pytest.param("app --inputs labels --outputs labels --overwrite", 1, id="the folder of the inputs"),
        pytest.param("app --inputs data --outputs link --overwrite", 1, id="the folder of the inputs through a link"),
        pytest.param("app --inputs labels/P1.nii.gz --outputs labels/../labels --overwrite", 1, id="the input"),
        pytest.param(f"{APP} weights/fine", 0, id="the folder of a bundle"),
        pytest.param(f"{APP} out --report data/P1_0000.nii.gz", 2, id="report onto the scan"),
        pytest.param(f"{APP} out --report data/P1.nii.gz", 2, id="report onto a label"),
        pytest.param(f"{APP} out --report linked/P1.nii.gz", 2, id="report onto a link to a label"),
        pytest.param(f"{APP} out --report weights/fine/bundle.json", 2, id="report onto a bundle"),
        pytest.param(f"{APP} out --system mine.toml --report mine.toml", 2, id="report onto the system in use"),
        pytest.param(f"{APP} out --report foreign/notes.txt", 2, id="report onto another file"),
        pytest.param(f"{VALIDATE} data", 2, id="validate onto the truth"),
        pytest.param(f"{VALIDATE} link", 2, id="validate onto the truth through a link"),
        pytest.param(f"{VALIDATE} data/below", 2, id="validate into the truth"),
        pytest.param(f"{VALIDATE} data/..", 2, id="validate into what holds the truth"),
        pytest.param(f"{VALIDATE} labels", 2, id="validate onto other labels"),
        pytest.param(f"{VALIDATE} linked", 2, id="validate onto a link to the truth"),
        pytest.param(f"{VALIDATE} foreign", 2, id="validate onto another folder"),
        pytest.param(f"{TIME} timed", 2, id="time_cases onto a folder with another efficiency.csv"),
        pytest.param(f"{TIME} foreign", 2, id="time_cases onto a folder with masks"),
        pytest.param(f"{TIME} curves", 2, id="time_cases onto a folder with curves"),
        pytest.param(f"{SCORE} foreign/scores.csv", 2, id="score onto another table"),
        pytest.param(f"{SCORE} foreign/team.csv", 2, id="score onto another summary"),
        pytest.param("evaluation.overlay data/P1_0000.nii.gz data/P1.nii.gz foreign/picture.png", 2, id="a picture"),
        pytest.param("evaluation.localiser data --json foreign/team.json", 2, id="localiser onto other figures"),
        pytest.param("evaluation.compare --image x --cases data --out foreign/team.txt", 2, id="compare onto a text"),
        pytest.param("evaluation.compare --image x --cases data --out foreign/table.md", 2, id="compare onto a table"),
    ],
)
def test_no_byte_is_lost(world, monkeypatch, capsys, line, status):
    before = contents(world)
    assert run(monkeypatch, line) == status
    after = contents(world)
    assert {path: after.get(path) for path in before} == before
    said = capsys.readouterr().err.splitlines()
    errors = [text for text in said if ": warning: " not in text and not text.startswith("passed over: ")]
    assert len(errors) == (status != 0)
    assert all(re.search("exists|overwrite|the same mask|lies in the folder of", error) for error in errors)


EXPORT = "training.export tiny.toml --run RUN --data phantoms --weights"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(f"{EXPORT} weights", "another run (fine9)", id="a bundle that ships"),
        pytest.param(f"{EXPORT} none --replace", "is no bundle of a run", id="a folder that is no bundle"),
        pytest.param(f"{EXPORT} more --replace", "holds notes.txt", id="a bundle and another file"),
        pytest.param("training.train tiny.toml --data phantoms --out foreign", "is of no run", id="a run onto a table"),
        pytest.param("training.train tiny.toml --data phantoms --out run", "has weights", id="a run onto weights"),
        pytest.param(
            "training.train tiny.toml --data phantoms --out empty", "is of no run", id="an empty table beside"
        ),
        pytest.param("training.pictures empty", "no metrics.csv of", id="curves of an empty table"),
        pytest.param("training.train tiny.toml --data phantoms --out drawn", "is of no run", id="a run onto a picture"),
        pytest.param(f"{PACK} pack", "", id="what is beside a pack"),
        pytest.param(f"{PACK} foreign", "is there already", id="a pack onto a folder"),
        pytest.param(f"{SHEET} foreign/picture.png", "is no sheet", id="a sheet onto a picture"),
        pytest.param(f"{SHEET} foreign/notes", "must end in .png", id="a sheet onto a picture without its ending"),
        pytest.param(f"training.teacher x.onnx teacher {CARD}", "is there already", id="a teacher onto a teacher"),
        pytest.param("training.carry away RUN foreign", "is there already", id="a run carried onto a folder"),
        pytest.param("training.carry home away foreign", "exists", id="a run carried home onto a folder"),
    ],
)
def test_no_byte_is_lost_by_training(world, monkeypatch, capsys, line, message):
    torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
    pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")
    from tests.training.phantoms import write_data, write_recipe
    from training import carry
    from training.recipe import load_recipe
    from training.train import Run as TrainingRun

    write_data(world / "phantoms")
    trained = TrainingRun(load_recipe(write_recipe(world)), world / "RUN", torch.device("cpu"))
    trained.stage, trained.history = 1, [{"run": "RUN", "name": "coarse"}, {"run": "RUN", "name": "fine"}]
    trained.save()
    carry.away(trained.out, world / "away", optimiser=False)
    before = contents(world)
    assert run(monkeypatch, line) == (2 if message else None)
    after = contents(world)
    assert {path: after.get(path) for path in before} == before
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == bool(message)
    assert message in "".join(errors)


def test_what_validate_wrote_itself_is_written_anew_and_a_scan_that_fails_is_missing(world, monkeypatch, capsys):
    for _ in range(2):
        assert run(monkeypatch, f"{VALIDATE} out") == 0
        assert is_replaceable(world / "out" / "P1.nii.gz")
    assert "DSC by case" in capsys.readouterr().out
    (world / "data" / "P1_0000.nii.gz").write_text("no scan")
    assert run(monkeypatch, f"{VALIDATE} out") == 1
    assert not (world / "out" / "P1.nii.gz").exists()


def test_validate_with_a_system_that_cannot_be_run_removes_no_mask(world, monkeypatch, capsys):
    assert run(monkeypatch, f"{VALIDATE} out") == 0
    before = contents(world)
    assert run(monkeypatch, f"{VALIDATE} out --system viscerra") == 2
    assert contents(world) == before
    assert "known systems are" in capsys.readouterr().err


def test_truth_that_lies_among_the_masks_is_not_scored_against_itself(world, monkeypatch, capsys):
    """A mask of ours that somebody found right as it is, and links to as the truth, bears our mark."""
    assert run(monkeypatch, f"{APP} out") == 0
    (world / "data" / "P1.nii.gz").unlink()
    (world / "data" / "P1.nii.gz").symlink_to("../out/P1.nii.gz")
    before = contents(world)
    assert run(monkeypatch, f"{VALIDATE} out") == 2
    assert contents(world) == before
    assert "P1.nii.gz: exists and is a reference mask" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["score", "overlay"])
def test_what_a_command_wrote_itself_is_written_anew(world, monkeypatch, name):
    line = {"score": f"{SCORE} out.csv", "overlay": "evaluation.overlay data/P1_0000.nii.gz data/P1.nii.gz out.png"}
    run(monkeypatch, line[name])
    made = [path for path in world.iterdir() if path.stem == "out"]
    assert made
    (world / line[name].split()[-1]).touch()
    first = {path: path.stat().st_mtime_ns for path in made}
    assert run(monkeypatch, line[name]) in (0, None)
    assert all(path.stat().st_mtime_ns > first[path] for path in made)
