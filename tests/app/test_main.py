import subprocess
import sys

import nibabel as nib
import pytest

from tests.files import body_phantom, lps_affine, save_nifti

PROGRAM = """
import os, sys
from app import __main__
from app.run import command_line
from tests.models import known_models

def load_models(*_, **__):
    os.write(1, b"a library has something to say\\n")
    return known_models()

command_line.load_models = load_models
sys.exit(__main__.main())
"""


@pytest.mark.parametrize(
    ("closed", "out", "err"),
    [
        pytest.param("", "good: 1 of 13 organs", "bad: failed: ", id="nothing"),
        pytest.param(">&-", "", "bad: failed: ", id="stdout"),
        pytest.param("2>&-", "good: 1 of 13 organs", "", id="stderr"),
        pytest.param(">&- 2>&-", "", "", id="both"),
        pytest.param("<&- >&- 2>&-", "", "", id="all three"),
    ],
)
def test_closed_streams_cost_no_mask(tmp_path, closed, out, err):
    save_nifti(tmp_path / "good_0000.nii.gz", body_phantom((40, 60, 30)), lps_affine((6, 4, 4)))
    (tmp_path / "bad.nii.gz").write_text("no scan")
    report = tmp_path / "out" / "report.jsonl"
    words = f"--inputs {tmp_path} --outputs {tmp_path}/out --report {report}"
    result = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -c "$0" {words} {closed}', PROGRAM],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert (out in result.stdout, err in result.stderr, "Traceback" in result.stderr) == (True, True, False)
    assert bool(result.stdout) == bool(out)
    assert bool(result.stderr) == bool(err)
    assert nib.load(tmp_path / "out" / "good.nii.gz").get_fdata().any()
    lines = report.read_text().splitlines()
    assert [line[:12] for line in lines] == ['{"case": "ba', '{"case": "go']  # and nothing of the library


@pytest.mark.parametrize(("words", "status"), [("--version", 0), ("--list-systems", 0), ("--nonsense", 2)])
def test_what_is_said_to_nobody_is_no_error(words, status):
    line = f'"{sys.executable}" -m app {words} >&- 2>&-'
    assert subprocess.run(["sh", "-c", line], check=False).returncode == status
