import os
from pathlib import Path

import numpy as np
import pytest

from app.errors import SetupError
from evaluation.efficiency.measure import Run
from evaluation.efficiency.series import time_all
from evaluation.efficiency.timing import judged
from evaluation.shared.masks import open_mask
from tests.files import save_nifti


def done(scan, place):
    save_nifti(place.outputs / f"{scan.name[0]}.nii.gz", np.zeros((2, 2, 2), np.uint8))
    place.log.write_text("fine")
    return judged(scan, Run(0.0, 1.0, 0), place, "somewhere", out_of_memory=False)


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    def timer(scan, place):
        if scan.name == "b.nii.gz":
            raise KeyboardInterrupt
        return done(scan, place)

    time_all([Path("a.nii.gz"), Path("c.nii")], done, tmp_path, "")
    (tmp_path / "summary.txt").write_text("2 of 2 cases done\n")
    assert len(list((tmp_path / "masks").iterdir())) == 2
    with pytest.raises(KeyboardInterrupt):
        time_all([Path("a.nii.gz"), Path("b.nii.gz")], timer, tmp_path, "")
    (mask,) = (tmp_path / "masks").iterdir()
    assert open_mask(mask).case == "a"
    assert "a.nii.gz,1.00" in (tmp_path / "efficiency.csv").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"masks", "curves", "samples", "logs", "efficiency.csv"}


@pytest.mark.parametrize(
    "name",
    ["masks/b.nii.gz", "masks/b", "curves/notes.png", "logs/a.md", "samples/.hidden"],
)
def test_a_file_that_no_earlier_run_left_stops_it_before_anything_is_removed(tmp_path, name):
    time_all([Path("a.nii.gz")], done, tmp_path, "")
    (tmp_path / name).write_text("of somebody else")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SetupError, match=rf"{name}: exists and is not of an earlier run"):
        time_all([Path("a.nii.gz")], done, tmp_path, "")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_mask_that_was_corrected_since_is_kept(tmp_path):
    time_all([Path("a.nii.gz")], done, tmp_path, "")
    mask, table = tmp_path / "masks" / "a.nii.gz", tmp_path / "efficiency.csv"
    save_nifti(mask, np.ones((2, 2, 2), np.uint8))
    os.utime(mask, (table.stat().st_mtime + 1,) * 2)
    corrected = mask.read_bytes()
    with pytest.raises(SetupError, match=r"a\.nii\.gz: was changed since the earlier run"):
        time_all([Path("a.nii.gz")], done, tmp_path, "")
    assert mask.read_bytes() == corrected


def test_a_mask_of_an_earlier_run_that_is_to_be_timed_is_kept(tmp_path):
    time_all([Path("a.nii.gz")], done, tmp_path / "out", "")
    (tmp_path / "link").symlink_to("out/masks")
    with pytest.raises(SetupError, match=r"a\.nii\.gz: is to be timed, and of an earlier run"):
        time_all([tmp_path / "link" / "a.nii.gz"], done, tmp_path / "out", "")
    assert (tmp_path / "out" / "masks" / "a.nii.gz").exists()
