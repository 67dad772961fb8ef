"""System: one TOML file under `systems/`: stages, the regions they see, and whose answer is the result.

A file may build on another one (`app.system.toml_file`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import SetupError
from app.models.bundle import ENGINES, TORCHSCRIPT, load_bundle
from app.schema import parse
from app.system.rules import LOCATING, Cleaning, Locating, choose
from app.system.toml_file import read_toml

ROOT = Path(__file__).parents[2]
SYSTEMS = ROOT / "systems"
WEIGHTS = ROOT / "weights"
PRECISIONS = ("f32", "bf16")
SCAN = "scan"  # what a stage sees that sees no region


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Stage:
    """A model that sees the scan or a region of it, and makes a label map.

    bundle: a folder under `weights/`, or an absolute path. precision: of what is not INT8; "bf16" only where the CPU
    has it. sees: a region's name, or "scan". clean: rules, applied in their order.
    """

    bundle: str
    engine: str
    precision: str
    sees: str = SCAN
    clean: tuple[Cleaning, ...] = ()

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ENGINES)
        _one_of("precision", self.precision, PRECISIONS[:1] if self.engine == TORCHSCRIPT else PRECISIONS)


@dataclass(frozen=True, slots=True)
class Region:
    """A box that a stage's labels tell to look at. of: the stage. rule: see `app.system.rules`."""

    of: str
    rule: Locating

    @classmethod
    def from_table(cls, table: object, file: Path, field: str) -> "Region":
        """As `app.schema` reads it: the rule's settings stand beside `of`."""
        if not isinstance(table, Mapping) or not isinstance(table.get("of"), str):
            raise SetupError(f"{file}: field {field}.of must name a stage")
        settings = {name: value for name, value in table.items() if name != "of"}
        return cls(table["of"], choose(LOCATING, settings, file, field))


@dataclass(frozen=True, slots=True)
class Result:
    """of: the stage whose labels, on the scan's own grid, are the mask."""

    of: str


@dataclass(frozen=True, slots=True)
class System:
    """stage: by name, in the order in which they run. region: by name. ValueError for what cannot be run."""

    title: str
    stage: dict[str, Stage]
    result: Result
    region: dict[str, Region] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.title.splitlines()) != 1:
            raise ValueError(f"field title must be one line, found {self.title!r}")
        for name in (*self.stage, *self.region):
            if not re.fullmatch(r"[\w-]+", name) or name == SCAN:
                raise ValueError(f"{name!r} cannot be the name of a stage or region (letters, digits, _ -)")
        if twice := self.stage.keys() & self.region.keys():
            raise ValueError(f"{min(twice)} names a stage and a region")
        for name, region in self.region.items():
            if region.of not in self.stage:
                raise ValueError(f"field region.{name}.of names no stage: {region.of!r}")
        self._check_order()
        if self.result.of not in self.stage:
            raise ValueError(f"field result.of names no stage: {self.result.of!r}")
        seen = {stage.sees for stage in self.stage.values()}
        used = {self.result.of, *(region.of for region in self.region.values())}
        if idle := (self.stage.keys() - used) | (self.region.keys() - seen):
            raise ValueError(f"{min(idle)} is used by nothing")

    def _check_order(self) -> None:
        """A region of a stage that comes later, or of the stage itself, cannot be seen."""
        done: set[str] = set()
        for name, stage in self.stage.items():
            if stage.sees != SCAN and stage.sees not in self.region:
                raise ValueError(f"field stage.{name}.sees names no region: {stage.sees!r}")
            if stage.sees != SCAN and self.region[stage.sees].of not in done:
                raise ValueError(
                    f"field stage.{name}.sees: region {stage.sees} is of stage {self.region[stage.sees].of}, which has "
                    "not run by then"
                )
            done.add(name)


def load_system(name: str) -> System:
    """The system of that name under `systems/`, or in the `.toml` file of that path. SetupError says what is wrong.

    Its bundles are read, too, but not the files of their engines.
    """
    path = Path(name) if name.endswith(".toml") else SYSTEMS / f"{name}.toml"
    system = parse(System, read_toml(path, f"; known systems are {', '.join(system_names())}"), path)
    _check_bundles(system, path)
    return system


def _check_bundles(system: System, path: Path) -> None:
    for name, stage in system.stage.items():
        try:
            engines = load_bundle(WEIGHTS / stage.bundle).files
        except SetupError as error:
            raise SetupError(f"{path}: field stage.{name}.bundle: {error}") from error
        if stage.engine not in engines:
            raise SetupError(f"{path}: field stage.{name}.engine: {stage.bundle} has only {', '.join(engines)}")


def system_names() -> list[str]:
    """What `load_system` finds by name."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))
