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


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("p.nii.gz", 1, "p.nii.gz: must end in .png", id="no picture"),
        pytest.param("nowhere/p.png", 1, "nowhere/p.png: cannot be written: No such file", id="no folder"),
        pytest.param("p.png", 14, "mask.nii.gz: has other values than 0 to 13", id="a lesion"),
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
