import json
import shutil
import sys

import numpy as np
import pytest

from app.errors import SetupError
from app.system import definition
from app.system.catalogue import Measured
from app.system.definition import SYSTEMS
from evaluation import systems
from evaluation.maintenance.system_figures import BEGIN, END
from tests.files import body_phantom, lps_affine, save_nifti
from tests.made_up import save_project

FAILED = Measured(0.5, 0.6, 7.0, cases=("a",), failed=("a",))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(definition, "SYSTEMS", tmp_path / "systems")
    monkeypatch.setattr(definition, "WEIGHTS", tmp_path / "weights")
    save_project(tmp_path)
    (tmp_path / "systems" / "README.md").write_text(f"{BEGIN}\n{END}\n")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a_0000.nii.gz", "a.nii.gz"):
        save_nifti(data / name, body_phantom((4, 5, 6)))
    return tmp_path


@pytest.fixture
def asked(monkeypatch):
    """`ours` is measured whole, `twice` with a scan that fails, nothing else can be."""
    names = []

    def measure_system(name, data, out, limit):
        names.append((name, data.name, out.name, limit))
        if name not in ("ours", "twice"):
            raise SetupError(f"{name}.toml: cannot be run")
        return (Measured(0.8, 0.9, 7.0, cases=("a",)) if name == "ours" else FAILED), [f"odd {name}"]

    monkeypatch.setattr(systems, "measure_system", measure_system)
    return names


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["systems", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        systems.main()
    return end.value.code or 0


def test_every_system_is_measured_and_one_that_cannot_be_costs_a_line(monkeypatch, project, asked, capsys):
    assert run(monkeypatch, project / "data", "--out", project / "out") == 1
    names = ["lost", "ours", "ours-float32", "ours-torch", "torn", "twice"]
    assert asked == [(name, "data", name, 600) for name in names]
    printed, errors = capsys.readouterr()
    assert printed.splitlines() == ["ours: DSC 0.8, NSD 0.9, 7.0 s", "twice: DSC 0.5, NSD 0.6, 7.0 s"]
    assert "lost: not measured: lost.toml: cannot be run" in errors.splitlines()
    assert "ours: warning: odd ours" in errors.splitlines()
    assert list(json.loads((project / "systems" / "measured.json").read_text())) == ["ours", "twice"]
    assert "| `ours` | margin-box of locate |" in (project / "systems" / "README.md").read_text()
    assert "| 0.800 | 0.900 |" in (project / "systems" / "README.md").read_text()


@pytest.mark.parametrize(
    ("names", "status"),
    [(["ours"], 0), (["twice"], 1), (["lost"], 2), (["ours", "lost"], 1), (["twice", "lost"], 1)],
)
def test_the_status_says_whether_all_is_measured(monkeypatch, project, asked, names, status):
    assert run(monkeypatch, project / "data", "--out", project / "out", "--systems", *names) == status
    assert [name for name, *_ in asked] == names


def test_without_scans_only_the_table_is_written(monkeypatch, project, asked):
    assert run(monkeypatch) == 0
    assert asked == []
    assert "| `ours` |" in (project / "systems" / "README.md").read_text()
    assert not (project / "systems" / "measured.json").exists()


def test_what_cannot_be_measured_on_or_written_is_said_before_anything_runs(monkeypatch, project, asked, capsys):
    (project / "empty").mkdir()
    assert run(monkeypatch, project / "empty") == 2
    assert "no scans NAME_0000.nii.gz here" in capsys.readouterr().err
    assert run(monkeypatch, "--systems", "ours") == 2
    assert "--systems goes with VAL" in capsys.readouterr().err
    assert run(monkeypatch, project / "data", "--time-limit", "0") == 2
    (project / "data" / "a.nii.gz").unlink()
    assert run(monkeypatch, project / "data") == 2
    (project / "systems" / "README.md").write_text("no marks")
    assert run(monkeypatch, project / "data") == 2
    assert "between which the table goes" in capsys.readouterr().err
    (project / "systems" / "measured.json").write_text("{")
    assert run(monkeypatch) == 2
    assert asked == []


@pytest.mark.slow
def test_a_system_that_ships_as_a_process_of_its_own(monkeypatch, tmp_path):
    """The figures go into a copy of the project's own systems."""
    shutil.copytree(SYSTEMS, tmp_path / "systems")
    monkeypatch.setattr(definition, "SYSTEMS", tmp_path / "systems")
    (tmp_path / "data").mkdir()
    truth = np.zeros((50, 40, 30), np.uint8)
    truth[20:30, 20:30, 10:20] = 1
    save_nifti(tmp_path / "data" / "a_0000.nii.gz", body_phantom((50, 40, 30)), lps_affine((6, 6, 8)))
    save_nifti(tmp_path / "data" / "a.nii.gz", truth, lps_affine((6, 6, 8)))
    assert run(monkeypatch, tmp_path / "data", "--systems", "viscera", "--out", tmp_path / "out") == 0
    found = json.loads((tmp_path / "systems" / "measured.json").read_text())["viscera"]
    assert found["cases"] == ["a"]
    assert 0.5 < found["seconds"] < 300
    assert 100 < found["peak_memory_mb"] < 3000
    assert 0 <= found["mean_dice"] <= 1
    assert (tmp_path / "out" / "viscera" / "masks" / "a.nii.gz").is_file()
