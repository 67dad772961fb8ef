import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.grid import Grid, grid_at_spacing  # noqa: E402
from app.resample import resample  # noqa: E402
from tests.files import body_phantom, lps_affine, save_nifti  # noqa: E402
from training.dataset import drawing_weights, load_volumes, patients_by_name  # noqa: E402


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    voxels = body_phantom((20, 24, 12))
    labels = np.where(voxels > 0, 3, 0).astype(np.uint8)
    for name in ("a1", "a2", "b"):
        save_nifti(folder / f"{name}_0000.nii.gz", voxels, lps_affine((2, 2, 4)))
        save_nifti(folder / f"{name}.nii.gz", labels, lps_affine((2, 2, 4)))
    (tmp_path / "volumes.tsv").write_text("name\tpatient\na1\tA\na2\tA\nb\tB\n")
    return folder


def test_volumes_are_apps_own_preprocessing(data):
    volume = load_volumes(data, (4.0, 3.0, 3.0), (), 0)[0]
    voxels = body_phantom((20, 24, 12)).T
    grid = Grid((12, 24, 20), (4.0, 2.0, 2.0))
    np.testing.assert_array_equal(volume.image.numpy(), resample(voxels, grid, grid_at_spacing(grid, (4.0, 3.0, 3.0))))
    assert volume.labels.dtype == torch.uint8
    assert (volume.labels.numpy() == 3 * (voxels > 0)).all()
    assert volume.extent == pytest.approx((48, 48, 40))


def test_organ_points_lie_in_their_organ(data):
    volume = load_volumes(data, (4.0, 3.0, 3.0), (), 0)[0]
    spleen = volume.organ_points[2]
    assert len(volume.organ_points[0]) == 0
    index = ((spleen.numpy() + 1) / 2 * volume.labels.shape).astype(int)
    assert (volume.labels.numpy()[tuple(index.T)] == 3).all()


def test_patients_are_held_out_whole(data):
    assert [volume.name for volume in load_volumes(data, (4.0, 4.0, 4.0), ("A",), 0)] == ["b"]


def test_a_patient_with_two_phases_counts_less_than_two(data):
    weights = drawing_weights(load_volumes(data, (4.0, 4.0, 4.0), (), 0))
    assert weights == pytest.approx(np.array([2**-0.5, 2**-0.5, 1]) / (2**0.5 + 1))


def test_scan_and_label_of_different_grids_are_refused(data):
    save_nifti(data / "b.nii.gz", np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"b_0000.*one grid"):
        load_volumes(data, (4.0, 4.0, 4.0), (), 0)


def test_without_a_table_every_volume_is_a_patient(tmp_path):
    assert patients_by_name(tmp_path / "none.tsv") == {}
