import numpy as np
import pytest

from app.errors import CaseError
from evaluation.maintenance.bodies import load_case, padded, slabs, stitched
from tests.evaluation.maintenance.example_case import case
from tests.files import lps_affine, save_nifti


def test_a_case_is_a_scan_with_its_labels_whatever_they_are_kept_as(tmp_path):
    save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((2, 3, 4), np.int16), lps_affine())
    save_nifti(tmp_path / "a.nii.gz", np.full((2, 3, 4), 2.9999, np.float32), lps_affine())
    assert load_case(tmp_path / "a_0000.nii.gz").labels.tolist() == np.full((4, 3, 2), 3).tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        pytest.param(np.full((2, 3, 4), 14, np.uint8), "a: unknown labels 14", id="label"),
        pytest.param(np.full((2, 3, 5), 1, np.uint8), r"a: the mask's shape \(5, 3, 2\)", id="shape"),
    ],
)
def test_a_mask_that_is_not_the_scans_is_refused(tmp_path, labels, message):
    save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((2, 3, 4), np.int16), lps_affine())
    save_nifti(tmp_path / "a.nii.gz", labels, lps_affine())
    with pytest.raises(CaseError, match=message):
        load_case(tmp_path / "a_0000.nii.gz")


def test_slabs_go_from_end_to_end():
    cuts = slabs(case(), 100.0, 40.0)  # 32 slices of 10 mm: 10 slices each, from 0, 4, ... and the last possible
    assert [cut.name for cut in cuts] == [f"a[{start}:{start + 10}]" for start in (0, 4, 8, 12, 16, 20, 22)]
    assert all(cut.grid.shape == (10, 16, 16) for cut in cuts)
    assert cuts[2].labels.all(axis=0)[4:12, 4:12].all()
    assert len(slabs(case(), 1000.0, 40.0)) == 1  # a scan that is lower than a slab


def test_padding_keeps_the_scan_in_the_middle_of_air():
    body = padded(case(), 1200.0)
    assert body.grid.shape == (120, 16, 16)
    assert (body.voxels[:44] == -1024).all()
    assert (body.voxels[44:76] == case().voxels).all()
    assert body.labels.sum() == case().labels.sum()
    assert padded(case(), 100.0).grid.shape == (32, 16, 16)


def test_stitching_end_to_end_with_the_narrower_amid_air():
    narrow = case("b", (32, 8, 16), (slice(8, 24), slice(2, 6), slice(4, 12)))
    body = stitched([case(), narrow], 700.0)
    assert body.grid.shape == (70, 16, 16)  # 32 + 32 + 6 slices of the first again
    assert (body.labels[:32] == case().labels).all()
    assert (body.labels[32:64, 4:12] == narrow.labels).all()
    assert (body.voxels[32:64, :4] == -1024).all()
    other = stitched([case(), case(spacing=(5.0, 5.0, 5.0)), narrow], 640.0)  # the second has another spacing
    assert (other.labels[32:64, 4:12] == narrow.labels).all()
