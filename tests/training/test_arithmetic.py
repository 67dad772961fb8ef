import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.arithmetic import autocast, has_bfloat16  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        pytest.param({}, torch.float32, id="unknown"),
        pytest.param({"avx2": True, "avx512_bf16": False}, torch.float32, id="avx2"),
        pytest.param({"avx512_f": True, "avx512_vnni": True}, torch.float32, id="avx512 without bfloat16"),
        pytest.param({"avx512_bf16": True}, torch.bfloat16, id="avx512 with bfloat16"),
        pytest.param({"amx_bf16": True}, torch.bfloat16, id="amx"),
    ],
)
def test_a_cpu_multiplies_in_bfloat16_only_if_it_has_instructions_for_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_an_older_torch_that_cannot_tell_stays_in_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not has_bfloat16(CPU)


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_more_than_emulation(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or native)
    assert has_bfloat16(torch.device("cuda")) == native


def test_compiled_loops_have_the_threads_of_torch_and_do_not_change_them():
    """In a process of its own: numba's first loop is what matters."""
    pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")
    code = """
import numba, torch
from training.arithmetic import use_threads
use_threads(1)
from training.networks.convolution_loops import weight_gradient
weight_gradient(torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 4, 2, 2, 2), (3, 3, 3))
print(torch.get_num_threads(), numba.get_num_threads())
"""
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1", "1"]
