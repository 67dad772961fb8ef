import numpy as np
import pytest

from evaluation.maintenance import long_body
from evaluation.maintenance.long_body import lengthened


@pytest.fixture
def _no_noise(monkeypatch):
    monkeypatch.setattr(long_body, "NOISE_HU", 0.0)


def ramp(heights_mm):
    """A slice of 3 x 2 voxels per height, each voxel the height itself as HU."""
    return np.broadcast_to(np.array(heights_mm, np.int16)[:, None, None], (len(heights_mm), 3, 2))


@pytest.mark.usefixtures("_no_noise")
def test_a_body_is_to_and_fro_below_and_mirrored_above():
    """1070 - 180 - 300 = 590 mm lie below the source: seven times to and fro, and 30 mm."""
    body = lengthened(ramp([0, 100, 200, 300]), 100.0, 107)  # a slice each 10 mm
    heights = body[:, 0, 0].tolist()
    assert heights[:9] == [30, 20, 10, 0, 10, 20, 30, 40, 30]
    assert heights[57:62] == [20, 10, 0, 10, 20]
    assert heights[87:92] == [280, 290, 300, 290, 280]
    assert heights[-1] == 130
    assert body.dtype == np.int16
    assert body.shape == (107, 3, 2)


@pytest.mark.usefixtures("_no_noise")
def test_values_beyond_twelve_bits_are_cut():
    source = np.broadcast_to(np.array([-2000, 4000], np.int16)[:, None, None], (2, 1, 1))
    assert lengthened(source, 300.0, 107)[[59, 89], 0, 0].tolist() == [-1024, 3071]  # the two slices themselves


def test_the_noise_is_always_the_same_and_of_eight_hu():
    flat = np.zeros((3, 100, 100), np.int16)
    first, second = (lengthened(flat, 100.0, 20) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.std() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize(("slices", "spacing"), [(2, 179.0), (2, 891.0), (1, 300.0)])
def test_too_little_or_too_much_of_a_body(slices, spacing):
    with pytest.raises(ValueError, match="needs 180 to 890"):
        lengthened(np.zeros((slices, 2, 2), np.int16), spacing, 10)
