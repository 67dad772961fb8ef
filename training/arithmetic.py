"""Arithmetic: bfloat16 where a machine computes in it, float32 elsewhere; and on how many threads."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch

HAS_NUMBA = find_spec("numba") is not None  # not beside a pack, where torch is all there is


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16.

    A CPU without them takes torch's plain loops, most of them on one core: of a training step of 80x112x144 voxels on
    two cores with AVX2 none had ended after three minutes; in float32 it takes 7 s.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older torch
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """Convolutions and products in bfloat16 where the device `has_bfloat16`; elsewhere it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))


def use_threads(count: int) -> None:
    """Of torch on a CPU, and of the loops that numba compiles.

    Numba begins with as many as there are cores, and as both use OpenMP its first loop would give torch as many too:
    two runs of one thread each would wait for each other, and a run that goes on would round its first step otherwise.
    """
    if HAS_NUMBA:
        import numba

        import training.networks.convolution_loops  # noqa: F401, says which kind of threads numba begins

        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    torch.set_num_threads(count)
