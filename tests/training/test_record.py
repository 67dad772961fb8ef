import pytest

from training.record import accuracy


def test_means_over_the_patients_that_have_the_organ():
    cases = [
        {"case": "a", "dice": {"liver": 0.9, "spleen": 0.5}},
        {"case": "b", "dice": {"liver": 0.8}},
    ]
    card = accuracy({"mean_dice": 0.75, "cases": cases}, "viscera")
    assert card["mean_dice_of_organ"] == pytest.approx({"liver": 0.85, "spleen": 0.5})
    assert (card["mean_dice"], card["cases"], card["system"]) == (0.75, ["a", "b"], "viscera")
