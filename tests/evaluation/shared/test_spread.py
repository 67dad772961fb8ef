import math

import pytest

from evaluation.shared.spread import difference, spread

NAN = math.nan


def test_spread_of_the_values_that_are_known():
    found = spread([1.0, NAN, 2.0, 3.0, 6.0])
    assert (found.count, found.mean, found.median, found.q1, found.q3) == (4, 3.0, 2.5, 1.75, 3.75)
    assert found.deviation == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert spread([0.5]).mean == 0.5
    assert math.isnan(spread([0.5]).deviation)
    assert spread([NAN]).count == 0
    assert str(spread([])).strip() == "-"
    assert len(str(spread([]))) == len(str(spread([1.0, 0.5]))) == len(str(spread([0.5])))


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
