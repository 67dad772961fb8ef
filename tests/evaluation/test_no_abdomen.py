import sys

import numpy as np
import pytest

from evaluation import no_abdomen
from evaluation.no_abdomen import judge, largest_region_ml
from tests.files import lps_affine, save_nifti
from tests.shared import SHARED, needs_cases


def test_the_largest_region_is_of_all_organs_together(tmp_path):
    voxels = np.zeros((6, 5, 4), np.uint8)
    voxels[0, 0, 0], voxels[1, 0, 0] = 1, 2  # side by side
    voxels[2, 1, 0] = 1  # by an edge alone
    assert largest_region_ml(save_nifti(tmp_path / "a.nii.gz", voxels, lps_affine((10, 5, 4)))) == pytest.approx(0.4)
    assert largest_region_ml(save_nifti(tmp_path / "b.nii.gz", voxels * 0, lps_affine((10, 5, 4)))) == 0


@pytest.mark.parametrize(
    ("changes", "may_have_box", "judged"),
    [
        ({}, False, "ok"),
        ({"volume_ml": {"liver": 3.0, "spleen": 2.0}}, False, "ok"),
        ({"volume_ml": {"liver": 3.0, "spleen": 2.1}}, False, "FAILS"),
        ({"volume_ml": {"liver": 3.0, "spleen": 2.1}, "verdict": "unusable"}, False, "flagged"),
        ({"box": [[0, 1]] * 3}, False, "FAILS"),
        ({"box": [[0, 1]] * 3}, True, "ok"),
        ({"status": "failed", "volume_ml": None}, True, "FAILS"),
    ],
)
def test_a_line_in_a_word(changes, may_have_box, judged):
    line = {"status": "done", "box": None, "volume_ml": {"liver": 0.0}, "verdict": "check"} | changes
    assert judge(line, may_have_box=may_have_box) == judged


@needs_cases
@pytest.mark.slow
def test_nothing_is_found_where_no_abdomen_is(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["no_abdomen", str(SHARED / "data")])
    with pytest.raises(SystemExit) as stopped:
        no_abdomen.main()
    printed = capsys.readouterr().out
    assert stopped.value.code == 0, printed
    assert sum(line.startswith("ok") for line in printed.splitlines()) >= 23
    assert "FAILS" not in printed
