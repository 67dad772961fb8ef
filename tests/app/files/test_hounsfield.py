import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.hounsfield import to_hounsfield, to_stored_values
from tests.files import texts


def test_int16_is_not_copied():
    raw = np.array([-1000, 40], np.int16)
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert voxels is raw
    assert warnings == []


def test_float32_is_not_copied():
    raw = np.array([-1000, 40.5], np.float32)
    assert to_hounsfield(raw, 1.0, 0.0)[0] is raw


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.float32, np.float64, ">i2", ">f4"])
def test_every_dtype_keeps_its_values(dtype):
    voxels, warnings = to_hounsfield(np.array([-100, 0, 100], dtype), 1.0, 0.0)
    assert voxels.tolist() == [-100, 0, 100]
    assert voxels.dtype in (np.int16, np.float32)
    assert voxels.dtype.isnative
    assert warnings == []


@pytest.mark.parametrize(
    ("raw", "slope", "intercept", "expected"),
    [
        pytest.param(np.array([0, 1064], np.uint16), 1.0, -1024.0, np.array([-1024, 40], np.int16), id="whole offset"),
        pytest.param(np.array([-90, 5], np.int16), 2.0, 1.0, np.array([-179, 11], np.int16), id="whole slope"),
        pytest.param(np.array([-200, 5], np.int16), 0.5, 0.0, np.array([-100, 2.5], np.float32), id="half slope"),
        pytest.param(np.array([-80, 5], np.float32), 1.0, 1.0, np.array([-79, 6], np.float32), id="offset of floats"),
        pytest.param(np.array([0, 33000], np.uint16), 1.0, -1024.0, np.array([-1024, 31976], np.int16), id="fits then"),
        pytest.param(
            np.array([-32768, -99, 32767], np.int32), 1.0, 0.0, np.array([-32768, -99, 32767], np.int16), id="just fits"
        ),
        pytest.param(np.array([-80, 5], np.float32), 2.0, 0.0, np.array([-160, 10], np.float32), id="scaled floats"),
        pytest.param(np.array([64, 0], np.int16), -1.0, 0.0, np.array([-64, 0], np.int16), id="negative slope"),
        pytest.param(np.array([-60, 0], np.int16), 1.0, 1e12, np.array([32767, 32767], np.float32), id="huge offset"),
    ],
)
def test_scaling(raw, slope, intercept, expected):
    voxels, warnings = to_hounsfield(raw, slope, intercept)
    assert_array_equal(voxels, expected, strict=True)
    assert bool(warnings) == (expected.min() > -50)


def test_not_finite_is_air():
    voxels, warnings = to_hounsfield(np.array([np.nan, np.inf, -np.inf, 1e300, -500]), 1.0, 0.0)
    assert_array_equal(voxels, np.array([-1024, -1024, -1024, -1024, -500], np.float32), strict=True)
    assert texts(warnings) == ["4 voxels are NaN or infinite; taken as air (-1024 HU)"]


@pytest.mark.parametrize("dtype", [np.int32, np.float64])
def test_beyond_16_bits_is_cut(dtype):
    voxels, warnings = to_hounsfield(np.array([-70000, -100, 70000], dtype), 1.0, 0.0)
    assert_array_equal(voxels, np.array([-32768, -100, 32767], np.float32), strict=True)
    assert texts(warnings) == ["2 values cannot be HU; cut to -32768..32767"]


@pytest.mark.parametrize("value", [-1000, -1024, -3024])
def test_nothing_but_air_is_a_scan(value):
    assert to_hounsfield(np.full(20, value, np.int16), 1.0, 0.0)[1] == []


def test_an_offset_is_seen_through_a_few_voxels_below_zero():
    raw = np.full(10_000, 1064, np.int16)
    raw[:4000], raw[0] = 24, -60
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert sorted(set(voxels.tolist())) == [-1084, -1000, 40]
    assert "1024 taken off" in warnings[0].text


@pytest.mark.parametrize("padding", [-2000.0, np.nan])
def test_an_offset_is_seen_beside_padding(padding):
    raw = np.array([padding] * 50 + [24] * 20 + [1064] * 30, np.float32)
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert voxels[50:].tolist() == [-1000] * 20 + [40] * 30
    assert any("1024 taken off" in warning for warning in texts(warnings))


@pytest.mark.parametrize("padding", [-2048, -3024, -32768])
def test_padding_of_one_value_is_usual(padding):
    assert to_hounsfield(np.array([padding] * 50 + [-1000] * 20 + [40] * 30, np.int16), 1.0, 0.0)[1] == []


