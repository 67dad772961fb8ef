import csv
import gc
import sys
from pathlib import Path

import pytest

from evaluation import time_cases
from evaluation.efficiency.timing import LOCAL

DATA = Path(__file__).parents[1] / "data"


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
