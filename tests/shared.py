"""Where real scans are, beside the project; tests that need them are skipped, with the reason, where they are not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
CASES = SHARED / "cases"

MUST_RUN = "VISCERA_SKIP_NOTHING" in os.environ  # set where scans and engine are known to be at hand

needs_cases = pytest.mark.skipif(not MUST_RUN and not CASES.is_dir(), reason=f"no real scans: {CASES} is not there")


def skip(reason):
    """Skips a test for what this machine lacks, or fails it where nothing may be lacking."""
    (pytest.fail if MUST_RUN else pytest.skip)(reason)


def no_engine():
    """Why there is no Docker engine, or None."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    answer = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    return f"no Docker engine answers: {answer.stderr.strip()[:200]}" if answer.returncode else None


# Millilitres of an adult's organs, wide: to see a wrong unit, a flip or a missing organ, not to judge a patient.
PLAUSIBLE_ML = {
    "liver": (700, 3500),
    "right_kidney": (50, 450),
    "spleen": (50, 1000),
    "pancreas": (15, 200),
    "aorta": (20, 300),
    "stomach": (30, 1200),
    "left_kidney": (50, 450),
}


def check_volumes(volume_ml):
    """Every large organ within its range."""
    odd = {name: volume_ml[name] for name, (low, high) in PLAUSIBLE_ML.items() if not low <= volume_ml[name] <= high}
    assert not odd