def test_ten_times_hu_is_said():
    voxels, warnings = to_hounsfield(np.array([-10000] * 20 + [-9990] * 20 + [400] * 30, np.int16), 1.0, 0.0)
    assert voxels[0] == -10000
    assert "below air" in warnings[0].text


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.float32])
def test_an_offset_of_1024_is_taken_off(dtype):
    raw = np.array([0, 24, 1064, 1100, 3000], dtype)
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert voxels.tolist() == [-1024, -1000, 40, 76, 1976]
    assert voxels.dtype == (np.float32 if dtype == np.float32 else np.int16)
    assert texts(warnings) == ["values from 0 to 3000 look like HU + 1024; 1024 taken off"]
    assert raw[0] == 0  # only read


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(np.array([0, 0.5, 1], np.float32), id="scaled to 0..1"),
        pytest.param(np.array([-3, 0.5, 5], np.float32), id="z-scores"),
        pytest.param(np.array([7], np.int16), id="one voxel"),
    ],
)
def test_other_values_without_air_or_fat_are_kept_and_said(raw):
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert voxels.tolist() == raw.tolist()
    assert len(warnings) == 1
    assert "cannot be HU" in warnings[0].text


AIR_FAT_AND_TISSUE = np.array([-1000] * 40 + [-100] * 20 + [40] * 39 + [1200], np.int32)
NOISY = AIR_FAT_AND_TISSUE + 7 * (np.arange(100) % 11 - 5)  # air from -1035 to -965


@pytest.mark.parametrize(
    ("offset", "dtype"),
    [(1024, np.uint16), (1024, np.float32), (1000, np.int16), (32768, np.uint16), (32768, np.int32), (-1024, np.int16)],
)
def test_known_offsets_are_taken_off(offset, dtype):
    hu = np.maximum(NOISY, -1024 if offset == 1024 else -2000)
    voxels, warnings = to_hounsfield((hu + offset).astype(dtype), 1.0, 0.0)
    assert voxels.tolist() == hu.tolist()
    assert voxels.dtype == (np.float32 if dtype == np.float32 else np.int16)
    assert [warning.code for warning in warnings] == ["offset"]
    assert warnings[0].verdict == "good"
    assert f"HU {'+' if offset > 0 else '-'} {abs(offset)};" in warnings[0].text


def test_an_offset_of_values_that_lie_all_over_is_not_certain():
    """As of an MR: half of the image background, the rest anything."""
    raw = np.concatenate([np.zeros(500), np.linspace(200, 3000, 500)]).astype(np.int16)
    _, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert [(warning.code, warning.verdict) for warning in warnings] == [("offset", "check")]


def test_where_air_is_cut_at_0_the_offset_was_1000():
    hu = np.array([-1000] * 30 + [-999, -996, -990] * 5 + [-100] * 20 + [40] * 35)
    voxels, warnings = to_hounsfield((hu + 1000).astype(np.uint16), 1.0, 0.0)
    assert voxels.tolist() == hu.tolist()
    assert "HU + 1000" in warnings[0].text


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_negative_values_that_unsigned_storage_made_huge_are_read_as_such(dtype):
    voxels, warnings = to_hounsfield((AIR_FAT_AND_TISSUE % 65536).astype(dtype), 1.0, 0.0)
    assert voxels.tolist() == AIR_FAT_AND_TISSUE.tolist()
    assert voxels.dtype == (np.float32 if dtype == np.float32 else np.int16)
    assert [warning.code for warning in warnings] == ["wrapped"]


@pytest.mark.parametrize("low", [0, 3])
def test_an_image_of_8_bits_is_named_and_not_to_be_used(low):
    raw = np.array([low, 128, 255], np.uint8)
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert voxels.tolist() == raw.tolist()
    assert [(warning.code, warning.verdict) for warning in warnings] == [("eight-bits", "unusable")]


@pytest.mark.parametrize(
    ("raw", "slope", "expected"),
    [
        pytest.param([-32769, -99, 5], 1.0, [-32768, -99, 5], id="too low by one"),
        pytest.param([-100, 32768], 1.0, [-100, 32767], id="too high by one"),
        pytest.param([-20000, -99, 5], 2.0, [-32768, -198, 10], id="too low once scaled"),
    ],
)
def test_whole_numbers_that_do_not_fit_are_cut_and_never_wrap(raw, slope, expected):
    voxels, warnings = to_hounsfield(np.array(raw, np.int32), slope, 0.0)
    assert_array_equal(voxels, np.array(expected, np.float32), strict=True)
    assert texts(warnings) == ["1 values cannot be HU; cut to -32768..32767"]


