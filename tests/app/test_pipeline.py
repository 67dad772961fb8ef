import nibabel as nib
import numpy as np
import pytest

from app.errors import CaseError
from app.pipeline import Outcome, organ_volumes, run_case
from app.system import load_system
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import known_models, nothing

SYSTEM = load_system("viscera")
SPACING = (3.0, 2.0, 4.0)  # x, y, z mm


def run(tmp_path, voxels, models=None, affine=None):
    source = save_nifti(tmp_path / "a_0000.nii.gz", voxels, affine if affine is not None else lps_affine(SPACING))
    outcome = Outcome()
    run_case(source, tmp_path / "a.nii.gz", SYSTEM, lambda: models or known_models(), outcome, threads=2)
    return np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj), outcome


def test_the_mask_is_where_the_tissue_is(tmp_path):
    voxels = body_phantom((60, 80, 40))
    mask, outcome = run(tmp_path, voxels)
    body = voxels > 0
    overlap = 2 * (body & (mask == 1)).sum() / (body.sum() + (mask == 1).sum())
    assert overlap > 0.97  # all but the interpolated surface
    assert set(np.unique(mask)) == {0, 1}
    assert outcome.warnings == []
    assert outcome.volume_ml["liver"] == pytest.approx((mask == 1).sum() * 0.024)
    assert outcome.volume_ml["spleen"] == 0
    assert list(outcome.seconds) == [
        "read", "load", "locate", "crop", "resample", "normalise", "segment", "clean", "restore", "write",
    ]  # fmt: skip


def test_every_orientation_gives_the_same_mask(tmp_path):
    voxels = body_phantom((60, 80, 40))
    voxels[:20, :30, :10] = 900  # bone in one corner, so that a flip shows
    plain, _ = run(tmp_path, voxels)
    affine = lps_affine(SPACING)
    turned = affine[:, [2, 0, 1, 3]] * [-1, 1, -1, 1]
    mask, _ = run(tmp_path, voxels.transpose(2, 0, 1)[::-1, :, ::-1], affine=turned)
    assert (plain == 3).any()
    assert (mask[::-1, :, ::-1].transpose(1, 2, 0) == plain).all()


def test_nothing_located_means_the_whole_volume(tmp_path):
    mask, outcome = run(tmp_path, body_phantom(), known_models(localiser=nothing))
    assert outcome.box is None
    assert (mask == 1).any()
    assert outcome.warnings == ["phase one found no organ; the whole volume is processed"]


def test_what_phase_one_saw_nothing_of_must_be_large(tmp_path):
    voxels = np.full((60, 80, 40), -1000, np.int16)
    voxels[20:30, 30:40, 10:20] = 50  # 1000 voxels of 24 mm3, 24 ml
    mask, outcome = run(tmp_path, voxels, known_models(localiser=nothing))
    assert not mask.any()
    assert outcome.warnings[-1] == "no organ found; the mask is empty"
    located, _ = run(tmp_path, voxels)
    assert (located == 1).any()


def test_an_empty_result_is_an_empty_mask(tmp_path):
    mask, outcome = run(tmp_path, body_phantom(), known_models(fine=nothing))
    assert mask.dtype == np.uint8
    assert not mask.any()
    assert outcome.warnings == ["no organ found; the mask is empty"]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (300, 1, 2), (33, 34, 35)])
def test_any_shape(tmp_path, shape):
    mask, outcome = run(tmp_path, np.full(shape, 50, np.int16) - np.arange(shape[0], dtype=np.int16)[:, None, None])
    assert mask.shape == shape
    assert outcome.seconds["write"] > 0


def test_what_was_found_before_a_failure_is_kept(tmp_path):
    def broken(_):
        raise RuntimeError("out of memory")

    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), lps_affine(SPACING))
    outcome = Outcome()
    with pytest.raises(RuntimeError):
        run_case(source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(fine=broken), outcome, threads=1)
    assert outcome.scan is not None
    assert outcome.box is not None
    assert "segment" in outcome.seconds
    assert not (tmp_path / "m.nii.gz").exists()


def test_organ_volumes():
    mask = np.array([[[0, 1, 1]], [[13, 13, 13]]], np.uint8)
    volumes = organ_volumes(mask, 0.5)
    assert volumes["liver"] == 1.0
    assert volumes["left_kidney"] == 1.5
    assert sum(volumes.values()) == 2.5


def test_a_wide_slice_is_refused_for_the_window_that_it_is_filled_up_to(tmp_path):
    """1 x 3500 x 3500 voxels of 3 mm are 0.7 GB with their scores; 16 slices, the window's least, 11.7."""
    source = save_nifti(tmp_path / "a.nii.gz", np.full((70, 70, 1), 50, np.int16), lps_affine((150.0, 150.0, 4.0)))
    with pytest.raises(CaseError, match=r"4 x 10500 x 10500 mm .* need 15\.\d GB, more than the 8 GB"):
        run_case(
            source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(localiser=nothing), Outcome(),
            threads=1, memory_limit=8 << 30,
        )  # fmt: skip


def test_a_field_of_view_beyond_the_memory_limit_is_refused(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", body_phantom(), lps_affine((900.0, 900.0, 900.0)))
    with pytest.raises(CaseError, match=r"27000 x 45000 x 54000 mm .* more than the 8 GB"):
        run_case(
            source, tmp_path / "m.nii.gz", SYSTEM, lambda: known_models(localiser=nothing), Outcome(),
            threads=1, memory_limit=8 << 30,
        )  # fmt: skip
