import json
import math

from app.pipeline import Outcome
from app.report import Line


def test_every_key_is_there_and_null_where_unknown():
    line = json.loads(Line("a", "in/a.nii", None, "failed").json())
    assert line == {
        "case": "a", "input": "in/a.nii", "output": None, "status": "failed", "shape": None, "spacing_mm": None,
        "box": None, "seconds": None, "peak_memory_mb": None, "volume_ml": None, "warnings": [], "error": None,
    }  # fmt: skip


def test_what_json_has_no_word_for_is_null():
    line = Line("a", "a.nii", None, "failed", spacing_mm=[1.0, math.nan, math.inf])
    assert json.loads(line.json())["spacing_mm"] == [1.0, None, None]


def test_a_name_of_any_bytes_is_one_ascii_line():
    text = Line("r\udce9sum\n", "x", None, "failed").json()
    assert text.isascii()
    assert "\n" not in text


def test_an_outcome_is_rounded_and_kept_as_far_as_it_came():
    line = Line("a", "a.nii", None, "failed")
    line.add(Outcome(seconds={"read": 0.12345}, warnings=["odd"], volume_ml={"liver": 1.23456}))
    assert (line.seconds, line.warnings, line.volume_ml, line.box) == ({"read": 0.123}, ["odd"], {"liver": 1.235}, None)
