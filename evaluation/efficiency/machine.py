"""Machine: on what something was measured, and whether anything else was running there.

`ONEDNN_MAX_CPU_ISA=AVX2` in the environment holds what oneDNN computes, which is OpenVINO's kernels and torch's
convolutions, to the instructions of an older CPU, in a measured container, too. Others do not know it.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

QUIET_PERCENT = 5.0  # of all CPUs; what other programs use below it counts as nothing
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")  # what engines choose their kernels by

NONE_KNOWN = "none of " + ", ".join(INSTRUCTIONS)
HELD_TO = "ONEDNN_MAX_CPU_ISA"  # environment variable

LIST_VERSIONS = """
import importlib.metadata, sys
installed = {found.name.lower(): found.version for found in importlib.metadata.distributions()}
for name in sys.argv[1:]:
    if name.lower() in installed:
        print(name, installed[name.lower()])
"""


def describe() -> dict[str, str]:
    """Processor, cores, memory, system, for a person."""
    pairs = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    named = {name.strip(): value.strip() for name, _, value in pairs}
    known = set(named.get("flags", "").split())
    held = f"; held to {os.environ[HELD_TO]} ({HELD_TO})" if HELD_TO in os.environ else ""
    return {
        "processor": f"{named.get('model name', platform.processor())}, {os.cpu_count()} CPUs",
        "instructions": (", ".join(name for name in INSTRUCTIONS if name in known) or NONE_KNOWN) + held,
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def versions(packages: Sequence[str], python: Path | None = None) -> dict[str, str]:
    """Of packages in the environment of an interpreter (by default ours); those that are not there are left out."""
    command = [str(python or sys.executable), "-c", LIST_VERSIONS, *packages]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in printed.splitlines())


def busy_percent(seconds: float) -> float:
    """How busy all CPUs are with anything, watched for so long."""
    return psutil.cpu_percent(interval=seconds)
