import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.models.bundle import Intensity, ScanIntensity
from app.steps.normalise import normalise, normalise_by_itself, percentiles


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


@pytest.mark.parametrize(
    ("figures", "before", "expected"),
    [
        pytest.param((-160, 240, -160, 400), (-160, 40, 240, 1000), (0, 0.5, 1, 1), id="paper 000: 0 to 1"),
        pytest.param((-325, 266, 59.284187, 83.43879), (-1000, 100, 1000), (-4.605582, 0.487972, 2.477455), id="003"),
        pytest.param((-325, 273, 86.59582, 81.018715), (-1000, 1000), (-5.080256, 2.300755), id="003, tumours"),
        pytest.param((-325, 267, 70.34444, 82.539795), (-1000, 1000), (-4.789743, 2.382554), id="003, organs"),
        pytest.param((-958, 270, 97.297, 137.848), (-1000, 0, 400), (-7.6555, -0.7058, 1.2529), id="004"),
    ],
)
def test_published_examples(figures, before, expected):
    assert_allclose(normalise(np.array(before, np.int16), Intensity(*figures)), expected, atol=6e-5)


def by_itself(values, limits, keeps_zeros=True):
    volume = np.array(values, np.float32).reshape(1, 1, -1)
    volume.flags.writeable = False
    result = normalise_by_itself(volume, limits, ScanIntensity(5, 95, keeps_zeros))
    assert result.dtype == np.float32
    assert result.shape == volume.shape
    return result.ravel()


def test_voxels_that_are_zero_stay_so_and_do_not_count():
    """Paper 001's example: [0, 0, 2, 4] to [0, 0, -1, 1], or of all voxels to mean 1.5 and deviation 1.66."""
    assert_allclose(by_itself([0, 0, 2, 4], (0, 4)), [0, 0, -1, 1], atol=1e-6)
    assert_allclose(by_itself([0, 0, 2, 4], (0, 4), keeps_zeros=False), [-0.905, -0.905, 0.302, 1.508], atol=5e-4)


def test_the_limits_are_clipped_to_and_the_lower_one_becomes_zero():
    """-900 and below are 0; 100, 300 and 500 HU of mean 300 and deviation sqrt(80000 / 3); 900 HU is 500."""
    scale = np.sqrt(80000 / 3)
    got = by_itself([-1000, -900, 100, 300, 500], (-900, 500))
    assert_allclose(got, np.array([0, 0, -200, 0, 200]) / scale, atol=1e-6)
    assert_allclose(by_itself([-1000, -900, 100, 300, 900], (-900, 500)), got)


def test_what_interpolation_leaves_of_a_zero_is_a_zero():
    """Less than a millionth of the range; two millionths are something."""
    assert_allclose(by_itself([0.0009, 500, 1000], (0, 1000)), [0.9e-6, -1, 1], atol=1e-7)
    assert by_itself([0.002, 500, 1000], (0, 1000))[0] < -1


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        pytest.param([7, 7], (7, 7), id="a constant scan"),
        pytest.param([-1000, -1000], (-1000, 100), id="a region of nothing but air"),
        pytest.param([5], (5, 5), id="one voxel"),
    ],
)
@pytest.mark.parametrize("keeps_zeros", [True, False])
def test_what_has_no_range_is_zeros(values, limits, keeps_zeros):
    assert by_itself(values, limits, keeps_zeros).tolist() == [0] * len(values)


def test_one_value_that_counts_becomes_its_mean():
    assert_allclose(by_itself([0, 50, 50], (0, 100)), [0, 0, 0])


@pytest.mark.parametrize("shares", [(0, 100), (5, 95), (0.5, 99.5), (33.3, 33.4), (0, 50)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize(
    "values",
    [
        pytest.param([[[-5]]], id="one voxel"),
        pytest.param([[[3, 3], [3, 3]]], id="constant"),
        pytest.param([[[-32768, 32767]]], id="the ends of int16"),
        pytest.param([[[4]], [[-2000]], [[-1]]], id="one voxel a plane, negative"),
    ],
)
def test_percentiles_are_numpys(values, dtype, shares):
    voxels = np.array(values, dtype)
    assert_allclose(percentiles(voxels, shares), np.percentile(voxels.astype(np.float64), shares), rtol=1e-6)


@pytest.mark.parametrize("size", [101, 100, 7 * 11 * 13])
def test_percentiles_of_many_values(size):
    voxels = np.random.default_rng(size).integers(-1024, 3000, size).astype(np.int16).reshape(1, 1, -1)
    for share in np.linspace(0, 99, 34):
        shares = (share, share + 1)
        assert_allclose(percentiles(voxels, shares), np.percentile(voxels, shares), rtol=1e-9, atol=1e-9)


def test_percentiles_and_their_clip_as_in_the_papers_example():
    """0 to 100: 5 and 95; on 0 to 255 6 is 2.833 and 50 is 127.5, here on 0 to 1."""
    voxels = np.arange(101, dtype=np.int16).reshape(1, 1, -1)
    assert percentiles(voxels, (5, 95)) == (5, 95)
    scaled = (np.clip(voxels, 5, 95) - 5) / 90 * 255
    assert_allclose(scaled[0, 0, [0, 5, 6, 50, 100]], [0, 0, 2.833, 127.5, 255], atol=5e-4)
    inside = scaled[scaled > 0]
    expected = np.where(scaled > 0, (scaled - inside.mean()) / inside.std(), 0)
    assert_allclose(normalise_by_itself(voxels, (5, 95), ScanIntensity(5, 95, True)), expected, atol=1e-5)


def test_percentiles_of_a_view_in_another_order():
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)[::-1]
    assert percentiles(voxels, (10, 60)) == pytest.approx((2.3, 13.8))


@pytest.mark.parametrize("shares", [(-0.1, 50), (5, 5), (6, 5), (0, 100.1), (NAN, 50), (5, NAN)])
def test_impossible_percentiles_are_refused(shares):
    with pytest.raises(ValueError, match="needs 0 <= low_percentile < high_percentile <= 100"):
        ScanIntensity(*shares, True)
