import json
import math

from evaluation.scores.scoring import Score
from evaluation.scores.summary import contrast, summarise
from evaluation.scores.summary_text import as_json, case_table, text
from tests.evaluation.scores.example_scores import LIVER, SCORES

NAN = math.nan


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
    assert len({len(line) for line in lines[:4]}) == 1


def test_json_has_no_nan():
    scores = [Score("a", LIVER, NAN, NAN, True)]
    content = json.loads(as_json({"ours": scores}, [summarise("ours", scores)], [], truth="t"))
    (submission,) = content["submissions"]
    assert content["truth"] == "t"
    assert submission["scores"][0]["dsc"] is None
    assert submission["scores"][0]["structure"]["name"] == "liver"
    assert submission["overall"]["dsc"]["mean"] is None
    assert content["differences"] is None


def test_json_says_which_is_taken_from_which():
    summaries = [summarise("ours", SCORES), summarise("theirs", SCORES)]
    content = json.loads(as_json({"ours": SCORES, "theirs": SCORES}, summaries, contrast(SCORES, SCORES)))
    assert (content["differences"]["of"], content["differences"]["minus"]) == ("theirs", "ours")
    assert content["differences"]["rows"][0]["dsc"]["mean"] == 0
