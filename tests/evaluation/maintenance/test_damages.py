import gzip
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from evaluation.maintenance import damages
from evaluation.maintenance.damages import Sample
from tests.files import lps_affine

SHAPE = (40, 32, 24)


@pytest.fixture
def sample():
    """A body of 40 HU in air, a box in it that is organ 13, from slice 12 to 17."""
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    voxels = np.where(x**2 + y**2 < 0.5, 40, -1000).astype(np.int16)
    organs = np.zeros(SHAPE, np.uint8)
    organs[16:24, 12:20, 12:18] = 13
    voxels[organs > 0] = 90
    return Sample(voxels, lps_affine((1, 1, 2)), organs)


def brought_back(damaged, whole):
    """The undamaged scan's organs at the damaged one's voxels, as the way back says."""
    return damages.at(whole.organs, damaged.to_scan, damaged.voxels.shape[:3], 0)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True)])
def test_the_way_back_of_another_order(sample, order, flips):
    damaged = damages.in_order(sample, order, flips)
    assert damaged.voxels.shape == tuple(SHAPE[axis] for axis in order)
    assert_array_equal(brought_back(damaged, sample), damaged.organs)
    assert ((damaged.voxels == 90) == (damaged.organs > 0)).all()
    assert_array_equal(damaged.affine, sample.affine)


@pytest.mark.parametrize(
    "damage",
    [
        lambda s: damages.oblique(s, 0, 20),
        lambda s: damages.oblique(s, 2, 35),
        lambda s: damages.tilted_gantry(s, 30),
        lambda s: damages.padded_with(s, 0),
        lambda s: damages.box_around(s, 13),
        lambda s: damages.few_slices(s),
        lambda s: damages.padded_with(damages.in_order(damages.slices(s, 6, 20), (0, 1, 2), (True, False, False)), 0),
    ],
)
def test_the_way_back_of_what_moves_voxels(sample, damage):
    damaged = damage(sample)
    back, count = brought_back(damaged, sample), np.count_nonzero(damaged.organs)
    assert count > 0
    assert np.count_nonzero(back != damaged.organs) <= 0.02 * count
    # the affine says the same as the way back, unless the header lies
    if np.linalg.det(damaged.to_scan[:3, :3]) > 0:
        np.testing.assert_allclose(sample.affine @ damaged.to_scan, damaged.affine, atol=1e-6)


def test_crops(sample):
    assert damages.few_slices(sample).voxels.shape[2] == 10
    assert damages.below_organs(sample).voxels.shape == (40, 32, 12)
    assert not damages.below_organs(sample).organs.any()
    box = damages.box_around(sample, 13)
    assert np.count_nonzero(box.organs) == np.count_nonzero(sample.organs)
    with pytest.raises(damages.NoSuchPart, match="there are no organs"):
        damages.below_organs(replace(sample, organs=np.zeros_like(sample.organs)))
    with pytest.raises(damages.NoSuchPart, match="above the organs"):
        damages.above_organs(sample)
    with pytest.raises(damages.NoSuchPart, match="label 4 is not there"):
        damages.box_around(sample, 4)


def test_values(sample):
    assert damages.circle_of(sample, 0).voxels[0, 0, 0] == 0
    assert (damages.circle_of(sample, 0).voxels == sample.voxels)[sample.voxels > -1000].all()
    assert damages.padded_with(sample, 0).voxels[0, 0, 0] == 0
    assert damages.wrapped(sample).voxels.max() == 65536 - 1000
    assert damages.stored_with_offset(sample, 32768, np.uint16).voxels.max() == 32858
    eight = damages.eight_bits(sample).voxels
    assert (eight.dtype, eight.min(), eight.max()) == (np.uint8, 0, 159)  # (90 + 160) / 400 * 255
    assert not damages.noise(sample).organs.any()


def test_files(sample, tmp_path):
    path = tmp_path / "a_0000.nii.gz"
    sample.write(path)
    image = nib.load(path)
    assert_array_equal(np.asarray(image.dataobj), sample.voxels)
    np.testing.assert_allclose(image.affine, sample.affine, atol=1e-5)
    damages.micron(sample).write(path)
    assert nib.load(path).header.get_xyzt_units()[0] == "micron"
    damages.wrong_sform(sample).write(path)
    header = nib.load(path).header
    np.testing.assert_allclose(header.get_sform()[:3, :3], np.diag([1, 1, 2]))
    np.testing.assert_allclose(header.get_qform(), sample.affine, atol=1e-5)
    damages.no_pixdim(sample).write(path)
    raw = gzip.decompress(path.read_bytes())
    assert raw[80:92] == bytes(12)
    np.testing.assert_allclose(np.frombuffer(raw[280:328], "<f4").reshape(3, 4), sample.affine[:3], atol=1e-5)
    damages.fourth_axis(sample).write(path)
    assert nib.load(path).shape == (*SHAPE, 1)
    damages.rubbish_behind(sample).write(path)
    assert path.read_bytes().endswith(b"rubbish")
    np.testing.assert_allclose(damages.diagonal_header(sample).affine, np.diag([1, 1, 2, 1]))
