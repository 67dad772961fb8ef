import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.models.bundle import Intensity
from app.steps.normalise import normalise


def test_clip_then_subtract_then_divide():
    volume = np.array([-2000, -160, 40, 240, 3000], np.float32)
    got = normalise(volume, Intensity(-160, 240, 40, 100))
    assert_array_equal(got, np.array([-2, -2, 0, 2, 2], np.float32), strict=True)
    assert_array_equal(volume, np.array([-2000, -160, 40, 240, 3000], np.float32))  # only read


INFINITE, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    "figures",
    [
        (1, 1, 0, 1), (2, 1, 0, 1), (0, 1, 0, 0), (0, 1, 0, -1),
        (NAN, 1, 0, 1), (-INFINITE, 1, 0, 1), (0, 1, NAN, 1), (0, 1, 0, INFINITE),
    ],
)  # fmt: skip
def test_impossible_figures_are_refused(figures):
    with pytest.raises(ValueError, match="needs finite values within"):
        Intensity(*figures)


def test_a_deviation_below_one_is_one():
    assert normalise(np.array([1.0], np.float32), Intensity(0, 2, 0, 0.5)).tolist() == [2]


@pytest.mark.parametrize("figures", [(-1e6, 1e6, 1e6, 1e6), (0, 1, -1e6, 1e-6)])
def test_the_ends_of_what_is_possible(figures):
    Intensity(*figures)


@pytest.mark.parametrize("figures", [(0, 1e6 + 0.5, 0, 1), (0, 1, 0, 0.99e-6)])
def test_beyond_the_ends(figures):
    with pytest.raises(ValueError, match="needs finite values within"):
        Intensity(*figures)
