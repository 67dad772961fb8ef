import nibabel as nib
import numpy as np
import pytest

from evaluation.maintenance import no_organs
from evaluation.maintenance.no_organs import Slab
from tests.files import body_phantom, lps_affine, save_nifti


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    voxels = body_phantom((6, 7, 20))
    labels = np.zeros_like(voxels, np.uint8)
    labels[3, 3, 5:12] = 1
    save_nifti(tmp_path / "data" / "train" / "a_0000.nii.gz", voxels, lps_affine((1, 1, 2)))
    save_nifti(tmp_path / "data" / "train" / "a.nii.gz", labels, lps_affine((1, 1, 2)))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("slab", "first", "stop"),
    [
        (Slab("train/a", "chest", above=True), 12, 20),
        (Slab("train/a", "pelvis", above=False), 0, 5),
        (Slab("train/a", "neck", above=True, start_mm=6), 15, 20),
        (Slab("train/a", "lungs", above=True, start_mm=2, stop_mm=6), 13, 15),
        (Slab("train/a", "sacrum", above=False, stop_mm=4), 3, 5),
        (Slab("train/a", "thighs", above=False, start_mm=4, stop_mm=10), 0, 3),
    ],
)
def test_slabs_beyond_the_labels(data, tmp_path, slab, first, stop):
    no_organs.write_slab(data, slab, tmp_path)
    written = nib.load(tmp_path / f"a_{slab.shows}_0000.nii.gz")
    whole = nib.load(data / "train" / "a_0000.nii.gz")
    assert (np.asarray(written.dataobj) == np.asarray(whole.dataobj)[:, :, first:stop]).all()
    assert written.affine[2, 3] == whole.affine[2, 3] + 2 * first


@pytest.mark.parametrize("reach", [{"stop_mm": 12}, {"start_mm": 10}])
def test_a_slab_beyond_the_scan_is_refused(data, tmp_path, reach):
    with pytest.raises(ValueError, match="train/a: has 10 mm beyond its labels, too few for thighs"):
        no_organs.write_slab(data, Slab("train/a", "thighs", above=False, **reach), tmp_path)


def test_phantoms(tmp_path):
    no_organs.write_phantoms(tmp_path)
    air, water = (np.asarray(nib.load(tmp_path / f"{name}_0000.nii.gz").dataobj) for name in ("air", "water"))
    assert set(np.unique(air)) == {-1024}
    assert set(np.unique(water)) == {-1024, 0}
