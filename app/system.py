"""System: one TOML file under `systems/` that names the bundles and the choice made at each step.

A file that says `extends = "other"` is the system in `other.toml` with the fields it gives replaced.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.bundle import ENGINES, TORCHSCRIPT
from app.errors import SetupError
from app.schema import parse

ROOT = Path(__file__).parent.parent
SYSTEMS = ROOT / "systems"
WEIGHTS = ROOT / "weights"
PRECISIONS = ("f32", "bf16")


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be zero or more, found {value}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Locate:
    """bundle, engine: the localiser. min_component_ml: smaller blobs are dropped. margin_mm: around what is left."""

    bundle: str
    engine: str
    precision: str
    min_component_ml: float
    margin_mm: float

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, tuple(engine for engine in ENGINES if engine != TORCHSCRIPT))
        _one_of("precision", self.precision, PRECISIONS)
        _at_least_zero("min_component_ml", self.min_component_ml)
        _at_least_zero("margin_mm", self.margin_mm)


@dataclass(frozen=True, slots=True)
class Segment:
    """bundle, engine: the fine model. precision: of what is not INT8; "bf16" only where the CPU has it."""

    bundle: str
    engine: str
    precision: str

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ENGINES)
        _one_of("precision", self.precision, PRECISIONS[:1] if self.engine == TORCHSCRIPT else PRECISIONS)


@dataclass(frozen=True, slots=True)
class Clean:
    """min_share: parts of an organ smaller than this share of its largest one are dropped; 1 keeps the largest only."""

    min_share: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_share <= 1:
            raise ValueError(f"min_share must be from 0 to 1, found {self.min_share}")


@dataclass(frozen=True, slots=True)
class System:
    """The choices of every step."""

    locate: Locate
    segment: Segment
    clean: Clean


def load_system(name: str) -> System:
    """The system of that name under `systems/`, or in the `.toml` file of that path. SetupError says what is wrong."""
    path = Path(name) if name.endswith(".toml") else SYSTEMS / f"{name}.toml"
    return parse(System, _read(path, ()), path)


def system_names() -> list[str]:
    """What `load_system` finds by name."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))


def _read(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path in seen:
        raise SetupError(f"{path}: field extends goes round in a circle")
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        known = f"; known systems are {', '.join(system_names())}"
        raise SetupError(f"{path}: cannot be read: {error.strerror}{known}") from error
    except ValueError as error:
        raise SetupError(f"{path}: not TOML: {error}") from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or base != Path(base).name:
        raise SetupError(f"{path}: field extends must name a system beside this one, found {base!r}")
    return _merged(_read(path.with_name(f"{base}.toml"), (*seen, path)), table)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = _merged(both[name], value) if nested else value
    return both