def test_the_ends_of_16_bits_are_not_cut():
    raw = np.array([-32768, -100, 32767], np.float32)
    voxels, warnings = to_hounsfield(raw, 1.0, 0.0)
    assert_array_equal(voxels, raw)
    assert warnings == []


def test_nothing_within_16_bits_is_cut_as_it_stands():
    _, warnings = to_hounsfield(np.full(3, -32769, np.float32), 1.0, 0.0)
    assert texts(warnings) == ["3 values cannot be HU; cut to -32768..32767"]


def test_factors_beyond_any_number_are_no_error():
    assert_array_equal(to_hounsfield(np.zeros(3, np.int16), 2.0**31, 0.0)[0], np.zeros(3, np.float32), strict=True)
    with np.errstate(over="ignore"):
        assert to_hounsfield(np.array([0.0, 1.0], np.float32), 1e300, 0.0)[0].tolist() == [-1024, -1024]


def warned(*parts):
    """What is said of values that are each there so many times."""
    raw = np.concatenate([np.full(count, value, np.int16) for value, count in parts])
    return " ".join(texts(to_hounsfield(raw, 1.0, 0.0)[1]))


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param([(-51, 1), (0, 999)], None, id="one voxel of fat in a thousand is enough"),
        pytest.param([(-51, 1), (0, 1001)], "nothing is air or fat", id="less than one in a thousand is not"),
        pytest.param([(-50, 9), (0, 991)], "nothing is air or fat", id="-50 HU are not below -50"),
        pytest.param([(-1100, 1), (0, 999)], None, id="-1100 HU are noise of air"),
        pytest.param([(-2000, 1), (-1101, 6), (-500, 93)], "too many are below air", id="six of a hundred below air"),
        pytest.param([(-2000, 1), (-1101, 5), (-500, 94)], None, id="five of a hundred are not too many"),
        pytest.param([(-2000, 1), (-1100, 6), (-500, 93)], None, id="-1100 HU are not below air"),
        pytest.param([(-1101, 50), (-500, 50)], None, id="the lowest value is padding, however often"),
        pytest.param([(0, 95), (874, 5)], "1024 taken off", id="tissue from 874 on, one in twenty"),
        pytest.param([(0, 95), (1274, 5)], "1024 taken off", id="tissue up to 1274"),
        pytest.param([(0, 96), (1000, 4)], "nothing is air or fat", id="less than one in twenty"),
        pytest.param([(0, 95), (873, 5)], "nothing is air or fat", id="873 is below tissue"),
        pytest.param([(0, 95), (1275, 5)], "nothing is air or fat", id="1275 is above tissue"),
        pytest.param([(874, 100)], "nothing is air or fat", id="nothing but tissue: no air beside it"),
        pytest.param([(1000, 100)], "nothing is air or fat", id="nothing but water"),
        pytest.param([(40, 1), (-1000, 1)], None, id="every voxel of a small scan is looked at"),
    ],
)
def test_where_the_limits_of_what_is_said_lie(parts, said):
    assert (said in warned(*parts)) if said else (warned(*parts) == "")


@pytest.mark.parametrize(
    ("raw", "span"),
    [
        pytest.param(
            np.array([0, 24, 1064, 70000], np.float32), "from 0 to 1064 look", id="beyond 16 bits is not judged"
        ),
        pytest.param(np.array([-32768, 0, 255], np.int16), "from -32768 to 255 cannot", id="the lowest of 16 bits is"),
        pytest.param(np.array([0, 255, 32767], np.int16), "from 0 to 32767 cannot", id="and the highest"),
    ],
)
def test_the_span_that_is_said(raw, span):
    assert span in to_hounsfield(raw, 1.0, 0.0)[1][0].text


def test_stored_values_stay_whatever_they_look_like():
    """Unsigned storage, values beyond 16 bits, a picture: scaled, and that is all. What is no number is air."""
    for raw in (np.array([0, 1024, 2000, 3000], np.uint16), np.array([0, 40_000, 65_000], np.uint16)):
        values, notices = to_stored_values(raw, 1.0, 0.0)
        assert values.tolist() == raw.tolist()
        assert notices == []
    assert to_stored_values(np.array([1, 2], np.int16), 1.0, 0.0)[0].dtype == np.int16
    assert_array_equal(to_stored_values(np.array([1, 2], np.int16), 0.5, 1e6)[0], np.array([1e6 + 0.5, 1e6 + 1], "f4"))
    values, notices = to_stored_values(np.array([1e9, np.nan, np.inf, 3], np.float32), 1.0, 0.0)
    assert values.tolist() == [1e9, -1024, -1024, 3]
    assert [notice.code for notice in notices] == ["not-finite"]
