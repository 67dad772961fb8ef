import os
from collections import Counter
from pathlib import Path

import pytest

from app.errors import SetupError
from app.files.cases import case_name, find_cases, mask_name, passed_over


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
    cases, others = find_cases(inputs, tmp_path / "out")
    assert others == {"folder": 2}
    assert [(case.name, case.source.name, case.target.name) for case in cases] == [
        ("a", "a_0000.nii.gz", "a.nii.gz"),
        ("b", "b.nii", "b.nii.gz"),
    ]
    assert all(case.clash is None for case in cases)


def test_one_file(tmp_path):
    inputs = made(tmp_path / "in", "a_0000.nii.gz", "b.nii.gz")
    (case,), others = find_cases(inputs / "b.nii.gz", tmp_path)
    assert (case.name, case.target, others) == ("b", tmp_path / "b.nii.gz", {})


def test_one_file_and_the_path_of_its_mask(tmp_path):
    scan = made(tmp_path / "in", "a_0000.nii.gz") / "a_0000.nii.gz"
    for outputs, target in (
        (tmp_path / "new" / "mask.nii.gz", tmp_path / "new" / "mask.nii.gz"),
        (tmp_path / "mask.NII.GZ", tmp_path / "mask.NII.GZ"),
        (Path("mask.nii.gz"), Path("mask.nii.gz")),
        (tmp_path / "mask.gz", tmp_path / "mask.gz" / "a.nii.gz"),
    ):
        (case,), _ = find_cases(scan, outputs)
        assert (case.name, case.target, case.clash) == ("a", target, None)
    (tmp_path / "new" / "mask.nii.gz").mkdir(parents=True)  # a folder of such a name stays one
    (case,), _ = find_cases(scan, tmp_path / "new" / "mask.nii.gz")
    assert case.target == tmp_path / "new" / "mask.nii.gz" / "a.nii.gz"
    (case,), _ = find_cases(scan, scan)
    assert "overwrite an input" in case.clash


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        pytest.param("in", "mask.nii.gz", "mask.nii.gz: names one mask, and .*in is a folder", id="of a folder"),
        pytest.param("in", "mask.nii", "names one mask", id="of a folder, plain"),
        pytest.param("in/a.nii", "mask.nii", "mask.nii: a mask is compressed; name it mask.nii.gz", id="plain"),
    ],
)
def test_a_path_that_no_mask_can_have(tmp_path, inputs, outputs, message):
    made(tmp_path / "in", "a.nii")
    with pytest.raises(SetupError, match=message):
        find_cases(tmp_path / inputs, tmp_path / outputs)


def test_two_inputs_of_one_mask_both_clash(tmp_path):
    cases, _ = find_cases(made(tmp_path / "in", "a.nii", "a.nii.gz", "b.nii"), tmp_path / "out")
    assert [case.clash is None for case in cases] == [False, False, True]
    assert cases[0].clash == "a.nii: a.nii.gz would have the same mask a.nii.gz; rename one"
    assert cases[1].clash == "a.nii.gz: a.nii would have the same mask a.nii.gz; rename one"


def test_a_scan_is_never_overwritten(tmp_path):
    inputs = made(tmp_path / "in", "a.nii.gz", "b_0000.nii.gz")
    (first, second), _ = find_cases(inputs, inputs)
    assert "overwrite an input" in first.clash
    assert second.clash is None


@pytest.mark.parametrize(
    ("names", "scans", "masks"),
    [
        pytest.param(["a.nii.gz"], ["a.nii.gz"], 0, id="a scan alone"),
        pytest.param(["a_0000.nii.gz", "a.nii.gz"], ["a_0000.nii.gz"], 1, id="a mask beside its scan"),
        pytest.param(["a_0000.nii.gz", "a.nii.gz", "a.nii"], ["a_0000.nii.gz"], 2, id="two of them"),
        pytest.param(["a_0000.nii", "a.NII.GZ", "b.nii"], ["a_0000.nii", "b.nii"], 1, id="other endings, another scan"),
        pytest.param(["a_0000_0000.nii", "a_0000.nii"], ["a_0000.nii", "a_0000_0000.nii"], 0, id="a scan by its name"),
        pytest.param(["_0000.nii", "a.nii"], ["_0000.nii", "a.nii"], 0, id="a name of the mark alone"),
    ],
)
def test_masks_beside_their_scans_are_none(tmp_path, names, scans, masks):
    cases, others = find_cases(made(tmp_path / "in", *names), tmp_path / "out")
    assert [case.source.name for case in cases] == scans
    assert others["mask beside its scan"] == masks
    assert all(case.clash is None and case.label is None for case in cases)


