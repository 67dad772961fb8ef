import sys

import nibabel as nib
import numpy as np
import pytest

from evaluation import large_scan
from evaluation.large_scan import lengthened
from tests.files import lps_affine, save_nifti


@pytest.fixture
def _no_noise(monkeypatch):
    monkeypatch.setattr(large_scan, "NOISE_HU", 0.0)


def ramp(heights_mm):
    """A slice of 3 x 2 voxels per height, each voxel the height itself as HU."""
    return np.broadcast_to(np.array(heights_mm, np.int16)[:, None, None], (len(heights_mm), 3, 2))


@pytest.mark.usefixtures("_no_noise")
def test_a_body_is_to_and_fro_below_and_mirrored_above():
    """1070 - 180 - 300 = 590 mm lie below the source: seven times to and fro, and 30 mm."""
    body = lengthened(ramp([0, 100, 200, 300]), 100.0, 107)  # a slice each 10 mm
    heights = body[:, 0, 0].tolist()
    assert heights[:9] == [30, 20, 10, 0, 10, 20, 30, 40, 30]
    assert heights[57:62] == [20, 10, 0, 10, 20]
    assert heights[87:92] == [280, 290, 300, 290, 280]
    assert heights[-1] == 130
    assert body.dtype == np.int16
    assert body.shape == (107, 3, 2)


@pytest.mark.usefixtures("_no_noise")
def test_values_beyond_twelve_bits_are_cut():
    source = np.broadcast_to(np.array([-2000, 4000], np.int16)[:, None, None], (2, 1, 1))
    assert lengthened(source, 300.0, 107)[[59, 89], 0, 0].tolist() == [-1024, 3071]  # the two slices themselves


def test_the_noise_is_always_the_same_and_of_eight_hu():
    flat = np.zeros((3, 100, 100), np.int16)
    first, second = (lengthened(flat, 100.0, 20) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.std() == pytest.approx(8, rel=0.02)


@pytest.mark.parametrize(("slices", "spacing"), [(2, 179.0), (2, 891.0), (1, 300.0)])
def test_too_little_or_too_much_of_a_body(slices, spacing):
    with pytest.raises(ValueError, match="needs 180 to 890"):
        lengthened(np.zeros((slices, 2, 2), np.int16), spacing, 10)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["large_scan", *map(str, arguments)])
    large_scan.main()


@pytest.mark.usefixtures("_no_noise")
def test_a_scan_becomes_a_long_one_stored_as_scanners_do(monkeypatch, tmp_path, capsys):
    source = ramp([0, 100, 200, 300]).transpose(2, 1, 0)
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
