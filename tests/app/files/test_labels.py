import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.labels import whole_labels


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.float32, np.float64, ">f4", ">i2"])
def test_labels_of_any_type_are_uint8(kind):
    values = np.array([[[0, 3], [13, 255]]], kind)
    assert_array_equal(whole_labels(values), np.array([[[0, 3], [13, 255]]], np.uint8), strict=True)


def test_truth_values_are_0_and_1():
    assert_array_equal(whole_labels(np.array([False, True])), np.array([0, 1], np.uint8), strict=True)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        pytest.param(2.9999, 3, id="below, as scaled 16-bit integers give it back"),
        pytest.param(3.0099, 3, id="above"),
        pytest.param(2.9901, 3, id="as far off as may be"),
        pytest.param(-0.009, 0, id="below background"),
        pytest.param(13.009, 13, id="above the highest"),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_scaling_has_left_a_little_off_is_rounded(value, label, kind):
    assert_array_equal(whole_labels(np.array([value], kind), 13), np.array([label], np.uint8), strict=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param([2.98], r"not whole numbers, so no labels: 2\.98; known are 0 to 13", id="interpolated"),
        pytest.param([3.02], r"not whole numbers, so no labels: 3\.02", id="interpolated, above"),
        pytest.param([0, np.nan], "not whole numbers, so no labels: nan", id="not a number"),
        pytest.param([0, -np.inf, np.inf], "no labels: -inf, inf", id="infinite"),
        pytest.param([0, 15, 14, 15], "unknown labels 14, 15; known are 0 to 13", id="too high"),
        pytest.param([-1, 0], "unknown labels -1; known are 0 to 13", id="negative"),
        pytest.param(range(14, 99), "unknown labels 14, 15, 16, 17, 18; known", id="the first five"),
    ],
)
def test_what_is_no_label_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        whole_labels(np.array(values, np.float32), 13)


@pytest.mark.parametrize("kind", [np.int16, np.int8, np.float32])
def test_without_a_limit_a_label_is_what_8_bits_hold(kind):
    with pytest.raises(ValueError, match="unknown labels -2; known are 0 to 255"):
        whole_labels(np.array([-2, 3], kind))


def test_the_values_stay_as_they_are():
    values = np.array([2.9999, 0.0])
    whole_labels(values)
    assert_array_equal(values, [2.9999, 0.0])


def test_labels_that_are_uint8_are_not_copied():
    labels = np.array([1, 2], np.uint8)
    assert whole_labels(labels) is labels


@pytest.mark.parametrize("shape", [(0,), (0, 3, 2), (1, 1, 1), (1, 4, 3)])
def test_no_voxel_one_voxel_one_slice(shape):
    assert_array_equal(whole_labels(np.full(shape, 4.0)), np.full(shape, 4, np.uint8), strict=True)
