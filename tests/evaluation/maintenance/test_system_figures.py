import json
import shutil

import numpy as np
import pytest

from app.errors import SetupError
from app.system import definition
from app.system.catalogue import Measured, entries, read_measured
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.timing import judged
from evaluation.maintenance import system_figures
from evaluation.maintenance.system_figures import (
    BEGIN,
    END,
    ablation_names,
    measure_system,
    record,
    table,
    write_table,
    write_tables,
)
from evaluation.shared.protocol import ORGANS
from tests.files import body_phantom, lps_affine, save_nifti
from tests.made_up import save_bundle, save_project

ALL = ("background", *ORGANS)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Of the made-up systems, `ours` has the challenge's organs, and `tumours` has one more label."""
    monkeypatch.setattr(definition, "SYSTEMS", tmp_path / "systems")
    monkeypatch.setattr(definition, "WEIGHTS", tmp_path / "weights")
    save_project(tmp_path)
    for name, labels in (("fine", ALL), ("more", (*ALL, "tumour"))):
        shutil.rmtree(tmp_path / "weights" / name, ignore_errors=True)
        save_bundle(tmp_path / "weights" / name, labels)
    ours = (tmp_path / "systems" / "ours.toml").read_text()
    (tmp_path / "systems" / "tumours.toml").write_text(ours.replace('"fine"', '"more"'))
    return tmp_path


