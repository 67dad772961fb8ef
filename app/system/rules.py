"""Rules: what a system's file may choose at a step, by name. A rule is a function of a few lines with its settings.

Whatever is in the tables at the end may be named by any system.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.errors import SetupError
from app.grid import Box, Grid
from app.schema import parse
from app.steps.clean import drop_small, drop_small_regions
from app.steps.region import organ_box
from app.types import Labels

T = TypeVar("T")

MOST = 1e6  # mm or ml; a body has less of either


def choose(known: Mapping[str, type[T]], table: object, file: Path, field: str) -> T:
    """The rule that a table names by `rule`, with its other entries as settings. SetupError names file and field."""
    if not isinstance(table, Mapping):
        raise SetupError(f"{file}: field {field} must be a table, found {table!r}")
    name = table.get("rule")
    if not isinstance(name, str) or name not in known:
        raise SetupError(f"{file}: field {field}.rule must be one of {', '.join(known)}, found {name!r}")
    return parse(known[name], {key: value for key, value in table.items() if key != "rule"}, file, field)


def _at_least_zero(name: str, value: float) -> None:
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} must be zero or more, {MOST:.0f} at most, found {value}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, found {value}")


class Locating(ABC):
    """Where to look: labels (z, y, x) to a box of the finer `grid` of the same extent; None where there is nothing."""

    @abstractmethod
    def __call__(self, labels: Labels, grid: Grid) -> Box | None: ...


@dataclass(frozen=True, slots=True)
class OrganBox(Locating):
    """One box around all organs (`app.steps.region.organ_box`).

    min_component_ml: without a connected part so large nothing was found. min_component_share: smaller parts are
    dropped if they are below this share of the largest one, too. margin_mm: around what is left.
    """

    min_component_ml: float
    min_component_share: float
    margin_mm: float

    def __post_init__(self) -> None:
        _at_least_zero("min_component_ml", self.min_component_ml)
        _share("min_component_share", self.min_component_share)
        _at_least_zero("margin_mm", self.margin_mm)

    def __call__(self, labels: Labels, grid: Grid) -> Box | None:
        return organ_box(
            labels,
            grid,
            min_component_ml=self.min_component_ml,
            min_component_share=self.min_component_share,
            margin_mm=self.margin_mm,
        )


class Cleaning(ABC):
    """What is dropped: labels (z, y, x) on `grid` to a new array. located: whether a region told where to look."""

    @classmethod
    def from_table(cls, table: object, file: Path, field: str) -> "Cleaning":
        """As `app.schema` reads it."""
        return choose(CLEANING, table, file, field)

    @abstractmethod
    def __call__(self, labels: Labels, grid: Grid, *, located: bool) -> Labels: ...


@dataclass(frozen=True, slots=True)
class LargeParts(Cleaning):
    """min_share: parts of an organ below this share of its largest one go; 1 keeps the largest only."""

    min_share: float

    def __post_init__(self) -> None:
        _share("min_share", self.min_share)

    def __call__(self, labels: Labels, grid: Grid, *, located: bool) -> Labels:  # noqa: ARG002
        return drop_small(labels, min_share=self.min_share)


@dataclass(frozen=True, slots=True)
class LargeRegionsIfUnlocated(Cleaning):
    """min_ml: where no region told where to look, connected regions of all organs together below this go."""

    min_ml: float

    def __post_init__(self) -> None:
        _at_least_zero("min_ml", self.min_ml)

    def __call__(self, labels: Labels, grid: Grid, *, located: bool) -> Labels:
        return labels if located else drop_small_regions(labels, min_voxels=self.min_ml / grid.voxel_ml)


LOCATING: dict[str, type[Locating]] = {"organ-box": OrganBox}
CLEANING: dict[str, type[Cleaning]] = {
    "large-parts": LargeParts,
    "large-regions-if-unlocated": LargeRegionsIfUnlocated,
}
