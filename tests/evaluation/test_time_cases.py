import csv
import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import SetupError
from evaluation import time_cases
from evaluation.efficiency.measure import Run
from evaluation.efficiency.timing import judged
from evaluation.shared.masks import open_mask
from evaluation.time_cases import LOCAL, time_all
from tests.files import save_nifti

DATA = Path(__file__).parents[1] / "data"


def done(scan, place):
    save_nifti(place.outputs / f"{scan.name[0]}.nii.gz", np.zeros((2, 2, 2), np.uint8))
    place.log.write_text("fine")
    return judged(scan, Run(0.0, 1.0, 0), place, "somewhere", out_of_memory=False)


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    def timer(scan, place):
        if scan.name == "b.nii.gz":
            raise KeyboardInterrupt
        return done(scan, place)

    time_all([Path("a.nii.gz"), Path("c.nii")], done, tmp_path, "")
    (tmp_path / "summary.txt").write_text("2 of 2 cases done\n")
    assert len(list((tmp_path / "masks").iterdir())) == 2
    with pytest.raises(KeyboardInterrupt):
        time_all([Path("a.nii.gz"), Path("b.nii.gz")], timer, tmp_path, "")
    (mask,) = (tmp_path / "masks").iterdir()
    assert open_mask(mask).case == "a"
    assert "a.nii.gz,1.00" in (tmp_path / "efficiency.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "curves", "samples", "logs", "efficiency.csv"}


@pytest.mark.parametrize(
    "name",
    ["masks/b.nii.gz", "masks/b", "curves/notes.png", "logs/a.md", "samples/.hidden"],
)
def test_a_file_that_no_earlier_run_left_stops_it_before_anything_is_removed(tmp_path, name):
    time_all([Path("a.nii.gz")], done, tmp_path, "")
    (tmp_path / name).write_text("of somebody else")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SetupError, match=rf"{name}: exists and is not of an earlier run"):
        time_all([Path("a.nii.gz")], done, tmp_path, "")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_mask_that_was_corrected_since_is_kept(tmp_path):
    time_all([Path("a.nii.gz")], done, tmp_path, "")
    mask, table = tmp_path / "masks" / "a.nii.gz", tmp_path / "efficiency.csv"
    save_nifti(mask, np.ones((2, 2, 2), np.uint8))
    os.utime(mask, (table.stat().st_mtime + 1,) * 2)
    corrected = mask.read_bytes()
    with pytest.raises(SetupError, match=r"a\.nii\.gz: was changed since the earlier run"):
        time_all([Path("a.nii.gz")], done, tmp_path, "")
    assert mask.read_bytes() == corrected


def test_a_mask_of_an_earlier_run_that_is_to_be_timed_is_kept(tmp_path):
    time_all([Path("a.nii.gz")], done, tmp_path / "out", "")
    (tmp_path / "link").symlink_to("out/masks")
    with pytest.raises(SetupError, match=r"a\.nii\.gz: is to be timed, and of an earlier run"):
        time_all([tmp_path / "link" / "a.nii.gz"], done, tmp_path / "out", "")
    assert (tmp_path / "out" / "masks" / "a.nii.gz").exists()


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
    gc.collect()  # docker's client forgets the socket that could not connect: it is said here, not in some later test


def test_what_is_a_containers_is_refused_without_one(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--local", "--inputs", DATA, "--out", tmp_path / "out", "--memory", "1g") == 2
    assert "--local runs none" in capsys.readouterr().err


def test_a_limit_is_above_nothing(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--local", "--inputs", DATA, "--out", tmp_path / "out", "--time-limit", "0") == 2
    assert "--time-limit takes seconds above 0" in capsys.readouterr().err