def test_a_label_beside_its_scan_is_not_overwritten_and_a_mask_of_ours_may_be(tmp_path):
    inputs = made(tmp_path / "in", "a_0000.nii", "b_0000.nii", "b.nii.gz", "c_0000.nii", "c.nii.gz")
    (inputs / "c.nii.gz").write_text("of somebody")  # b.nii.gz is empty: nothing is lost
    cases, _ = find_cases(inputs, inputs)
    assert [case.label for case in cases] == [
        None, None, "c_0000.nii: its mask would overwrite c.nii.gz beside it; choose another output folder",
    ]  # fmt: skip
    assert [case.clash for case in cases] == [None] * 3


def test_what_a_folder_holds_besides_is_counted(tmp_path):
    images = ["1.nrrd", "2.NRRD", "c.mha", "d.mhd", "e.hdr", "e.img", "1.dcm", "2.dcm"]
    inputs = made(tmp_path / "in", "a_0000.nii.gz", "a.nii.gz", *images, ".hidden.dcm", "notes.txt", "a.json", "README")
    for name in ("IM0001", "1.2.840.5", "series.txt"):
        (inputs / name).write_bytes(bytes(128) + b"DICM")
    os.mkfifo(inputs / "pipe")
    for name in ("below", ".git", "out"):
        (inputs / name).mkdir()
    _, others = find_cases(inputs, inputs / "out")
    assert others == {
        "mask beside its scan": 1, ".nrrd": 2, ".mha": 1, ".mhd": 1, ".hdr": 1, ".img": 1, "DICOM file": 4, "folder": 1,
    }  # fmt: skip
    assert passed_over(others) == (
        "1 mask beside its scan, 2 .nrrd, 1 .mha, 1 .mhd, 1 .hdr, 1 .img, 4 DICOM files, 1 folder"
    )


def test_nothing_that_was_passed_over_is_nothing_to_say():
    assert passed_over(Counter()) == ""
    assert passed_over(Counter({"folder": 2, "mask beside its scan": 2})) == "2 masks beside their scans, 2 folders"


def test_dicom_alone_says_what_to_do(tmp_path):
    inputs = made(tmp_path / "in", "1.dcm", "2.dcm", "notes.txt")
    for place in (inputs, inputs / "1.dcm"):
        with pytest.raises(SetupError, match=f"DICOM and no .*; convert it first: dcm2niix .* -o FOLDER {place}$"):
            find_cases(place, tmp_path / "out")


def test_where_no_scan_is_what_is_there_is_said(tmp_path):
    with pytest.raises(SetupError, match=r"not into folders below it \(passed over: 1 \.nrrd, 1 folder\)$"):
        find_cases(made(made(tmp_path / "in", "a.nrrd") / "below").parent, tmp_path / "out")


@pytest.mark.parametrize("names", [(), ("notes.txt",)])
def test_nothing_to_do(tmp_path, names):
    with pytest.raises(SetupError, match=r"no \.nii or \.nii\.gz file; put scans there, not into folders below it$"):
        find_cases(made(tmp_path / "in", *names), tmp_path / "out")


def test_a_link_to_where_nobody_may_look_is_a_scan_that_fails_later(tmp_path, monkeypatch):
    inputs, is_dir = made(tmp_path / "in", "a.nii"), Path.is_dir

    def forbidden(path):
        if path.name == "a.nii":
            raise PermissionError(13, "Permission denied")
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert [case.name for case in find_cases(inputs, tmp_path / "out")[0]] == ["a"]


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
