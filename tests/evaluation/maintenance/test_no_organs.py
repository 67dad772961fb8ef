import nibabel as nib
import numpy as np

from evaluation.maintenance import no_organs
from tests.files import body_phantom, lps_affine, save_nifti


def test_slabs_beyond_the_labels(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "train").mkdir(parents=True)
    out.mkdir()
    voxels = body_phantom((6, 7, 20))
    labels = np.zeros_like(voxels, np.uint8)
    labels[3, 3, 5:12] = 1
    save_nifti(data / "train" / "a_0000.nii.gz", voxels, lps_affine())
    save_nifti(data / "train" / "a.nii.gz", labels, lps_affine())
    no_organs.write_slab(data, "train/a", above=True, folder=out)
    no_organs.write_slab(data, "train/a", above=False, folder=out)
    above, below = (nib.load(out / f"a_{side}_0000.nii.gz") for side in ("above", "below"))
    assert (np.asarray(above.dataobj) == voxels[:, :, 12:]).all()
    assert (np.asarray(below.dataobj) == voxels[:, :, :5]).all()


def test_phantoms(tmp_path):
    no_organs.write_phantoms(tmp_path)
    air, water = (np.asarray(nib.load(tmp_path / f"{name}_0000.nii.gz").dataobj) for name in ("air", "water"))
    assert set(np.unique(air)) == {-1024}
    assert set(np.unique(water)) == {-1024, 0}
