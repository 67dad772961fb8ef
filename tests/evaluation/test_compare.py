import shutil
import sys
from pathlib import Path

import pytest

from evaluation import compare

DATA = Path(__file__).parents[1] / "data"


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