@pytest.fixture
def data(tmp_path):
    """Three scans; the truth of each is a liver."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abc":
        voxels = body_phantom((20, 22, 12))
        save_nifti(folder / f"{name}_0000.nii.gz", voxels, lps_affine((4, 4, 5)))
        save_nifti(folder / f"{name}.nii.gz", (voxels > 0).astype(np.uint8), lps_affine((4, 4, 5)))
    return folder


@pytest.fixture
def timer(monkeypatch):
    """In place of a process: a's mask is its truth, b's the half of it and 14 elsewhere; c ends as it is told to."""
    asked = []

    def local_timer(limit, *options):
        asked.append((limit, *options))

        def time_case(scan, place):
            name, seconds, megabytes = scan.name[0], *{"a": (2, 300), "b": (6, 500), "c": (9, 900)}[scan.name[0]]
            place.log.write_text("it said so\\n")
            truth = (body_phantom((20, 22, 12)) > 0).astype(np.uint8)
            if name == "b":
                truth[:10] = 0
                truth[0, 0, 0] = 14
            if name != "c":
                save_nifti(place.outputs / f"{name}.nii.gz", truth, lps_affine((4, 4, 5)))
            sample = Sample(1.0, Usage(1.0, megabytes * 2**20, 0, 0))
            return judged(scan, Run(0.0, seconds, int(name == "c"), samples=(sample,)), place, "", out_of_memory=False)

        return time_case

    monkeypatch.setattr(system_figures, "local_timer", local_timer)
    monkeypatch.setattr("evaluation.efficiency.series.busy_percent", lambda _: 7.0)
    return asked


@pytest.mark.usefixtures("project")
def test_figures_of_a_system(data, timer, tmp_path):
    measured, warnings = measure_system("ours", data, tmp_path / "out", 60)
    assert timer == [(60, "--system", "ours")]
    assert (measured.cases, measured.failed) == (("a", "b", "c"), ("c",))
    assert measured.mean_dice == pytest.approx((1 + 2 / 3 + 0) / 3, abs=1e-4)  # what failed counts 0
    assert 0 < measured.mean_nsd < 1
    assert (measured.seconds, measured.peak_memory_mb) == (4.0, 500)  # of those that did not fail
    assert (measured.size_mb, measured.other_load) == (1.0, 7.0)
    assert "CPUs, " in measured.cpu
    assert any("c: no prediction" in warning for warning in warnings)
    record("ours", measured)
    assert read_measured() == {"ours": measured}
    assert {entry.name: entry.measured for entry in entries()}["ours"] == measured


@pytest.mark.usefixtures("project", "timer")
def test_a_tumour_is_no_part_of_the_figures(data, tmp_path):
    ours, tumours = (measure_system(name, data, tmp_path / name, None)[0] for name in ("ours", "tumours"))
    assert (ours.mean_dice, ours.mean_nsd) == (tumours.mean_dice, tumours.mean_nsd)


@pytest.mark.usefixtures("project")
def test_what_cannot_be_measured_says_why(data, timer, tmp_path):
    with pytest.raises(SetupError, match=r"lost/bundle\.json: cannot be read"):
        measure_system("lost", data, tmp_path / "out", None)
    with pytest.raises(SetupError, match=r"twice: labels 1 to 3 are not the challenge's organs"):
        measure_system("twice", data, tmp_path / "out", None)
    assert timer == []
    for name in "ab":
        (data / f"{name}_0000.nii.gz").unlink()
    with pytest.raises(SetupError, match=r"ours: no scan was done; the first one: exit status 1: it said so"):
        measure_system("ours", data, tmp_path / "out", None)


def test_a_record_leaves_others_and_writes_only_what_is_known(project):
    record("twice", Measured(mean_dice=0.5, cases=("a",), weights="w"))
    record("ours", Measured(seconds=0.0))
    assert json.loads((project / "systems" / "measured.json").read_text()) == {
        "ours": {"seconds": 0.0},
        "twice": {"mean_dice": 0.5, "cases": ["a"], "weights": "w"},
    }


def test_the_table_says_what_each_is_and_what_is_known(project):
    (project / "systems" / "papers.json").write_text('{"ours": "000: DSC 88"}')
    record("ours", Measured(0.85944, 0.9, 7.66, 1040.4, 1.0, ("a", "b"), ("b",), "a CPU", 5.1))
    record("twice", Measured(mean_dice=0.5, other_load=5.0, seconds=1.0))
    head, line, *rows = table().splitlines()
    assert head.startswith("| system | locates | runs | merges | MB | s |")
    assert set(line) <= set("| -")
    found = {row.split("`")[1]: row for row in rows}
    assert list(found) == ["lost", "ours-float32", "ours-torch", "torn", "tumours", "twice", "ours"]
    assert found["ours"] == (
        "| `ours` | margin-box of locate | coarse (INT8), fine (INT8) | - | 1.0 | 7.7\\* | 1040 "
        "| 0.859 (1 of 2 failed) | 0.900 | 000: DSC 88 |"
    )
    assert found["twice"] == (
        "| `twice` | margin-box of search | organs (INT8, until-organ), organs (INT8), tumour-1 + tumour-2 (INT8) "
        "| overlay | 1.5 | 1.0 | - | 0.500 | - | - |"
    )
    assert found["ours-torch"].split(" | ")[2:5] == ["coarse (INT8), fine (TorchScript)", "-", "1.2"]
    assert found["lost"].split(" | ")[4:] == ["-", "-", "-", "not measured", "-", "- |"]
    assert found["torn"] == "| `torn` | cannot be read | - | - | - | - | - | not measured | - | - |"


def test_ablations_are_compared_by_the_tables_that_name_them(project):
    """They are no systems of a name, and what they extend may lie beside their folder."""
    folder = project / "systems" / "ablations"
    folder.mkdir()
    (folder / "alone.toml").write_text('extends = "../ours"\ntitle = "ours alone"\n')
    (folder / "tables.json").write_text('{"What it is worth": ["ours", "ablations/alone"]}')
    for name in ("", "ablations"):
        (project / "systems" / name / "README.md").write_text(f"{BEGIN}\n{END}\n")
    assert ablation_names() == ["ablations/alone"]
    record("ablations/alone", Measured(mean_dice=0.5, mean_nsd=0.6, seconds=3.0))
    write_tables()
    assert "alone" not in (project / "systems" / "README.md").read_text()
    _, _, title, _, head, _, ours, alone, *_ = (folder / "README.md").read_text().splitlines()
    assert title == "**What it is worth**"
    assert head == "| system |  | MB | s | peak MB | DSC here | NSD here |"
    assert ours.endswith("| 1.0 | - | - | not measured | - |")
    assert alone == "| `alone` | ours alone | 1.0 | 3.0 | - | 0.500 | 0.600 |"


@pytest.mark.usefixtures("project")
def test_only_what_is_between_the_marks_is_written(tmp_path):
    document = tmp_path / "README.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_table(document, "a table")
        assert document.read_text() == f"before\n{BEGIN}\n\na table\n\n{END}\nafter\n"
    for text in (f"{BEGIN}\nno end", f"{END}\n{BEGIN}", ""):
        document.write_text(text)
        with pytest.raises(SetupError, match=r"README\.md: has no lines .*between which the table goes"):
            write_table(document, "a table")
        assert document.read_text() == text
