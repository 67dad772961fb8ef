"""Listing: the systems that are there, for a person and for a program."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from app.run.report import finite
from app.system.catalogue import Entry, Measured, Proof

WIDTH = 115
HARD_SPACE = "\N{NO-BREAK SPACE}"
NOT_MEASURED = "not measured"


def as_text(entries: Sequence[Entry], default: str) -> str:
    """Two lines a system."""
    lines: list[str] = []
    for entry in entries:
        title = "" if entry.title is None else f": {entry.title}"
        lines += (f"{entry.name}{' (default)' if entry.name == default else ''}{title}", f"    {_facts(entry)}")
    return "\n".join(lines)


def _facts(entry: Entry) -> str:
    if entry.error is not None or entry.size_mb is None:
        return f"cannot be run: {entry.error}"
    facts = f"{', '.join(entry.bundles)}: {entry.size_mb:.1f} MB; {_figures(entry.measured)}"
    return facts if entry.proof is None else f"{facts}; {_proof(entry.proof)}"


def _proof(proof: Proof) -> str:
    text = f"raw scores within {proof.largest_difference:.0e} of {proof.against}"
    if proof.same_label is None:
        return text
    return f"{text}, {proof.same_label:.3%} of a scan's voxels as {proof.same_label_as}"


def _figures(measured: Measured | None) -> str:
    if measured is None:
        return NOT_MEASURED
    figures = [
        _figure("DSC", measured.mean_dice, "DSC {:.3f}"),
        _figure("NSD", measured.mean_nsd, "NSD {:.3f}"),
        _figure("seconds", measured.seconds, "{:.1f} s"),
        _figure("peak memory", measured.peak_memory_mb, "peak memory {:.0f} MB"),
    ]
    failed = f", {len(measured.failed)} of them failed" if measured.failed else ""
    scans = f"{len(measured.cases)} scan{'' if len(measured.cases) == 1 else 's'}"
    return f"{', '.join(figures)} ({scans}{failed}; {measured.cpu or 'CPU unknown'})"


def _figure(name: str, value: float | None, text: str) -> str:
    return f"{name} {NOT_MEASURED}" if value is None else text.format(value)


def as_json(entries: Sequence[Entry], default: str) -> str:
    """One list; every key in every entry, null where unknown."""
    return json.dumps([finite(asdict(entry) | {"default": entry.name == default}) for entry in entries], indent=1)


def label_text(labels: Sequence[str]) -> str:
    """Names with their ids, in lines that break between labels alone.

    >>> label_text(["background", "inferior_vena_cava"])
    '0 background, 1 inferior vena cava'
    """
    words = [f"{number} {name}".replace("_", " ").replace(" ", HARD_SPACE) for number, name in enumerate(labels)]
    return textwrap.fill(", ".join(words), WIDTH, break_long_words=False).replace(HARD_SPACE, " ")
