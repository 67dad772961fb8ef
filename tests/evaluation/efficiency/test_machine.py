import subprocess
import sys

import numpy as np

from evaluation.efficiency.machine import busy_percent, describe, versions


def test_facts_of_the_machine():
    facts = describe()
    assert facts["processor"].endswith("CPUs")
    assert facts["memory"].endswith("GB")


def test_what_it_is_held_to_is_said(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    free = describe()["instructions"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert describe()["instructions"] == f"{free}; held to AVX2 (ONEDNN_MAX_CPU_ISA)"


def test_versions_of_what_is_installed():
    assert versions(["NumPy", "no-such-package"]) == {"NumPy": np.__version__}


def test_a_busy_loop_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as loop:
        try:
            assert busy_percent(0.5) > 5
        finally:
            loop.kill()
