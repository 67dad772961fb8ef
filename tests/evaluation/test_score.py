import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image

from app.errors import VisceraError
from evaluation import score
from evaluation.score import choose_structures
from tests.files import save_nifti


def masks(folder, **cases):
    folder.mkdir()
    for name, labels in cases.items():
        save_nifti(folder / f"{name}.nii.gz", np.repeat(np.array(labels, np.uint8), 8).reshape(-1, 2, 4))
    return folder


@pytest.fixture
def folders(tmp_path):
    truth = masks(tmp_path / "truth", a=[1, 1, 2, 2, 0], b=[1, 1, 0, 0, 0])
    return truth, masks(tmp_path / "ours", a=[1, 1, 2, 0, 14], b=[1, 0, 3, 0, 0])


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["score", *map(str, arguments)])
    try:
        score.main()
    except SystemExit as end:
        return end.code
    return 0


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_in_long_form_and_summary(monkeypatch, folders, tmp_path, capsys):
    truth, ours = folders
    out = tmp_path / "new" / "scores.csv"
    assert run(monkeypatch, "--truth", truth, "--prediction", ours, "--out", out) == 0
    lines = rows(out)
    assert list(lines[0]) == ["case", "label", "organ", "dsc", "nsd", "note"]
    assert len(lines) == 2 * 13
    assert lines[1] == {
        "case": "a",
        "label": "2",
        "organ": "right_kidney",
        "dsc": "0.6667",
        "nsd": "1.0000",
        "note": "",
    }
    assert lines[13 + 2]["note"] == "absent from the truth, 0.0 ml predicted"
    printed = capsys.readouterr().out
    assert out.with_suffix(".txt").read_text() == printed
    assert "DSC by case" in printed
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["submissions"][0]["present"]["dsc"]["mean"] == pytest.approx(((1 + 0.6667) / 2 + 0.6667) / 2)
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.width > 1000


def test_labels_left_out_are_named(monkeypatch, folders, tmp_path, capsys):
    truth, ours = folders
    out = tmp_path / "scores.csv"
    run(monkeypatch, "--truth", truth, "--prediction", ours, "--out", out, "--labels", "2,1")
    assert [line["label"] for line in rows(out)] == ["1", "2", "1", "2"]
    assert "not scored: spleen, pancreas" in capsys.readouterr().out


def test_two_predictions_side_by_side(monkeypatch, folders, tmp_path, capsys):
    truth, ours = folders
    out = tmp_path / "scores.csv"
    run(monkeypatch, "--truth", truth, "--prediction", ours, truth, "--out", out)
    lines = rows(out)
    assert {line["prediction"] for line in lines} == {str(ours), str(truth)}
    assert len(lines) == 2 * 2 * 13
    printed = capsys.readouterr().out
    assert f"{truth} minus {ours}" in printed
    assert "right_kidney         +0.166" in printed  # 0 and 1 - 0.6667, halved


def test_the_lesion_and_the_last_slice_are_said(monkeypatch, folders, tmp_path, capsys):
    truth, ours = folders
    out = tmp_path / "scores.csv"
    run(monkeypatch, "--truth", truth, "--prediction", ours, "--out", out, "--lesion", "--with-last-slice")
    assert rows(out)[13] == {
        **dict.fromkeys(("dsc", "nsd"), "0.0000"),
        "case": "a",
        "label": "14",
        "organ": "lesion",
        "note": "absent from the truth, 0.0 ml predicted",
    }
    assert "not the organisers' way: the last slice" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--prediction", "nowhere"], "nowhere: no such folder", id="no folder"),
        pytest.param(["--prediction", "truth", "--labels", "14"], "14 is none of 1, 2", id="the lesion unasked"),
        pytest.param(["--prediction", "truth", "truth"], "the same folder twice", id="twice"),
        pytest.param(["--prediction", "truth", "truth/."], "the same folder twice", id="twice, spelled otherwise"),
        pytest.param(["--prediction", "a", "b", "c"], "one or two folders, not 3", id="three"),
        pytest.param(["--prediction", "truth", "--out", "x.txt"], "must end in .csv", id="the summary's own name"),
    ],
)
def test_mistakes_are_a_line_and_status_2(monkeypatch, folders, tmp_path, capsys, arguments, message):  # noqa: ARG001
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "--truth", "truth", "--out", "scores.csv", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_missing_prediction_is_scored_and_named(monkeypatch, folders, tmp_path, capsys):
    truth, ours = folders
    (ours / "b.nii.gz").unlink()
    assert run(monkeypatch, "--truth", truth, "--prediction", ours, "--out", tmp_path / "scores.csv") == 0
    assert "warning: b: no prediction" in capsys.readouterr().out


def test_labels_of_another_numbering_are_a_warning(monkeypatch, tmp_path, capsys):
    truth = masks(tmp_path / "truth", a=[3, 1, 2, 0], b=[3, 1, 2, 0])
    theirs = masks(tmp_path / "theirs", a=[1, 6, 2, 0], b=[3, 1, 2, 0])
    assert run(monkeypatch, "--truth", truth, "--prediction", theirs, "--out", tmp_path / "scores.csv") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "other organs" in line)
    assert line == (
        "warning: a: mean DSC would be 1.00 instead of 0.33 if labels meant other organs: "
        "1 fits the truth's 3 (spleen), 6 fits the truth's 1 (liver); is the prediction numbered as AMOS22 or BTCV?"
    )


def test_names_that_look_like_formulas(monkeypatch, folders, tmp_path):
    truth, ours = folders
    odd = ours.rename(tmp_path / "_odd$x_{$")
    assert run(monkeypatch, "--truth", truth, "--prediction", odd, truth, "--out", tmp_path / "scores.csv") == 0


def test_labels():
    assert [each.label for each in choose_structures("5,1,1", lesion=False)] == [1, 5]
    assert len(choose_structures(None, lesion=False)) == 13
    assert choose_structures("14", lesion=True)[0].name == "lesion"
    with pytest.raises(VisceraError, match="not numbers"):
        choose_structures("liver", lesion=False)
