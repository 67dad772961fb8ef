import math

import pytest

from evaluation.scores.scoring import Score
from evaluation.scores.summary import contrast, summarise
from evaluation.shared.protocol import LESION, STRUCTURES
from tests.evaluation.scores.example_scores import LIVER, SCORES

NAN = math.nan


def test_what_is_not_there_counts_in_one_mean_and_not_in_the_other():
    summary = summarise("ours", SCORES)
    assert summary.cases == ("a", "b")
    assert [row.name for row in summary.rows] == ["liver", "spleen"]
    assert summary.rows[1].dsc.mean == 0.75
    assert summary.overall.dsc.mean == pytest.approx((0.95 + 0.6) / 2)
    assert summary.present.dsc.mean == pytest.approx((0.9 + 0.6) / 2)
    assert summary.present.nsd.mean == pytest.approx((0.8 + 0.4) / 2)
    assert summary.case_dsc == pytest.approx({"a": 0.9, "b": 0.6})


def test_what_cannot_be_scored_leaves_the_mean():
    summary = summarise("ours", [Score("a", LIVER, 0.5, 0.4, True), Score("a", STRUCTURES[4], NAN, NAN, True)])
    assert summary.overall.dsc.mean == 0.5
    assert summary.rows[1].dsc.count == 0


def test_the_lesion_is_no_organ():
    summary = summarise("ours", [Score("a", LIVER, 0.5, 0.5, True), Score("a", LESION, 0.1, 0.1, True)])
    assert summary.overall.dsc.mean == 0.5
    assert summary.rows[1].dsc.mean == 0.1


def test_missing_predictions_are_named():
    assert summarise("ours", [Score("a", LIVER, 0, 0, True, missing=True)]).missing == ("a",)


def test_contrast_by_organ_and_of_the_means():
    better = [Score(s.case, s.structure, min(1, s.dsc + 0.1), s.nsd, s.in_truth) for s in SCORES]
    rows = {row.name: row for row in contrast(SCORES, better)}
    assert list(rows) == ["liver", "spleen", "all organs", "organs present"]
    assert rows["liver"].dsc.mean == pytest.approx(0.1)
    assert rows["spleen"].dsc.mean == pytest.approx(0.05)  # 1 cannot grow
    assert rows["all organs"].dsc.mean == pytest.approx(0.075)
    assert rows["organs present"].dsc.mean == pytest.approx(0.1)
    assert rows["liver"].nsd.mean == 0
