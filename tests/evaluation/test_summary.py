import json
import math

import pytest

from evaluation.protocol import LESION, STRUCTURES
from evaluation.scoring import NO_PREDICTION, Score
from evaluation.summary import as_json, case_table, contrast, difference, spread, summarise, text

LIVER, SPLEEN = STRUCTURES[0], STRUCTURES[2]
NAN = math.nan

SCORES = [
    Score("a", LIVER, 0.9, 0.8, True),
    Score("a", SPLEEN, 1.0, 1.0, False, "absent from both"),
    Score("b", LIVER, 0.7, 0.6, True),
    Score("b", SPLEEN, 0.5, 0.2, True),
]


def test_spread_of_the_values_that_are_known():
    found = spread([1.0, NAN, 2.0, 3.0, 6.0])
    assert (found.count, found.mean, found.median, found.q1, found.q3) == (4, 3.0, 2.5, 1.75, 3.75)
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert spread([0.5]).mean == 0.5
    assert math.isnan(spread([0.5]).deviation)
    assert spread([NAN]).count == 0
    assert str(spread([])).strip() == "-"
    assert len(str(spread([]))) == len(str(spread([1.0, 0.5]))) == len(str(spread([0.5])))


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
    assert summarise("ours", [Score("a", LIVER, 0, 0, True, NO_PREDICTION)]).missing == ("a",)


def test_the_difference_of_pairs():
    same = difference([0.5, 0.6, 0.7], [0.6, 0.7, 0.8])
    assert (same.count, same.mean) == (3, pytest.approx(0.1))
    assert (same.low, same.high) == (pytest.approx(0.1), pytest.approx(0.1))
    # of two pairs 0 and 1 a quarter of all resamples is twice the first, a quarter twice the second
    wide = difference([0.0, 0.0], [0.0, 1.0])
    assert (wide.mean, wide.low, wide.high) == (0.5, 0, 1)
    assert difference([0.0, 0.0], [0.0, 1.0]) == wide  # the same interval each time


def test_the_difference_of_too_few_pairs():
    one = difference([0.5, NAN], [0.7, 0.9])
    assert (one.count, one.mean) == (1, pytest.approx(0.2))
    assert math.isnan(one.low)
    assert difference([NAN], [1.0]).count == 0


def test_contrast_by_organ_and_of_the_means():
    better = [Score(s.case, s.structure, min(1, s.dsc + 0.1), s.nsd, s.in_truth) for s in SCORES]
    rows = {row.name: row for row in contrast(SCORES, better)}
    assert list(rows) == ["liver", "spleen", "all organs", "organs present"]
    assert rows["liver"].dsc.mean == pytest.approx(0.1)
    assert rows["spleen"].dsc.mean == pytest.approx(0.05)  # 1 cannot grow
    assert rows["all organs"].dsc.mean == pytest.approx(0.075)
    assert rows["organs present"].dsc.mean == pytest.approx(0.1)
    assert rows["liver"].nsd.mean == 0


def test_text_for_a_person():
    first, second = summarise("ours", SCORES), summarise("theirs", SCORES)
    report = text([first, second], contrast(SCORES, SCORES), ["not scored: aorta"])
    assert "ours: 2 cases" in report
    assert "liver           0.8000 ± 0.1414  0.8000 (0.7500, 0.8500)  0.7000" in report
    assert "theirs minus ours: mean of pairs (95% bootstrap interval)" in report
    assert report.endswith("not scored: aorta")


def test_the_table_of_cases():
    lines = case_table(SCORES).splitlines()
    assert lines[1].split() == ["liver", "0.900", "0.700"]
    assert lines[2].split() == ["spleen", "(1)", "0.500"]
    assert lines[3].split() == ["organs", "present", "0.900", "0.600"]


def test_json_has_no_nan():
    scores = [Score("a", LIVER, NAN, NAN, True)]
    content = json.loads(as_json({"ours": scores}, [summarise("ours", scores)], [], truth="t"))
    (submission,) = content["submissions"]
    assert content["truth"] == "t"
    assert submission["scores"][0]["dsc"] is None
    assert submission["scores"][0]["structure"]["name"] == "liver"
    assert submission["overall"]["dsc"]["mean"] is None
