import json

import pytest

from app.errors import SetupError
from training.layout import find_cases
from training.recipe import CHALLENGE_LABELS

LABELS = {name: number for number, name in enumerate(CHALLENGE_LABELS)}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def nnunet(folder, **changes):
    touch(folder / "imagesTr" / "b_0000.nii.gz", folder / "imagesTr" / "a_0000.nii.gz")
    touch(folder / "labelsTr" / "a.nii.gz", folder / "labelsTr" / "b.nii.gz")
    table = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 2, "file_ending": ".nii.gz", **changes}
    (folder / "dataset.json").write_text(json.dumps(table))


def test_our_layout_with_its_table_in_or_beside_the_folder(tmp_path):
    data = tmp_path / "train"
    touch(data / "a1_0000.nii.gz", data / "a1.nii.gz", data / "b_0000.nii.gz")
    (tmp_path / "volumes.tsv").write_text("name\tpatient\na1\tA\n")
    one, other = find_cases(data)
    assert (one.name, one.patient, one.scan, one.label) == ("a1", "A", data / "a1_0000.nii.gz", data / "a1.nii.gz")
    assert (other.name, other.patient) == ("b", "b")
    (data / "volumes.tsv").write_text("name\tpatient\na1\tB\n")
    assert find_cases(data)[0].patient == "B"


def test_nnunets_raw_layout(tmp_path):
    nnunet(tmp_path)
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == ["a", "b"]
    assert cases[0].label == tmp_path / "labelsTr" / "a.nii.gz"


def test_labels_under_other_spellings_or_names_but_the_same_ids(tmp_path):
    nnunet(tmp_path, labels={name.title().replace("_", " "): number for name, number in LABELS.items()})
    assert len(find_cases(tmp_path)) == 2
    nnunet(tmp_path, labels={"background": 0, **{f"organ {number}": number for number in range(1, 14)}})
    assert len(find_cases(tmp_path)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {**LABELS, "liver": 2, "right_kidney": 1}}, "labels must have the ids"),
        ({"labels": {"background": 0, "liver": 1}}, "labels must have the ids"),
        ({"labels": {"background": 0, "spleen": 1, **{f"organ {number}": number for number in range(2, 14)}}}, "ids"),
        ({"labels": [1, 2]}, "not a dataset.json of nnU-Net"),
        (
            {"labels": {"kidney_left": 2, "kidney_right": 13, **{f"o {n}": n for n in range(14) if n not in (2, 13)}}},
            "ids",
        ),
        ({"channel_names": {"0": "CT", "1": "PET"}}, "one channel"),
        ({"file_ending": ".mha"}, "found 1 in .mha"),
    ],
)
def test_a_data_set_of_something_else(tmp_path, changes, message):
    nnunet(tmp_path, **changes)
    with pytest.raises(SetupError, match=message):
        find_cases(tmp_path)


def test_a_table_without_its_columns(tmp_path):
    touch(tmp_path / "a_0000.nii.gz")
    (tmp_path / "volumes.tsv").write_text("name,patient\na,A\n")
    with pytest.raises(SetupError, match=r"volumes\.tsv: line 2, \?: no name or no patient"):
        find_cases(tmp_path)


def test_a_table_as_a_spreadsheet_writes_it(tmp_path):
    touch(tmp_path / "a_0000.nii.gz")
    (tmp_path / "volumes.tsv").write_bytes("\ufeffname\tpatient\r\na\tA \r\n".encode())
    assert find_cases(tmp_path)[0].patient == "A"
    (tmp_path / "volumes.tsv").write_text("name\tpatient\na\tA\na\tB\n")
    with pytest.raises(SetupError, match="line 3, a: patients A and B"):
        find_cases(tmp_path)


def test_unlabelled_scans_of_nnunets_layout_are_left_out(tmp_path):
    nnunet(tmp_path)
    (tmp_path / "labelsTr" / "a.nii.gz").unlink()
    assert [case.name for case in find_cases(tmp_path)] == ["b"]


def test_nothing_there(tmp_path):
    with pytest.raises(SetupError, match="no scans NAME_0000"):
        find_cases(tmp_path)
