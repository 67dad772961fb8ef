"""System: one TOML file under `systems/` that names the bundles and the choice made at each step.

A file may build on another one (`app.system.toml_file`).
"""

import math
from dataclasses import dataclass
from pathlib import Path

from app.models.bundle import ENGINES, TORCHSCRIPT
from app.schema import parse
from app.system.toml_file import read_toml

ROOT = Path(__file__).parents[2]
SYSTEMS = ROOT / "systems"
WEIGHTS = ROOT / "weights"
PRECISIONS = ("f32", "bf16")


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be zero or more, found {value}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, found {value}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Locate:
    """bundle, engine: the localiser.

    min_component_ml: without a connected part so large nothing was found. min_component_share: smaller parts are
    dropped if they are below this share of the largest one, too. margin_mm: around what is left.
    """

    bundle: str
    engine: str
    precision: str
    min_component_ml: float
    min_component_share: float
    margin_mm: float

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, tuple(engine for engine in ENGINES if engine != TORCHSCRIPT))
        _one_of("precision", self.precision, PRECISIONS)
        _at_least_zero("min_component_ml", self.min_component_ml)
        _share("min_component_share", self.min_component_share)
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
    """What is dropped of the fine model's answer.

    min_share: parts of an organ smaller than this share of its largest one; 1 keeps the largest only.
    min_unlocated_ml: where phase one saw nothing, connected regions of all organs together smaller than this.
    """

    min_share: float
    min_unlocated_ml: float

    def __post_init__(self) -> None:
        _share("min_share", self.min_share)
        _at_least_zero("min_unlocated_ml", self.min_unlocated_ml)


@dataclass(frozen=True, slots=True)
class System:
    """The choices of every step."""

    locate: Locate
    segment: Segment
    clean: Clean


def load_system(name: str) -> System:
    """The system of that name under `systems/`, or in the `.toml` file of that path. SetupError says what is wrong."""
    path = Path(name) if name.endswith(".toml") else SYSTEMS / f"{name}.toml"
    return parse(System, read_toml(path, f"; known systems are {', '.join(system_names())}"), path)


def system_names() -> list[str]:
    """What `load_system` finds by name."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))
