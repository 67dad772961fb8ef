"""The ordinary way: scans beside their masks, segmented by models whose answers are known, and scored."""

import csv
import sys

import numpy as np
import pytest

from app.run import command_line
from evaluation import validate
from evaluation.scores import segment_folder
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import known_models


@pytest.fixture(autouse=True)
def _known_models(monkeypatch):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models())


@pytest.fixture
def data(tmp_path):
    """The reference of "a" is its tissue, that of "b" one half of it: DSC 1 and 2/3."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, spacing in (("a", (3, 2, 4)), ("b", (2, 2, 4))):
        voxels = body_phantom((40, 60, 30))
        save_nifti(folder / f"{name}_0000.nii.gz", voxels, lps_affine(spacing))
        if name == "b":
            voxels[:20] = -1000
        save_nifti(folder / f"{name}.nii.gz", (voxels > 0).astype(np.uint8), lps_affine(spacing))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["validate", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        validate.main()
    return end.value.code or 0


def livers(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return {row["case"]: row["dsc"] for row in csv.DictReader(file) if row["organ"] == "liver"}


def test_every_scan_is_segmented_and_scored(monkeypatch, data, tmp_path, capsys):
    out = tmp_path / "out"
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    assert run(monkeypatch, data, "--outputs", out) == 0
    assert {"a.nii.gz", "b.nii.gz", "scores.csv", "scores.txt", "scores.json"} <= {path.name for path in out.iterdir()}
    assert livers(out) == {"a": "1.0000", "b": "0.6667"}
    assert "liver" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_a_scan_that_fails_today_is_missing_however_it_once_was(monkeypatch, data, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(monkeypatch, data, "--outputs", out) == 0
    (data / "b_0000.nii.gz").write_text("no scan any more")
    assert run(monkeypatch, data, "--outputs", out) == 1
    assert not (out / "b.nii.gz").exists()
    assert livers(out) == {"a": "1.0000", "b": "0.0000"}
    assert "b" in capsys.readouterr().out


def test_the_system_that_is_named_is_the_one_that_runs(monkeypatch, data, tmp_path):
    asked = []

    def load_models(system, **_):
        asked.append(system.stage["segment"].engine)
        return known_models()

    monkeypatch.setattr(command_line, "load_models", load_models)
    assert run(monkeypatch, data, "--outputs", tmp_path / "out", "--system", "viscera-float32") == 0
    assert asked == ["openvino-float32"]
    assert '"viscera-float32"' in (tmp_path / "out" / "scores.json").read_text()


def test_what_cannot_be_validated_is_said_before_anything_runs(monkeypatch, data, tmp_path, capsys):
    monkeypatch.setattr(segment_folder, "segment", lambda _: pytest.fail("nothing is to be segmented"))
    assert run(monkeypatch, tmp_path / "nowhere", "--outputs", tmp_path / "out") == 2
    assert "no scans NAME_0000.nii.gz here" in capsys.readouterr().err
    for name in ("a.nii.gz", "b.nii.gz"):
        (data / name).unlink()
    assert run(monkeypatch, data, "--outputs", tmp_path / "out") == 2
    assert "no masks NAME.nii.gz" in capsys.readouterr().err


def test_where_nothing_could_be_segmented_nothing_is_scored(monkeypatch, data, tmp_path, capsys):
    assert run(monkeypatch, data, "--outputs", tmp_path / "out", "--system", "nobody") == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "nobody.toml: cannot be read" in printed.err
    assert not (tmp_path / "out").exists()


def test_masks_go_into_a_folder(monkeypatch, data, tmp_path, capsys):
    (tmp_path / "file").write_text("of somebody")
    assert run(monkeypatch, data, "--outputs", tmp_path / "file") == 2
    assert "is not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "of somebody"
