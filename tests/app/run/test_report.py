import io
import json
import math

import numpy as np

from app.files.read import read
from app.grid import Box
from app.notice import Notice, Verdict
from app.run.outcome import Outcome
from app.run.report import Earlier, Line, Report, earlier_lines, is_report
from app.steps.doubt import Evidence
from tests.files import save_nifti

ODD = Notice("odd", "it is odd", Verdict.CHECK)


def test_every_key_is_there_and_null_where_unknown():
    line = json.loads(Line("a", "in/a.nii", None, "failed").json())
    assert line == {
        "case": "a", "input": "in/a.nii", "output": None, "status": "failed", "shape": None, "spacing_mm": None,
        "spacing_used_mm": None, "box": None, "seconds": None, "peak_memory_mb": None,
        "volume_ml": None, "evidence": None, "verdict": None, "warnings": [],
        "error": None,
    }  # fmt: skip


def test_the_spacing_that_was_used_is_the_grids_in_the_files_order(tmp_path):
    line = Line("a", "a.nii", None, "failed")
    path = save_nifti(tmp_path / "a.nii", np.full((3, 4, 5), -500, np.int16), pixdim=[1, 1, 0, 1, 0, 0, 0, 0])
    line.add(Outcome(scan=read(path)))  # the sform says 0.8, 0.9 and 2.5
    assert line.spacing_used_mm == [0.8, 0.9, 2.5]


def test_what_json_has_no_word_for_is_null():
    line = Line("a", "a.nii", None, "failed", spacing_mm=[1.0, math.nan, math.inf])
    assert json.loads(line.json())["spacing_mm"] == [1.0, None, None]


def test_a_name_of_any_bytes_is_one_ascii_line():
    text = Line("r\udce9sum\n", "x", None, "failed").json()
    assert text.isascii()
    assert "\n" not in text


def test_an_outcome_is_rounded_and_kept_as_far_as_it_came():
    line = Line("a", "a.nii", None, "failed")
    line.add(Outcome(seconds={"read": 0.12345}, warnings=[ODD], volume_ml={"liver": 1.23456}))
    assert (line.seconds, line.warnings, line.volume_ml, line.box) == ({"read": 0.123}, [ODD], {"liver": 1.235}, None)
    assert line.verdict is None  # of a case that failed
    line.add(Outcome(evidence=Evidence(3.14159, 0.91236, 7, 1)))
    assert line.evidence == {"voxel_mm": 3.1416, "agreement": 0.9124, "lead": 7, "arrangement": 1}
    line.add(Outcome(evidence=Evidence(3, None, 7, 1)))
    assert line.evidence["agreement"] is None


def test_a_case_that_is_done_has_the_heaviest_verdict_of_its_warnings():
    line = Line("a", "a.nii", "a.nii.gz", "done")
    line.add(Outcome(warnings=[ODD, Notice("empty", "no organ found"), ODD]))
    written = json.loads(line.json())
    assert written["verdict"] == "check"
    assert written["warnings"][0] == {"code": "odd", "text": "it is odd", "verdict": "check"}
    line.add(Outcome())
    assert line.verdict == "good"


def test_an_outcome_of_nothing_leaves_all_unknown():
    line = Line("a", "a.nii", None, "failed")
    line.add(Outcome())
    assert (line.seconds, line.warnings, line.volume_ml, line.box) == (None, [], None, None)


def test_a_box_is_in_the_files_own_axes(tmp_path):
    line = Line("a", "a.nii", None, "done")
    scan = read(save_nifti(tmp_path / "a.nii", np.full((3, 4, 5), -500, np.int16), np.diag([-1.0, 1.0, 1.0, 1.0])))
    line.add(Outcome(scan=scan))
    assert line.box is None
    line.add(Outcome(scan=scan, box=Box((0, 1, 2), (5, 2, 3))))
    assert line.box == [[2, 3], [2, 3], [0, 5]]  # y runs to the front


class Full(io.StringIO):
    """Has room for one line."""

    def write(self, text):
        if self.tell():
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_lines_are_there_as_soon_as_they_are_written(tmp_path):
    with Report((tmp_path / "r.jsonl").open("w")) as report:
        report.write(Line("a", "a.nii", None, "failed"))
        assert json.loads((tmp_path / "r.jsonl").read_text())["case"] == "a"
        report.write(Line("b", "b.nii", None, "failed"))
        assert (tmp_path / "r.jsonl").read_text().count("\n") == 2
        assert report.error is None


KEPT = [Earlier("a", "done", '{"case": "a", "x": 1}'), Earlier("b", "failed", '{"case": "b"}')]


def test_what_is_kept_of_an_earlier_report_stands_first_and_for_what_is_skipped(tmp_path):
    with Report((tmp_path / "r.jsonl").open("w"), KEPT) as report:
        assert (tmp_path / "r.jsonl").read_text() == '{"case": "a", "x": 1}\n{"case": "b"}\n'
        report.write(Line("a", "a.nii", "a.nii.gz", "skipped"))
        assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2
        report.write(Line("a", "a.nii", "a.nii.gz", "done"))  # its mask went after all
        report.write(Line("c", "c.nii", "c.nii.gz", "skipped"))
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(line["case"], line.get("status")) for line in lines[2:]] == [("a", "done"), ("c", "skipped")]


def test_what_was_kept_and_cannot_be_written_is_an_error_too():
    file = Full()
    file.write("x")
    assert Report(file, KEPT).error == "No space left on device"


def test_the_lines_of_an_earlier_report(tmp_path):
    path = tmp_path / "report.jsonl"
    assert earlier_lines(path) == []
    assert earlier_lines(tmp_path) == []
    path.touch()
    assert earlier_lines(path) == []
    least = '{"case": "a", "input": "a.nii",  "output": null, "status": "failed"}'
    path.write_bytes(f"{least}\nwords\n\n[1]\n{least}\n".encode() + b"\xff\n" + least[:-9].encode())
    assert earlier_lines(path) == [Earlier("a", "failed", least)] * 2
    path.write_text(least)
    assert earlier_lines(path) == [Earlier("a", "failed", least)]


def test_after_a_line_that_cannot_be_written_there_is_no_other():
    file = Full()
    with Report(file) as report:
        for name in ("a", "b"):
            report.write(Line(name, "a.nii", None, "failed"))
        assert report.error == "No space left on device"
        file.seek(0)
        report.write(Line("c", "a.nii", None, "failed"))
        assert '"case": "a"' in file.getvalue()
    assert file.closed


def test_an_earlier_report_is_known_by_what_every_version_wrote(tmp_path):
    path = tmp_path / "report.jsonl"
    least = {"case": "a", "input": "a.nii", "output": None, "status": "failed"}
    for line, known in ((least, True), (least | {"later": 1}, True), ({**least, "case": 1}, True)):
        path.write_text(json.dumps(line) + "\n")
        assert is_report(path) == known
    for text in ("", "[]", json.dumps({"case": "a", "input": "b", "status": "done"}), "{" * 100_000):
        path.write_text(text)
        assert not is_report(path)
