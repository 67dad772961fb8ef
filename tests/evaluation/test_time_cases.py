import csv
import gc
import sys
from pathlib import Path

import pytest

from app.errors import SetupError
from evaluation import time_cases
from evaluation.efficiency import DONE
from evaluation.measure import Run
from evaluation.time_cases import LOCAL, judged, mask_name, scan_paths, time_all

DATA = Path(__file__).parents[1] / "data"


def test_scans_are_told_from_masks(tmp_path):
    for name in ("b.nii.gz", "a.nii.gz", ".c.nii.gz", "readme.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in scan_paths(tmp_path)] == ["a.nii.gz", "b.nii.gz"]
    (tmp_path / "a_0000.nii.gz").touch()
    assert [path.name for path in scan_paths(tmp_path)] == ["a_0000.nii.gz"]
    assert scan_paths(tmp_path / "b.nii.gz") == [tmp_path / "b.nii.gz"]
    with pytest.raises(SetupError, match="no scans"):
        scan_paths(tmp_path / "nowhere")


def test_the_mask_the_organisers_look_for():
    assert mask_name(Path("X_0000.nii.gz")) == "X.nii.gz"
    assert mask_name(Path("X.nii.gz")) == "X.nii.gz"


@pytest.mark.parametrize(
    ("status", "timed_out", "out_of_memory", "mask", "expected"),
    [
        pytest.param(0, False, False, True, DONE, id="done"),
        pytest.param(0, False, False, False, "no mask", id="no mask"),
        pytest.param(3, False, False, True, "exit status 3", id="failed, whatever it left"),
        pytest.param(137, True, False, False, "time limit", id="time limit"),
        pytest.param(0, False, True, True, "out of memory", id="a process of it was killed"),
    ],
)
def test_what_became_of_a_case(tmp_path, status, timed_out, out_of_memory, mask, expected):
    (tmp_path / "outputs").mkdir()
    (tmp_path / "log.txt").write_text("first\nlast words\n\n")
    if mask:
        (tmp_path / "outputs" / "X.nii.gz").touch()
    run = Run(0.0, 1.0, status, timed_out, (), 0.0)
    case = judged(Path("X_0000.nii.gz"), run, tmp_path, "somewhere", out_of_memory=out_of_memory)
    assert (case.status, case.note) == (expected, "" if expected == DONE else "last words")


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    def case(scan, workspace):
        if scan.name == "b.nii.gz":
            raise KeyboardInterrupt
        outputs = workspace / "outputs"
        outputs.mkdir()
        (outputs / "a.nii.gz").write_text("a mask")
        (workspace / "log.txt").write_text("fine")
        return judged(scan, Run(0.0, 1.0, 0, False, (), 0.0), workspace, "somewhere", out_of_memory=False)

    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.gz").write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        time_all([Path("a.nii.gz"), Path("b.nii.gz")], case, tmp_path, "")
    assert (tmp_path / "masks" / "a.nii.gz").read_text() == "a mask"
    assert "a.nii.gz,1.00" in (tmp_path / "efficiency.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "curves", "samples", "logs", "efficiency.csv"}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["time_cases", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        time_cases.main()
    return caught.value.code


@pytest.mark.slow
def test_without_a_container_every_line_says_so(monkeypatch, tmp_path, capsys):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "phantom_0000.nii.gz").write_bytes((DATA / "phantom_0000.nii.gz").read_bytes())
    (inputs / "text_0000.nii.gz").write_text("no scan")
    out = tmp_path / "out"
    assert run(monkeypatch, "--local", "--inputs", inputs, "--out", out) == 1
    lines = capsys.readouterr().out.splitlines() + (out / "summary.txt").read_text().splitlines()
    assert lines
    assert all(LOCAL in line for line in lines)
    with (out / "efficiency.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["Status"] for row in rows] == ["done", "exit status 1"]
    assert {row["Source"] for row in rows} == {LOCAL}
    assert 100 < float(rows[0]["MaxRAM"]) < 3000
    assert "text_0000" in rows[1]["Note"]
    assert [path.name for path in (out / "masks").iterdir()] == ["phantom.nii.gz"]
    assert {path.name for path in (out / "curves").iterdir()} == {"phantom.png", "text.png"}


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_no_engine_is_a_line_and_status_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nowhere.sock")
    assert run(monkeypatch, "--image", "x", "--inputs", DATA, "--out", tmp_path / "out") == 2
    assert "no Docker engine answers" in capsys.readouterr().err
    gc.collect()  # docker's client forgets the socket that could not connect; it is said here, not in some later test
