import sys

import numpy as np
import pytest
from PIL import Image

from evaluation import overlay as command
from evaluation.pictures.planes import COLOURS
from tests.files import lps_affine, save_nifti


def test_another_mask_can_decide_on_the_slices(tmp_path, monkeypatch, capsys):
    """The second slice holds more of the mask, the first is asked for."""
    scan = np.full((20, 20, 4), -1000, np.int16)  # (x, y, z)
    mask, other = np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8)
    mask[..., 0], mask[:10, :, 1], mask[10:, :, 1] = 1, 2, 3
    other[..., 0] = 1
    paths = [str(tmp_path / f"{name}.nii.gz") for name in ("scan", "mask", "other", "larger")]
    for path, values in zip(paths, (scan, mask, other, np.zeros((20, 20, 5), np.uint8)), strict=True):
        save_nifti(path, values, lps_affine((1.0, 1.0, 1.0)))
    picture = tmp_path / "p.png"
    monkeypatch.setattr(sys, "argv", ["overlay", *paths[:2], str(picture), "--slices-of", paths[2]])
    command.main()
    with Image.open(picture) as image:
        np.testing.assert_allclose(np.asarray(image)[40, 40], COLOURS[1] / 2, atol=2)
    monkeypatch.setattr(sys, "argv", ["overlay", *paths[:2], str(picture), "--slices-of", paths[3]])
    with pytest.raises(SystemExit):
        command.main()
    assert "larger.nii.gz: shape (5, 20, 20), the scan's is (4, 20, 20)" in capsys.readouterr().err


def test_the_folder_of_a_picture_is_made(tmp_path, monkeypatch):
    save_nifti(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4), np.int16), lps_affine((1.0, 1.0, 1.0)))
    save_nifti(tmp_path / "mask.nii.gz", np.ones((4, 4, 4), np.uint8), lps_affine((1.0, 1.0, 1.0)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["overlay", "scan.nii.gz", "mask.nii.gz", "new/folder/p.png"])
    command.main()
    with Image.open("new/folder/p.png") as image:
        assert image.height == 480


def test_a_label_that_scaling_has_left_a_little_off_is_drawn_as_itself(tmp_path, monkeypatch):
    """Stored 29999 / 10000: the spleen, not what is left of 2.9999 without its fraction."""
    save_nifti(tmp_path / "scan.nii.gz", np.full((20, 20, 4), -1000, np.int16), lps_affine((1.0, 1.0, 1.0)))
    stored = np.full((20, 20, 4), 29999, np.int16)
    save_nifti(tmp_path / "mask.nii.gz", stored, lps_affine((1.0, 1.0, 1.0)), scaling=(1e-4, 0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["overlay", "scan.nii.gz", "mask.nii.gz", "p.png"])
    command.main()
    with Image.open("p.png") as image:
        np.testing.assert_allclose(np.asarray(image)[40, 40], COLOURS[3] / 2, atol=2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("p.nii.gz", 1, "p.nii.gz: must end in .png", id="no picture"),
        pytest.param("scan.nii.gz/p.png", 1, "File exists: 'scan.nii.gz'", id="a file in the folder's place"),
        pytest.param("p.png", 14, "mask.nii.gz: unknown labels 14; known are 0 to 13, the labels drawn", id="a lesion"),
    ],
)
def test_what_cannot_be_drawn_is_a_line(tmp_path, monkeypatch, capsys, name, value, message):
    save_nifti(tmp_path / "scan.nii.gz", np.zeros((4, 4, 4), np.int16), lps_affine((1.0, 1.0, 1.0)))
    save_nifti(tmp_path / "mask.nii.gz", np.full((4, 4, 4), value, np.uint8), lps_affine((1.0, 1.0, 1.0)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["overlay", "scan.nii.gz", "mask.nii.gz", name])
    with pytest.raises(SystemExit) as caught:
        command.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (caught.value.code, message in line) == (2, True)
    assert not (tmp_path / name).exists()
