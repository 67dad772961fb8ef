"""Summary: what single scores amount to, over cases; of one submission, or of two, pair by pair."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from evaluation.scores.scoring import Score
from evaluation.shared.protocol import LESION, Structure
from evaluation.shared.spread import Difference, Spread, difference, spread

OVERALL, PRESENT = "all organs", "organs present"
Measure: TypeAlias = Literal["dsc", "nsd"]


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
class Contrast:
    """Both measures of a structure, or of a mean over structures: second submission minus first."""

    name: str
    dsc: Difference
    nsd: Difference


def summarise(name: str, scores: Sequence[Score]) -> Summary:
    """Of every case and structure that was scored."""
    dsc, nsd = by_name(scores, "dsc"), by_name(scores, "nsd")
    *rows, overall, present = [Row(row, spread(dsc[row]), spread(nsd[row])) for row in dsc]
    cases = cases_of(scores)
    missing = dict.fromkeys(score.case for score in scores if score.missing)
    case_dsc = dict(zip(cases, dsc[PRESENT], strict=True))
    return Summary(name, tuple(cases), tuple(missing), tuple(rows), overall, present, case_dsc)


def contrast(first: Sequence[Score], second: Sequence[Score]) -> list[Contrast]:
    """By structure, then the means over organs; both were scored on the same cases and structures."""
    dsc, nsd = ([by_name(scores, measure) for scores in (first, second)] for measure in ("dsc", "nsd"))
    return [Contrast(row, difference(dsc[0][row], dsc[1][row]), difference(nsd[0][row], nsd[1][row])) for row in dsc[0]]


def by_name(scores: Sequence[Score], measure: Measure) -> dict[str, list[float]]:
    """A value per case, in their order, for each structure, then for the means OVERALL and PRESENT over organs."""
    values: dict[str, list[float]] = {
        each.name: [getattr(score, measure) for score in scores if score.structure == each]
        for each in structures_of(scores)
    }
    organs = [[s for s in scores if s.case == case and s.structure != LESION] for case in cases_of(scores)]
    values[OVERALL] = [_mean(getattr(score, measure) for score in own) for own in organs]
    values[PRESENT] = [_mean(getattr(score, measure) for score in own if score.in_truth) for own in organs]
    return values


def cases_of(scores: Iterable[Score]) -> list[str]:
    """Names of the cases, in their order."""
    return list(dict.fromkeys(score.case for score in scores))


def structures_of(scores: Iterable[Score]) -> list[Structure]:
    """What was scored, in its order."""
    return list(dict.fromkeys(score.structure for score in scores))


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
