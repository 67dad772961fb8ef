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
