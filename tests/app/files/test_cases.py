from pathlib import Path

import pytest

from app.errors import SetupError
from app.files.cases import case_name, find_cases, mask_name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("X_0000.nii.gz", "X"),
        ("X.nii.gz", "X"),
        ("X_0000.nii", "X"),
        ("X.nii", "X"),
        ("X_0000_0000.nii.gz", "X_0000"),
        ("a.b_c.nii.gz", "a.b_c"),
        ("X_0001.nii.gz", "X_0001"),
        ("_0000.nii.gz", "_0000"),
        ("X_0000.NII.GZ", "X"),
    ],
)
def test_names(tmp_path, file, name):
    assert case_name(tmp_path / file) == name


def made(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_a_folder_in_order_without_what_is_no_scan(tmp_path):
    inputs = made(tmp_path / "in", "b.nii", "a_0000.nii.gz", "notes.txt", "._a_0000.nii.gz", ".hidden.nii")
    made(inputs / "below", "c.nii.gz")
    (inputs / "folder.nii.gz").mkdir()
    cases = find_cases(inputs, tmp_path / "out")
    assert [(case.name, case.source.name, case.target.name) for case in cases] == [
        ("a", "a_0000.nii.gz", "a.nii.gz"),
        ("b", "b.nii", "b.nii.gz"),
    ]
    assert all(case.clash is None for case in cases)


def test_one_file(tmp_path):
    inputs = made(tmp_path / "in", "a_0000.nii.gz", "b.nii.gz")
    assert [case.name for case in find_cases(inputs / "b.nii.gz", tmp_path)] == ["b"]


def test_two_inputs_of_one_mask_both_clash(tmp_path):
    cases = find_cases(made(tmp_path / "in", "a.nii", "a_0000.nii.gz", "b.nii"), tmp_path / "out")
    assert [case.clash is None for case in cases] == [False, False, True]
    assert cases[0].clash == "a.nii: a_0000.nii.gz would have the same mask a.nii.gz; rename one"
    assert cases[1].clash == "a_0000.nii.gz: a.nii would have the same mask a.nii.gz; rename one"


def test_a_scan_is_never_overwritten(tmp_path):
    inputs = made(tmp_path / "in", "a.nii.gz", "b_0000.nii.gz")
    first, second = find_cases(inputs, inputs)
    assert "overwrite an input" in first.clash
    assert second.clash is None


@pytest.mark.parametrize("names", [(), ("notes.txt",)])
def test_nothing_to_do(tmp_path, names):
    with pytest.raises(SetupError, match=r"no \.nii or \.nii\.gz file; put scans there, not into folders below it"):
        find_cases(made(tmp_path / "in", *names), tmp_path / "out")


def test_a_link_to_where_nobody_may_look_is_a_scan_that_fails_later(tmp_path, monkeypatch):
    inputs, is_dir = made(tmp_path / "in", "a.nii"), Path.is_dir

    def forbidden(path):
        if path.name == "a.nii":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert [case.name for case in find_cases(inputs, tmp_path / "out")] == ["a"]


def test_no_such_folder_and_no_such_file_type(tmp_path):
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        find_cases(tmp_path / "in", tmp_path / "out")
    with pytest.raises(SetupError, match=r"no \.nii or \.nii\.gz file; give a scan, or a folder of them"):
        find_cases(made(tmp_path, "notes.txt") / "notes.txt", tmp_path / "out")


def test_the_mask_the_organisers_look_for():
    assert mask_name(Path("X_0000.nii.gz")) == "X.nii.gz"
    assert mask_name(Path("X.nii.gz")) == "X.nii.gz"
    assert mask_name(Path("X.nii")) == "X.nii.gz"
    assert mask_name(Path("a_0000_b_0000.nii.gz")) == "a_0000_b.nii.gz"
