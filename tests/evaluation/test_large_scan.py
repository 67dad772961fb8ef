import sys

import nibabel as nib
import numpy as np
import pytest

from evaluation import large_scan
from evaluation.maintenance import long_body
from tests.files import lps_affine, save_nifti


@pytest.fixture
def _no_noise(monkeypatch):
    monkeypatch.setattr(long_body, "NOISE_HU", 0.0)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["large_scan", *map(str, arguments)])
    large_scan.main()


@pytest.mark.usefixtures("_no_noise")
def test_a_scan_becomes_a_long_one_stored_as_scanners_do(monkeypatch, tmp_path, capsys):
    source = np.broadcast_to(np.array([0, 100, 200, 300], np.int16), (2, 3, 4))  # each voxel its height as HU
    scan = save_nifti(tmp_path / "a_0000.nii.gz", source, lps_affine((0.5, 0.7, 100)))
    out = tmp_path / "long_0000.nii.gz"
    command(monkeypatch, scan, 107, out)
    image = nib.load(out)
    assert image.shape == (2, 3, 107)
    assert image.get_data_dtype() == np.int16
    np.testing.assert_allclose(image.affine, np.diag([-0.5, -0.7, 10, 1]), rtol=1e-6)
    assert np.asarray(image.dataobj)[0, 0, :4].tolist() == [30, 20, 10, 0]
    assert capsys.readouterr().out == f"{out}: 2 x 3 x 107, 10 mm between slices\n"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        pytest.param("a_0000.nii.gz", "exists; choose another name", id="the scan itself"),
        pytest.param("b.txt", "must end in .nii or .nii.gz", id="no scan's name"),
        pytest.param("b.nii", "2 mm of body, needs 180 to 890; give another scan", id="too short"),
        pytest.param("no/b.nii", "No such file", id="no folder"),
    ],
)
def test_what_cannot_be_is_one_line(monkeypatch, tmp_path, capsys, out, message):
    tall = 100 if out.startswith("no/") else 1
    scan = save_nifti(tmp_path / "a_0000.nii.gz", np.zeros((2, 2, 3), np.int16), lps_affine((1, 1, tall)))
    before = scan.read_bytes()
    with pytest.raises(SystemExit) as stopped:
        command(monkeypatch, scan, 4, tmp_path / out)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert scan.read_bytes() == before
