import json
import math

import numpy as np
import pytest

from app.errors import VisceraError
from evaluation.dice import dice, overall, save, score_folders, table
from tests.files import save_nifti


def masks(folder, **cases):
    folder.mkdir()
    for name, values in cases.items():
        save_nifti(folder / f"{name}.nii.gz", np.array(values, np.uint8).reshape(-1, 1, 1))
    return folder


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param([0, 0], [0, 0], 1.0, id="both empty"),
        pytest.param([1, 1], [1, 1], 1.0, id="equal"),
        pytest.param([1, 1], [0, 0], 0.0, id="missed"),
        pytest.param([1, 1, 1, 0], [0, 1, 1, 1], 2 / 3, id="two of three, one too many"),
    ],
)
def test_dice(truth, prediction, expected):
    assert dice(np.array(truth, bool), np.array(prediction, bool)) == expected


def test_means_over_present_organs_then_over_patients(tmp_path):
    truth = masks(tmp_path / "t", a=[1, 1, 2, 2, 0], b=[1, 1, 0, 0, 0], c=[3, 3, 0, 0, 0])
    ours = masks(tmp_path / "p", a=[1, 1, 2, 0, 0], b=[1, 1, 4, 4, 4])
    (tmp_path / "t" / "a_0000.nii.gz").write_bytes(b"a scan, not a mask")
    a, b, c = score_folders(truth, ours)
    assert a.dice == {"liver": 1.0, "right_kidney": pytest.approx(2 / 3)}
    assert a.mean == pytest.approx(5 / 6)
    assert b.dice == {"liver": 1.0}
    assert b.absent_ml == {"pancreas": pytest.approx(3 * 0.8 * 0.9 * 2.5 / 1000)}
    assert (c.missing, c.mean) == (True, 0.0)
    assert overall([a, b, c]) == pytest.approx((5 / 6 + 1 + 0) / 3)
    text = table([a, b, c])
    assert "c: no prediction, counted as 0" in text
    assert "b: pancreas predicted, absent: 0.0 ml" in text
    save([a, b, c], tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["mean_dice"] == pytest.approx(11 / 18)


def test_a_truth_without_organs_has_no_mean(tmp_path):
    (case,) = score_folders(masks(tmp_path / "t", a=[0, 0]), masks(tmp_path / "p", a=[0, 0]))
    assert math.isnan(case.mean)


def test_shapes_that_differ_are_named(tmp_path):
    with pytest.raises(VisceraError, match=r"\(3, 1, 1\), the truth's is \(2, 1, 1\)"):
        score_folders(masks(tmp_path / "t", a=[1, 1]), masks(tmp_path / "p", a=[1, 1, 1]))


def test_no_truth_at_all(tmp_path):
    with pytest.raises(VisceraError, match=r"no \.nii\.gz masks"):
        score_folders(tmp_path, tmp_path)
