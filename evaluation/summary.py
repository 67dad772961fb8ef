"""Summary: what single scores amount to, over cases; of one submission, or of two, pair by pair."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from evaluation.protocol import LESION, Structure
from evaluation.scoring import NO_PREDICTION, Score

RESAMPLES = 10_000
CONFIDENCE = 0.95
OVERALL, PRESENT = "all organs", "organs present"
MEASURES: tuple[Callable[[Score], float], ...] = (lambda score: score.dsc, lambda score: score.nsd)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some values, NaN left out. deviation: of a sample (n - 1), NaN of fewer than two; q1, q3: quartiles."""

    count: int
    mean: float
    deviation: float
    median: float
    q1: float
    q3: float

    def __str__(self) -> str:
        if not self.count:
            return f"{'-':^40}"
        deviation = "     -" if math.isnan(self.deviation) else f"{self.deviation:6.4f}"
        return f"{self.mean:6.4f} ± {deviation}  {self.median:6.4f} ({self.q1:6.4f}, {self.q3:6.4f})"


@dataclass(frozen=True, slots=True)
class Row:
    """Both measures of a structure, or of a mean over structures."""

    name: str
    dsc: Spread
    nsd: Spread


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one submission. rows: by structure. overall: of each case's mean over its organs, the lesion apart.

    present: the same over the organs that a case's truth holds, so that nothing is earned by what is not there.
    case_dsc: that mean by case. missing: cases without a prediction.
    """

    name: str
    cases: tuple[str, ...]
    missing: tuple[str, ...]
    rows: tuple[Row, ...]
    overall: Row
    present: Row
    case_dsc: dict[str, float]


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first, of `count` pairs: its mean and the bootstrap interval of it (NaN of fewer than two)."""

    count: int
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if not self.count:
            return f"{'-':^27}"
        return f"{self.mean:+7.4f} " + (" " * 18 if math.isnan(self.low) else f"({self.low:+7.4f}, {self.high:+7.4f})")


@dataclass(frozen=True, slots=True)
class Contrast:
    """Both measures of a structure, second submission minus first."""

    name: str
    dsc: Difference
    nsd: Difference


def spread(values: Sequence[float]) -> Spread:
    """Of the values that are not NaN.

    >>> print(spread([0.5, 1.0, math.nan]))
    0.7500 ± 0.3536  0.7500 (0.6250, 0.8750)
    """
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return Spread(0, *[math.nan] * 5)
    deviation = float(known.std(ddof=1)) if known.size > 1 else math.nan
    q1, median, q3 = (float(value) for value in np.quantile(known, (0.25, 0.5, 0.75)))
    return Spread(known.size, float(known.mean()), deviation, median, q1, q3)


def difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Of pairs; a pair with a NaN is left out. The interval is the percentiles' of a bootstrap over the pairs."""
    apart = np.subtract(second, first)
    apart = apart[~np.isnan(apart)]
    if apart.size < 2:
        return Difference(apart.size, float(apart.mean()) if apart.size else math.nan, math.nan, math.nan)
    interval = stats.bootstrap(
        (apart,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0
    ).confidence_interval
    return Difference(apart.size, float(apart.mean()), float(interval.low), float(interval.high))


def summarise(name: str, scores: Sequence[Score]) -> Summary:
    """Of every case and structure that was scored."""
    present = _case_means(scores, lambda score: score.dsc, present=True)
    return Summary(
        name,
        tuple(_cases(scores)),
        tuple(dict.fromkeys(score.case for score in scores if score.note == NO_PREDICTION)),
        tuple(
            Row(
                each.name,
                *(spread([value(score) for score in scores if score.structure == each]) for value in MEASURES),
            )
            for each in _structures(scores)
        ),
        Row(OVERALL, *(spread([*_case_means(scores, value, present=False).values()]) for value in MEASURES)),
        Row(PRESENT, *(spread([*_case_means(scores, value, present=True).values()]) for value in MEASURES)),
        present,
    )


def contrast(first: Sequence[Score], second: Sequence[Score]) -> list[Contrast]:
    """By structure, then the means over organs; both were scored on the same cases and structures."""
    rows = [
        Contrast(
            each.name,
            *(
                difference(
                    *([value(score) for score in scores if score.structure == each] for scores in (first, second))
                )
                for value in MEASURES
            ),
        )
        for each in _structures(first)
    ]
    for name, present in ((OVERALL, False), (PRESENT, True)):
        means = [
            [[*_case_means(scores, value, present=present).values()] for scores in (first, second)]
            for value in MEASURES
        ]
        rows.append(Contrast(name, *(difference(*pair) for pair in means)))
    return rows


def _cases(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(score.case for score in scores))


def _structures(scores: Iterable[Score]) -> list[Structure]:
    return list(dict.fromkeys(score.structure for score in scores))


def _case_means(scores: Sequence[Score], value: Callable[[Score], float], *, present: bool) -> dict[str, float]:
    """By case, in their order: the mean over organs, or over those in its truth; NaN where there is none."""
    means = {}
    for case in _cases(scores):
        chosen = [s for s in scores if s.case == case and s.structure != LESION and (s.in_truth or not present)]
        values = [number for score in chosen if not math.isnan(number := value(score))]
        means[case] = float(np.mean(values)) if values else math.nan
    return means


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
    cases, by_place = _cases(scores), {(score.structure.name, score.case): score for score in scores}
    names = [each.name for each in _structures(scores)]
    width = max(map(len, names)) + 2
    lines = ["".join([" " * width, *(f"{case:>12.11}" for case in cases)])]
    for name in names:
        cells = [
            f"{score.dsc:.3f}" if (score := by_place[name, case]).in_truth else f"({score.dsc:.0f})" for case in cases
        ]
        lines.append("".join([f"{name:<{width}}", *(f"{cell:>12}" for cell in cells)]))
    means = _case_means(scores, MEASURES[0], present=True)
    lines.append("".join([f"{PRESENT:<{width}}", *(f"{means[case]:>12.3f}" for case in cases)]))
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
        "differences": [asdict(row) for row in contrasts],
    }
    return json.dumps(_finite(content), indent=1)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
