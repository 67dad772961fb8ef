import sys
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.read import read
from tests.files import lps_affine, save_nifti
from training import label_combining
from training.label_combining import combined, grown_too_much, line
from training.layout import find_cases

EVERY_PAIR = np.array(list(product(range(14), repeat=2)), np.uint8).T[:, None, None]  # (2, 1, 1, 196)


def row(*labels):
    return np.array([[labels]], np.uint8)


@pytest.mark.parametrize(
    ("old", "predicted", "new"),
    [
        (0, 0, 0), (0, 3, 3), (3, 0, 3), (1, 11, 11), (7, 11, 11), (8, 11, 8), (11, 9, 9), (9, 8, 8), (10, 9, 9),
        (10, 13, 10), (12, 13, 13), (11, 12, 12), (4, 12, 12), (6, 5, 6),
    ],
)  # fmt: skip
def test_which_of_two_labels_wins(old, predicted, new):
    assert_array_equal(combined(row(old), row(predicted)), row(new), strict=True)


def test_the_higher_rank_wins_as_if_painted_in_the_papers_order():
    """1 to 13, then 10, 9 and 8 again, each where either has it."""
    old, predicted = EVERY_PAIR
    painted = np.zeros_like(old)
    for label in (*range(1, 14), 10, 9, 8):
        painted[(old == label) | (predicted == label)] = label
    assert_array_equal(combined(old, predicted), painted, strict=True)


def test_order_and_repetition_change_nothing():
    old, predicted = EVERY_PAIR
    once = combined(old, predicted)
    assert_array_equal(combined(predicted, old), once)
    assert_array_equal(combined(once, predicted), once)
    for third in range(14):
        other = np.full_like(old, third)
        assert_array_equal(combined(once, other), combined(old, combined(predicted, other)))


def test_four_rounds_each_begin_with_the_labels_of_the_last():
    """Stomach has swallowed a gallbladder; a piece of it that one round finds is kept when the next does not see it."""
    labels = row(11, 11, 11, 0)
    rounds = [row(9, 11, 11, 0), row(0, 9, 11, 0), row(0, 0, 10, 12), row(0, 0, 12, 11)]
    expected = [row(9, 11, 11, 0), row(9, 9, 11, 0), row(9, 9, 10, 12), row(9, 9, 10, 12)]
    for predicted, after in zip(rounds, expected, strict=True):
        labels = combined(labels, predicted)
        assert_array_equal(labels, after)


def test_an_organ_left_out_is_neither_drawn_nor_protected_from_others():
    assert_array_equal(combined(row(0, 11, 9, 11), row(9, 9, 11, 12), without=(9,)), row(0, 11, 9, 12), strict=True)


def test_neither_array_is_changed():
    old, predicted = row(11, 0), row(9, 2)
    combined(old, predicted, without=(2,))
    assert (old.tolist(), predicted.tolist()) == ([[[11, 0]]], [[[9, 2]]])


@pytest.mark.parametrize(
    ("old", "predicted", "message"),
    [
        (row(1, 2), row(1), r"shape \(1, 1, 2\), their prediction \(1, 1, 1\)"),
        (row(14), row(1), "0 to 13"),
        (row(1), row(200), "0 to 13"),
    ],
)
def test_what_cannot_be_combined(old, predicted, message):
    with pytest.raises(ValueError, match=message):
        combined(old, predicted)


def test_no_voxels_are_no_voxels():
    nothing = np.zeros((0, 2, 2), np.uint8)
    assert_array_equal(combined(nothing, nothing), nothing, strict=True)


def test_more_than_a_tenth_is_too_much_and_background_does_not_count():
    before, after = np.array([50.0, 10, 10, 0, 0]), np.array([99.0, 11, 11.5, 0, 1])
    assert grown_too_much(before, after, 0.1) == (2, 4)
    assert grown_too_much(before, after, float("inf")) == ()


def test_lines():
    assert line("liver", 1000, 1050, stopped=False) == "liver: 1000.0 ml, with the predictions 1050.0 ml (+5.0%)"
    assert line("spleen", 0, 2, stopped=True).endswith("2.0 ml (new); left as it was, for that is too much")
    assert line("aorta", 0, 0, stopped=False).endswith("(absent)")


LIVER = row(*20 * [1], *4 * [0])  # 20 voxels of 10 mm: 20 ml


