import nibabel as nib
import numpy as np
import pytest

from evaluation.benchmark.boxes import box_scan
from tests.shared import CASES, needs_cases


@pytest.mark.slow
@needs_cases
def test_the_box_is_that_of_phase_one(tmp_path):
    scan = CASES / "hcc_006_0000.nii.gz"
    case = box_scan(scan, tmp_path / "box")
    image, boxed = nib.load(scan), nib.load(case.boxed)
    assert boxed.shape == tuple(stop - start for start, stop in case.box)
    assert boxed.shape < image.shape
    inside = np.asarray(image.dataobj)[tuple(slice(*sides) for sides in case.box)]
    np.testing.assert_array_equal(np.asarray(boxed.dataobj), inside)
    # a voxel lies at the same place of the body in both
    start = [side[0] for side in case.box]
    np.testing.assert_allclose(boxed.affine[:3, 3], (image.affine @ [*start, 1])[:3], atol=1e-3)
