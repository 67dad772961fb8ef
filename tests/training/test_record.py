import json
import sys

import pytest

from training import record
from training.record import accuracy, localiser_accuracy


def row(case, recall, ratio, **dice):
    names = ("recall", "worst_slab_recall", "padded_recall", "stitched_recall")
    return {"case": case, **dict.fromkeys(names, recall), "box_ratio": ratio, "dice": dice}


def score(case, name, dsc, *, in_truth=True):
    return {"case": case, "structure": {"name": name}, "dsc": dsc, "in_truth": in_truth}


def test_means_over_the_patients_that_have_the_organ():
    scores = [score("a", "liver", 0.9), score("a", "spleen", 0.5), score("b", "liver", 0.8)]
    scores.append(score("b", "spleen", 1.0, in_truth=False))
    scores.append(score("a", "aorta", None))  # one slice of truth: nothing to score
    submission = {
        "cases": ["a", "b"],
        "scores": scores,
        "present": {"dsc": {"mean": 0.75}, "nsd": {"mean": 0.65}},
        "overall": {"dsc": {"mean": 0.7}, "nsd": {"mean": 0.6}},
    }
    card = accuracy({"system": "viscera", "submissions": [submission]})
    assert card["mean_dice_of_organ"] == pytest.approx({"liver": 0.85, "spleen": 0.5})
    assert (card["mean_dice"], card["mean_nsd"]) == (0.75, 0.65)
    assert (card["mean_dice_all_organs"], card["mean_nsd_all_organs"]) == (0.7, 0.6)
    assert (card["cases"], card["system"]) == (["a", "b"], "viscera")


def test_a_localiser_is_as_good_as_its_worst_box():
    rows = [row("a", 1.0, 1.2, liver=0.9, spleen=0.5), row("b", 0.98, 1.4, liver=0.8), row("c", 0.99, 2.0, liver=0.7)]
    card = localiser_accuracy(rows, "openvino-int8")
    assert (card["least_recall"], card["median_box_ratio"], card["cases"]) == (0.98, 1.4, ["a", "b", "c"])
    assert card["mean_dice"] == pytest.approx((0.7 + 0.8 + 0.7) / 3, abs=1e-4)
    assert card["mean_dice_of_organ"] == pytest.approx({"liver": 0.8, "spleen": 0.5})


def test_the_command(tmp_path, monkeypatch, capsys):
    before = {"raw_scores": {"against": "nnU-Net"}, "mean_dice": 0.1}
    (tmp_path / "bundle.json").write_text(json.dumps({"role": "localiser", "accuracy": before}))
    (tmp_path / "scores.json").write_text(json.dumps({"openvino-int8": [row("a", 1.0, 1.2, liver=0.9)]}))
    monkeypatch.setattr(sys, "argv", ["record", str(tmp_path), str(tmp_path / "scores.json")])
    record.main()
    card = json.loads((tmp_path / "bundle.json").read_text())["accuracy"]
    assert (card["mean_dice"], card["raw_scores"]) == (0.9, before["raw_scores"])
    (tmp_path / "scores.json").write_text(json.dumps({"submissions": []}))
    with pytest.raises(SystemExit):
        record.main()
    assert "no 'openvino-int8' in it; it is not of a localiser" in capsys.readouterr().err


def test_scores_of_a_system_that_runs_another_bundle_are_refused(tmp_path, monkeypatch, capsys):
    before = json.dumps({"role": "fine", "name": "team", "accuracy": {}})
    (tmp_path / "bundle.json").write_text(before)
    (tmp_path / "scores.json").write_text(json.dumps({"system": "viscera", "submissions": [{}]}))
    monkeypatch.setattr(sys, "argv", ["record", str(tmp_path), str(tmp_path / "scores.json")])
    with pytest.raises(SystemExit):
        record.main()
    assert "of system viscera, which runs fine and not team" in capsys.readouterr().err
    assert (tmp_path / "bundle.json").read_text() == before


def test_scores_of_two_predictions_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "bundle.json").write_text(json.dumps({"role": "fine", "name": "fine", "accuracy": {}}))
    (tmp_path / "scores.json").write_text(json.dumps({"system": "viscera", "submissions": [{}, {}]}))
    monkeypatch.setattr(sys, "argv", ["record", str(tmp_path), str(tmp_path / "scores.json")])
    with pytest.raises(SystemExit):
        record.main()
    assert "scores.json: scores of two predictions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("card", "scores", "message"),
    [
        pytest.param(3, {}, "bundle.json: names no role", id="a number for a card"),
        pytest.param({}, {}, "bundle.json: names no role", id="a card of nothing"),
        pytest.param({"role": "fine", "name": "fine"}, [], "scores.json: holds no scores", id="a list for scores"),
        pytest.param(
            {"role": "fine", "name": "fine"}, {"system": 3}, "scores.json: holds no", id="a number for a name"
        ),
        pytest.param({"role": "localiser"}, {"openvino-int8": 3}, "none of a localiser", id="a number for figures"),
    ],
)
def test_files_of_something_else_are_a_line(tmp_path, monkeypatch, capsys, card, scores, message):
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    monkeypatch.setattr(sys, "argv", ["record", str(tmp_path), str(tmp_path / "scores.json")])
    with pytest.raises(SystemExit) as caught:
        record.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (caught.value.code, message in line) == (2, True)
    assert json.loads((tmp_path / "bundle.json").read_text()) == card
