"""Catalogue: the systems that are there: what each reads, and what has been measured of it.

No engine is loaded and nothing is run: figures come from `systems/measured.json`, which `python -m evaluation.systems`
writes.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.schema import parse
from app.system import definition
from app.system.definition import System, load_system, mask_labels, read_system, system_names

FILE_NAME = "measured.json"
COMPARED = "openvino-float32"  # the engine whose scores a proof is of
MEGABYTE = 1e6  # of files


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one system, on scans with masks, each a process of its own. What is None was not measured.

    mean_dice, mean_nsd: over the cases, of each one's mean over the organs present; a case that failed counts 0.
    seconds: median of the cases that did not fail. peak_memory_mb: the largest of theirs, MB of 2**20 bytes.
    size_mb: as an entry's. cpu: what it ran on. other_load: percent of all CPUs that other programs used, at the most.
    weights: `weights_of` the system then.
    """

    mean_dice: float | None = None
    mean_nsd: float | None = None
    seconds: float | None = None
    peak_memory_mb: float | None = None
    size_mb: float | None = None
    cases: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    cpu: str = ""
    other_load: float | None = None
    weights: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """How far an imported model is what it was imported from, as its bundles say (`training.import_nnunet`).

    largest_difference: of raw scores, over all bundles, from those of `against`. same_label: share of a scan's voxels
    that have the label which the original program gives them, and which program that was.
    """

    largest_difference: float
    against: str
    same_label: float | None = None
    same_label_as: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A system. error: why it cannot be loaded, which leaves unknown what its file or its bundles would say.

    size_mb: of the engine files that it names, MB of 10**6 bytes. labels: of its masks, by id.
    """

    name: str
    title: str | None = None
    bundles: tuple[str, ...] = ()
    size_mb: float | None = None
    labels: tuple[str, ...] = ()
    measured: Measured | None = None
    proof: Proof | None = None
    error: str | None = None


def entries(names: Iterable[str] | None = None) -> list[Entry]:
    """Of these systems, or of all that have a name, in the order of the names. SetupError only for figures that cannot
    be read."""
    measured = read_measured()
    return [_entry(name, measured.get(name)) for name in (system_names() if names is None else names)]


def _entry(name: str, measured: Measured | None) -> Entry:
    try:
        system = read_system(name)
    except SetupError as error:
        return Entry(name, error=str(error))
    bundles = bundles_of(system)
    try:
        load_system(name)
        labels, size, weights = mask_labels(system), size_mb(system), weights_of(system)
        proof = proof_of(system)
    except SetupError as error:
        return Entry(name, system.title, bundles, error=str(error))
    current = measured if measured is not None and measured.weights in ("", weights) else None
    return Entry(name, system.title, bundles, size, labels, current, proof)


def bundles_of(system: System) -> tuple[str, ...]:
    """Each once, in the order in which they are needed."""
    return tuple(dict.fromkeys(name for stage in system.stage.values() for name in stage.bundles))


def size_mb(system: System) -> float:
    """Of the files that its engines read, each counted once. SetupError names one that is not there."""
    total = 0
    for path in _engine_files(system):
        try:
            total += path.stat().st_size
        except OSError as error:
            raise SetupError(f"{path}: named in bundle.json, cannot be read: {error.strerror}") from error
    return total / MEGABYTE


def weights_of(system: System) -> str:
    """A word that changes with any of the weights, from the SHA-256 that its bundles say."""
    return hashlib.sha256("".join(_engine_files(system).values()).encode()).hexdigest()[:12]


def proof_of(system: System) -> Proof | None:
    """Of the bundles that run in float32, as they were compared; None where none of them was imported."""
    stages = [stage for stage in system.stage.values() if stage.engine == COMPARED and stage.precision == "f32"]
    cards = [load_bundle(definition.WEIGHTS / name).accuracy for stage in stages for name in stage.bundles]
    compared = [card["raw_scores"] for card in cards if "raw_scores" in card]
    whole = next((card["whole_case"] for card in cards if "whole_case" in card), None)
    try:
        if not compared:
            return None
        worst = max(compared, key=lambda scores: float(scores["largest_difference"]))
        same = (None, "") if whole is None else (float(whole["same_label"]), str(whole["against"]))
        return Proof(float(worst["largest_difference"]), str(worst["against"]), *same)
    except (KeyError, TypeError, ValueError):  # a free table: another program may have its own there
        return None


def _engine_files(system: System) -> dict[Path, str]:
    """With the SHA-256 of each."""
    return dict(_named_files(system))


def _named_files(system: System) -> Iterator[tuple[Path, str]]:
    for stage in system.stage.values():
        for name in stage.bundles:
            bundle = load_bundle(definition.WEIGHTS / name)
            for file, sha256 in bundle.files[stage.engine].items():
                yield bundle.folder / file, sha256


def read_measured() -> dict[str, Measured]:
    """Figures by system; none where there is no file of them."""
    path = definition.SYSTEMS / FILE_NAME
    table = json_table(path, "; remove it, or measure again")
    return {name: parse(Measured, entry, path, name) for name, entry in table.items()}


def json_table(path: Path, hint: str = "") -> dict[str, Any]:
    """What a JSON file says by name; nothing where there is no such file. SetupError, with `hint`, if it cannot be
    read."""
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(f"{path}: cannot be read: {error}{hint}") from error
    if not isinstance(table, dict):
        raise SetupError(f"{path}: the file must be a table")
    return table
