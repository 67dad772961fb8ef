import sys

import numpy as np
import pytest

from evaluation import imported
from evaluation.benchmark.report import Turn
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.shared.protocol import MEGABYTE


def turn(name, number, seconds, megabytes, status=DONE):
    samples = (Sample(0.0, Usage(0.0, megabytes * MEGABYTE, 0, 0)),)
    return Turn(name, number, TimedCase("a_0000.nii.gz", Run(0.0, seconds, 0, samples=samples), status, ""), 0.0, {})


def test_the_table_by_hand():
    done = [turn("nnU-Net", 0, 10, 900), turn("team", 0, 4, 300), turn("nnU-Net", 1, 12, 900), turn("team", 1, 3, 450)]
    masks = {"nnU-Net": np.array([0, 1, 1, 2]), "team": np.array([0, 1, 2, 2])}
    *_, theirs, ours = imported.table(done, masks, ("background", "liver", "cyst", "absent")).splitlines()
    assert theirs == "| nnU-Net | 11.00 (10.00 to 12.00) |  | 900 (900 to 900) |  |  |  |  |  |"
    assert ours == (
        "| team | 3.50 (3.00 to 4.00) | 3.25 (2.50 to 4.00) | 375 (300 to 450) | 0.42 (0.33 to 0.50) | 75.000% "
        "| 0.6667 | 0.6667 | - |"
    )


def test_a_run_that_failed_counts_nowhere():
    done = [turn("nnU-Net", 0, 10, 900), turn("team", 0, 1, 1, "exit status 1"), turn("team", 1, 5, 300)]
    masks = {"nnU-Net": np.zeros(2), "team": np.zeros(2)}
    *_, ours = imported.table(done, masks, ("background", "liver")).splitlines()
    assert ours == "| team | 5.00 (5.00 to 5.00) | - | 300 (300 to 300) | - | 100.000% | - |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--environment", "nowhere"], "nnUNetv2_predict_from_modelfolder: not there; `sh scripts/contenders`"),
        (["--rounds", "0"], "--rounds takes 1 or more, not 0"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, capsys, tmp_path, options, message):
    words = ["imported", str(tmp_path), str(tmp_path / "a_0000.nii.gz"), "--systems", "viscera", *options]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stopped:
        imported.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