@pytest.fixture
def data(tmp_path):
    """Three livers and their predictions: one voxel more, a stomach where nothing was, and one of all the scan."""
    (tmp_path / "data").mkdir()
    (tmp_path / "predicted").mkdir()
    more, stomach = LIVER.copy(), LIVER.copy()
    more[..., 20] = 1
    stomach[..., 22] = 11
    predicted = {"more": more, "stomach": stomach, "hand_1": np.ones_like(LIVER)}
    for name, labels in predicted.items():
        save_nifti(tmp_path / "data" / f"{name}_0000.nii.gz", np.zeros((24, 1, 1), np.int16), lps_affine((10, 10, 10)))
        save_nifti(tmp_path / "data" / f"{name}.nii.gz", LIVER.transpose(2, 1, 0), lps_affine((10, 10, 10)))
        save_nifti(tmp_path / "predicted" / f"{name}.nii.gz", labels.transpose(2, 1, 0), lps_affine((10, 10, 10)))
    (tmp_path / "volumes.tsv").write_text("name\tpatient\nmore\tA\nstomach\tA\n")
    return tmp_path


def call(monkeypatch, folder, *options, out="out"):
    arguments = [str(folder / "data"), str(folder / "predicted"), str(folder / out), *options]
    monkeypatch.setattr(sys, "argv", ["label_combining", *arguments])
    label_combining.main()
    return {case.name: read(case.label).voxels.ravel().tolist() for case in find_cases(folder / out)}


def test_a_round_unites_masks_but_for_manual_ones_and_organs_that_grow_too_much(data, monkeypatch, capsys):
    masks = call(monkeypatch, data, "--manual", "hand_*")
    assert masks["more"] == 21 * [1] + 3 * [0]
    assert masks["stomach"] == 20 * [1] + 4 * [0]
    assert masks["hand_1"] == 20 * [1] + 4 * [0]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "liver: 40.0 ml, with the predictions 41.0 ml (+2.5%)"
    assert printed[10] == "stomach: 0.0 ml, with the predictions 1.0 ml (new); left as it was, for that is too much"
    assert printed[-1] == f"2 of 3 masks united with their predictions in {data / 'out'}"


def test_the_papers_way_has_no_brake(data, monkeypatch):
    masks = call(monkeypatch, data, "--manual", "hand_*", "--most-growth", "inf")
    assert masks["stomach"] == [*20 * [1], 0, 0, 11, 0]


def test_a_round_is_the_data_of_the_next(data, monkeypatch):
    (data / "predicted" / "stomach.nii.gz").unlink()  # keeps its mask
    call(monkeypatch, data, "--manual", "hand_1")
    cases = find_cases(data / "out")
    assert [(case.name, case.patient) for case in cases] == [("hand_1", "hand_1"), ("more", "A"), ("stomach", "A")]
    assert all(read(case.scan).grid == read(case.label).grid for case in cases)


def refused(monkeypatch, capsys, data, *options, out="out"):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, data, *options, out=out)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_what_is_no_round_is_refused_before_anything_is_written(data, monkeypatch, capsys):
    assert "exists; name a new folder" in refused(monkeypatch, capsys, data, out="predicted")
    assert "no NAME.nii.gz of a case" in refused(monkeypatch, capsys, data, "--manual", "*")
    prediction = data / "predicted" / "more.nii.gz"
    save_nifti(prediction, np.zeros((23, 1, 1), np.uint8), lps_affine((10, 10, 10)))
    assert f"{prediction}: shape (1, 1, 23) (z, y, x), its mask has (1, 1, 24)" in refused(monkeypatch, capsys, data)
    save_nifti(prediction, np.full((24, 1, 1), 14, np.uint8), lps_affine((10, 10, 10)))
    assert "more.nii.gz: unknown labels 14" in refused(monkeypatch, capsys, data)
    assert not (data / "out").exists()


def test_labels_that_scaling_has_left_a_little_off_are_whole(data, monkeypatch):
    """A prediction stored as 29999 / 10000 is a spleen, no right kidney."""
    prediction = data / "predicted" / "more.nii.gz"
    save_nifti(prediction, np.full((24, 1, 1), 29999, np.int16), lps_affine((10, 10, 10)), scaling=(1e-4, 0))
    assert call(monkeypatch, data, "--most-growth", "inf")["more"] == 24 * [3]
