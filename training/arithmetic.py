"""Arithmetic: bfloat16 where a machine computes in it, float32 elsewhere."""

from collections.abc import Mapping
from typing import Any

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether products of matrices in bfloat16 are the faster ones there.

    A CPU without instructions for them takes torch's plain loops, most of them on one core: of a training step of
    80x112x144 voxels on two cores with AVX2 none had ended after three minutes; in float32 it takes 5 s.
    """
    if device.type != "cpu":
        return True
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older torch
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def autocast(device: torch.device) -> torch.autocast:
    """The context that a network is run in."""
    return torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device))
