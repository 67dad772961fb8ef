"""Spread: how some values are spread, and how far two rows of paired values are apart. NaN is no value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000
CONFIDENCE = 0.95


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
