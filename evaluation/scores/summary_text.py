"""Summary text: a summary for a person, and for a program."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from app.run.report import finite
from evaluation.scores.scoring import Score
from evaluation.scores.summary import PRESENT, Contrast, Summary, by_name, cases_of, structures_of
from evaluation.shared.spread import CONFIDENCE


def text(summaries: Sequence[Summary], contrasts: Sequence[Contrast], remarks: Sequence[str]) -> str:
    """For a person: a table per submission, the differences of two, remarks."""
    blocks = []
    for summary in summaries:
        width = max(len(row.name) for row in (*summary.rows, summary.present)) + 2
        head = f"{'':<{width}}{'DSC':<42}NSD\n{'':<{width}}" + f"{'mean ± sd        median (Q1, Q3)':<42}" * 2
        rows = [f"{row.name:<{width}}{row.dsc}  {row.nsd}" for row in (*summary.rows, summary.overall, summary.present)]
        blocks.append("\n".join([f"{summary.name}: {len(summary.cases)} cases", head.rstrip(), *rows]))
    if contrasts:
        width = max(len(row.name) for row in contrasts) + 2
        head = f"{'':<{width}}{'DSC':<29}NSD"
        rows = [f"{row.name:<{width}}{row.dsc}  {row.nsd}".rstrip() for row in contrasts]
        title = f"{summaries[1].name} minus {summaries[0].name}: mean of pairs ({CONFIDENCE:.0%} bootstrap interval)"
        blocks.append("\n".join([title, head, *rows]))
    return "\n\n".join([*blocks, *remarks])


def case_table(scores: Sequence[Score]) -> str:
    """DSC for a person: a row per structure, a column per case; in brackets what the truth does not hold."""
    cases, by_place = cases_of(scores), {(score.structure.name, score.case): score for score in scores}
    names = [each.name for each in structures_of(scores)]
    width = max(map(len, [*names, PRESENT])) + 2
    lines = ["".join([" " * width, *(f"{case:>12.11}" for case in cases)])]
    for name in names:
        own = [by_place[name, case] for case in cases]
        cells = [f"{score.dsc:.3f}" if score.in_truth else f"({score.dsc:.0f})" for score in own]
        lines.append("".join([f"{name:<{width}}", *(f"{cell:>12}" for cell in cells)]))
    means = by_name(scores, "dsc")[PRESENT]
    lines.append("".join([f"{PRESENT:<{width}}", *(f"{mean:>12.3f}" for mean in means)]))
    lines.append("(1): in neither mask, (0): predicted, but not in the truth")
    return "\n".join(lines)


def as_json(
    submissions: Mapping[str, Sequence[Score]],
    summaries: Sequence[Summary],
    contrasts: Sequence[Contrast],
    **settings: object,
) -> str:
    """All of it for a program; null where a number is not known."""
    content = {
        **settings,
        "submissions": [
            {**asdict(summary), "scores": [asdict(score) for score in submissions[summary.name]]}
            for summary in summaries
        ],
        "differences": {
            "of": summaries[-1].name,
            "minus": summaries[0].name,
            "rows": [asdict(row) for row in contrasts],
        }
        if contrasts
        else None,
    }
    return json.dumps(finite(content), indent=1)
