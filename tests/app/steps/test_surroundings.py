import numpy as np
import pytest

from app.grid import Box
from app.steps.surroundings import constants_around, with_air_around


def air_around(voxels):
    return with_air_around(voxels, constants_around(voxels))


def body(shape=(12, 40, 40), air=-1000, dtype=np.int16):
    """Noisy tissue, an ellipse in air that reaches the first and the last slice."""
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    tissue = np.random.default_rng(0).normal(40, 12, shape).round()
    return np.where(x**2 + y**2 < 0.8, tissue, air).astype(dtype)


@pytest.mark.parametrize("air", [-1000, -1024, -3024])
def test_air_is_left(air):
    voxels = body(air=air)
    got, _, notices = air_around(voxels)
    assert got is voxels
    assert notices == []


@pytest.mark.parametrize("value", [0, 40, -500])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_constant_around_the_body_becomes_air_and_the_body_stays(value, dtype):
    clean, damaged = body(air=-1024, dtype=dtype), body(air=value, dtype=dtype)
    got, _, notices = air_around(damaged)
    assert got.dtype == dtype
    assert np.count_nonzero(got != clean) <= 40  # of 11,800 of the body, those of the value at the skin
    assert [(notice.code, notice.verdict) for notice in notices] == [("surroundings", "good")]
    assert f"all {value} HU" in notices[0].text
    assert damaged.max() == clean.max()  # only read
    assert (damaged == value).any()


def test_padding_on_every_side_slices_too():
    inner = body(air=-1000)
    padded = np.pad(inner, ((3, 3), (5, 5), (5, 5)), constant_values=0)
    got, box, notices = air_around(padded)
    assert box == Box((3, 5, 5), (15, 45, 45))
    assert (got[3:-3, 5:-5, 5:-5] == inner).mean() > 0.999
    inside = np.zeros(got.shape, bool)
    inside[3:-3, 5:-5, 5:-5] = True
    assert (got[~inside] == -1024).all()
    assert len(notices) == 1


def test_a_slice_of_padding_alone_is_seen_and_a_gap_inside_the_body_stays():
    voxels = body()
    voxels[-1] = 0
    voxels[4:6, 18:22, 18:22] = 0
    got, _, notices = air_around(voxels)
    assert (got[-1] == -1024).all()
    assert (got[4:6, 18:22, 18:22] == 0).all()
    assert len(notices) == 1


def test_two_values_one_on_each_side():
    voxels = body()
    voxels[:, :8] = 0
    voxels[:, -8:] = 100
    got, box, notices = air_around(voxels)
    assert box == Box((0, 8, 0), (12, 32, 40))
    assert (got[:, :8] == -1024).mean() > 0.99
    assert (got[:, -8:] == -1024).mean() > 0.99
    assert len(notices) == 2


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 30), (30, 1, 30), (2, 2, 2)])
def test_a_scan_of_one_value_is_left(shape):
    voxels = np.zeros(shape, np.int16)
    got, _, notices = air_around(voxels)
    assert got is voxels
    assert notices == []


def test_two_values_and_nothing_else_are_left():
    voxels = np.zeros((6, 20, 20), np.int16)
    voxels[:, :, 10:] = 100
    got, box, notices = air_around(voxels)
    assert got is voxels
    assert (box, notices) == (None, [])


def test_tissue_at_a_face_is_no_constant_however_coarsely_it_is_rounded():
    """A crop inside an organ whose noise is a third of the step that values are rounded to."""
    voxels = (np.random.default_rng(1).normal(60, 5, (20, 30, 30)) / 16).round() * 16
    got, _, notices = air_around(voxels.astype(np.int16))
    assert notices == []
    assert (got == voxels).all()
