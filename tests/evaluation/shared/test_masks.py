import gzip

import numpy as np
import pytest

from app.errors import VisceraError
from evaluation.shared.masks import affine_difference, mask_paths, open_mask, read_labels
from tests.files import lps_affine, save_nifti


def test_scans_and_hidden_files_are_no_masks(tmp_path):
    for name in ("b.nii.gz", "a.nii.gz", "a_0000.nii.gz", "._a.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in mask_paths(tmp_path)] == ["a.nii.gz", "b.nii.gz"]
    assert mask_paths(tmp_path / "nowhere") == []
    with pytest.raises(VisceraError, match=r"no masks NAME\.nii\.gz"):
        mask_paths(tmp_path / "nowhere", some=True)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_labels_of_any_type_are_uint8(tmp_path, kind):
    voxels = np.array([0, 3, 13, 14], kind).reshape(2, 2, 1)
    file = open_mask(save_nifti(tmp_path / "a.nii.gz", voxels))
    assert (file.case, file.shape) == ("a", (2, 2, 1))
    assert file.spacing == pytest.approx((0.8, 0.9, 2.5))
    assert file.voxel_ml == pytest.approx(0.0018)
    np.testing.assert_array_equal(read_labels(file), voxels.astype(np.uint8), strict=True)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        pytest.param(np.array([0, 0.5], np.float32), "not whole numbers", id="probabilities"),
        pytest.param(np.array([0, np.nan], np.float32), "so no labels: nan", id="NaN"),
        pytest.param(np.array([0, -1], np.int16), "unknown labels -1; known are 0 to 255", id="negative"),
        pytest.param(np.array([0, 300], np.int16), "unknown labels 300", id="too many"),
    ],
)
def test_what_is_no_label_is_said(tmp_path, voxels, message):
    with pytest.raises(VisceraError, match=rf"a\.nii\.gz: .*{message}"):
        read_labels(open_mask(save_nifti(tmp_path / "a.nii.gz", voxels.reshape(2, 1, 1))))


def test_scaled_integers_are_the_labels_that_they_stand_for(tmp_path):
    stored = np.array([0, 2521, 7562, 32767], np.int16).reshape(2, 2, 1)  # 1.0002 and 3.0002
    file = open_mask(save_nifti(tmp_path / "a.nii.gz", stored, scaling=(13 / 32767, 0)))
    np.testing.assert_array_equal(read_labels(file).ravel(), [0, 1, 3, 13])


def test_damaged_files_are_named(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 14, (20, 20, 20)).astype(np.uint8))
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for rubbish in (b"", b"text", whole[:50], whole[:middle], whole[:-4], flipped, gzip.compress(b"text")):
        path.write_bytes(rubbish)
        with pytest.raises(VisceraError, match=r"a\.nii\.gz: cannot be read"):
            open_mask(path)


def test_a_header_that_says_nonsense_is_named(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2), np.uint8), datatype=9999)
    with pytest.raises(VisceraError, match=r"a\.nii\.gz: cannot be read as NIfTI"):
        open_mask(path)


def test_a_mask_has_three_axes(tmp_path):
    with pytest.raises(VisceraError, match=r"shape \(2, 2, 2, 3\), a mask has 3 axes"):
        open_mask(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 2, 3), np.uint8)))


def test_how_far_apart_two_affines_put_the_corners(tmp_path):
    voxels = np.zeros((11, 3, 3), np.uint8)
    here = open_mask(save_nifti(tmp_path / "a.nii.gz", voxels))
    assert affine_difference(here, here) == 0
    moved = open_mask(save_nifti(tmp_path / "b.nii.gz", voxels, lps_affine(origin=(100, 123, -304))))
    assert affine_difference(here, moved) == pytest.approx(5)  # 3 mm and 4 mm at right angles
    finer = open_mask(save_nifti(tmp_path / "c.nii.gz", voxels, lps_affine((0.7, 0.9, 2.5))))
    assert affine_difference(here, finer) == pytest.approx(1, abs=1e-5)  # 10 steps of 0.1 mm
