import csv
import sys
from pathlib import Path

from evaluation.benchmark.report import Comparison, Turn, ratios, write_benchmark
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.scores.scoring import Score
from evaluation.shared.protocol import MEGABYTE, STRUCTURES

LIVER = STRUCTURES[0]


def turn(contender, number, seconds, megabytes=100, *, status=DONE, busy=0.0, case="a_0000.nii.gz", **steps):
    run = Run(0.0, seconds, 0, False, (Sample(0.1, Usage(1.0, megabytes * MEGABYTE, 0, 0)),), 0.0)
    return Turn(contender, number, TimedCase(case, run, status, "somewhere", "its | last words"), busy, steps)


RUNS = [
    turn("ours", 0, 2.0, 100),
    turn("theirs", 0, 8.0, 300, read=1.0, segment=6.0),
    turn("ours", 1, 4.0, 100),
    turn("theirs", 1, 10.0, 250, read=1.0, segment=7.0),
    turn("ours", 2, 2.0, 100),
    turn("theirs", 2, 12.0, 200, read=1.0, segment=8.0),
]


def result(runs, scores=None, remark=""):
    names = {run.contender: f"what {run.contender} is" for run in runs}
    return Comparison(
        names,
        runs,
        scores or {},
        parameters=2_370_000,
        engine="1.2",
        python=Path(sys.executable),
        command="cmd",
        image="sha256:0123",
        remark=remark,
    )


def test_ratios_are_of_the_same_round():
    assert ratios(RUNS, "theirs", "ours", lambda each: each.seconds) == [4.0, 2.5, 6.0]


def test_a_round_in_which_one_failed_has_no_ratio():
    runs = [*RUNS[:5], turn("theirs", 2, 900.0, status="time limit")]
    assert ratios(runs, "theirs", "ours", lambda each: each.seconds) == [4.0, 2.5]


def report(tmp_path, *arguments):
    path = tmp_path / "BENCHMARK.md"
    write_benchmark(result(*arguments), path)
    return path.read_text()


def test_the_tables(tmp_path):
    text = report(tmp_path, RUNS)
    assert "| ours | 2.00 (2.00 to 4.00) |  | 100 (100 to 100) |  |" in text
    assert "| theirs | 10.00 (8.00 to 12.00) | 4.00 (2.50 to 6.00) | 250 (200 to 300) | 2.50 (2.00 to 3.00) |" in text
    assert "| | read | segment | rest |" in text
    assert "| theirs | 1.00 | 7.00 | 2.00 |" in text
    assert "- **theirs**: what theirs is." in text
    assert "2.37 M parameters" in text
    assert "    cmd\n" in text
    assert "none above 5 % of the CPUs before any of the 6 runs" in text
    assert "## Scores" not in text
    with (tmp_path / "BENCHMARK.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert (rows[1]["contender"], rows[1]["seconds"], rows[1]["peak_mb"]) == ("theirs", "8.000", "300.0")


def test_what_failed_and_what_was_not_quiet_is_said(tmp_path):
    runs = [RUNS[0], turn("theirs", 0, 900.0, status="time limit", busy=40.0)]
    text = report(tmp_path, runs)
    assert "| theirs | time limit: its / last words | | | |" in text
    assert "**not quiet**: above 5 % of the CPUs before 1 of 2 runs, at the worst 40 %" in text
    text = report(tmp_path, [*RUNS[:5], turn("theirs", 2, 900.0, status="time limit")])
    assert "| theirs (1 of 3 runs failed) | 9.00 (8.00 to 10.00) | 3.25 (2.50 to 4.00)" in text


def test_scores_side_by_side(tmp_path):
    scores = {
        "ours": [Score("a", LIVER, 0.8, 0.5, True), Score("b", LIVER, 0.6, 0.5, True)],
        "theirs": [Score("a", LIVER, 0.9, 0.5, True), Score("b", LIVER, 0.0, 0.0, True, missing=True)],
    }
    text = report(tmp_path, RUNS, scores, "against whose labels")
    assert "+0.1000) | 0.2500 | 0.500 | -0.2500 (-0.5000, +0.0000) |\n\nagainst whose labels\n" in text
    assert "| ours | 0.7000 |  |  | 0.5000 |  |  |" in text
    assert "| theirs (no mask of b: 0) | 0.4500 | 0.643 | -0.2500 (-0.6000, +0.1000) | 0.2500 | 0.500 |" in text


def test_our_image_alone_once_and_scoring_nothing(tmp_path):
    scores = {"ours": [Score("a", LIVER, 0.0, 0.0, True)], "theirs": [Score("a", LIVER, 0.5, 0.5, True)]}
    text = report(tmp_path, RUNS[:1], scores)
    assert "| ours | 2.00 (2.00 to 2.00) |" in text
    assert "## a_0000.nii.gz, 1 round\n" in text
    assert "| theirs | 0.5000 | - |" in text
