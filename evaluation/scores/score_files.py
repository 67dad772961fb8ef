"""Score files: scores in long form as CSV, and beside them their summary as text, JSON and PNG."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.scores.scoring import Score
from evaluation.scores.summary import contrast, summarise
from evaluation.scores.summary_plot import draw_boxes
from evaluation.scores.summary_text import as_json, case_table, text
from evaluation.shared.own_files import refuse_foreign
from evaluation.shared.protocol import DECIMALS

COLUMNS = ("case", "label", "organ", "dsc", "nsd", "note")
FEW_CASES = 8  # as many columns as a terminal has room for


def write_scores(submissions: Mapping[str, Sequence[Score]], path: Path) -> None:
    """The long form; of two submissions each line begins with whose it is. A score that is NaN is left empty."""
    several = len(submissions) > 1
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["prediction", *COLUMNS] if several else COLUMNS)
        for name, scores in submissions.items():
            for score in scores:
                values = ["" if math.isnan(value) else f"{value:.{DECIMALS}f}" for value in (score.dsc, score.nsd)]
                line = [score.case, score.structure.label, score.structure.name, *values, score.note]
                writer.writerow([name, *line] if several else line)


def refuse_others(out: Path) -> None:
    """SetupError where `write_all` would replace what it did not write."""
    refuse_foreign(out, ",".join(COLUMNS), *(out.with_suffix(ending) for ending in (".txt", ".json", ".png")))


def write_all(submissions: Mapping[str, Sequence[Score]], out: Path, remarks: Sequence[str], **settings: object) -> str:
    """Scores as CSV into `out`, in a folder that is there, their summary beside it; the text of it, for printing.

    settings: what else the JSON says of how the scores came about.
    """
    write_scores(submissions, out)
    summaries = [summarise(name, scores) for name, scores in submissions.items()]
    contrasts = contrast(*submissions.values()) if len(submissions) > 1 else []
    report = text(summaries, contrasts, remarks)
    if len(submissions) == 1 and len(summaries[0].cases) <= FEW_CASES:
        report = f"DSC by case\n{case_table(next(iter(submissions.values())))}\n\n{report}"
    out.with_suffix(".txt").write_text(report + "\n", encoding="utf-8")
    out.with_suffix(".json").write_text(
        as_json(submissions, summaries, contrasts, remarks=remarks, **settings) + "\n", encoding="utf-8"
    )
    draw_boxes(submissions, out.with_suffix(".png"))
    return report
