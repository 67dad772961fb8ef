"""Rules: what a system's file may choose at a step, by name. A rule is a function of a few lines with its settings.

Whatever is in the tables at the end may be named by any system.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from app.errors import SetupError
from app.grid import Box, Grid
from app.schema import parse
from app.steps.clean import drop_far, drop_small, drop_small_regions, without
from app.steps.merge import fallback, overlay, ranked_overlay
from app.steps.region import box_of_large_regions, box_with_margin, label_range, organ_box
from app.steps.walk import EVERY_WINDOW, Walk, centre_first, middle_windows, stepped, until_organ
from app.types import Labels, Spacing

T = TypeVar("T")

MOST = 1e6  # mm or ml; a body has less of either
MOST_VOXELS = 1e12  # a scan has fewer


def choose(known: Mapping[str, type[T]], table: object, file: Path, field: str) -> T:
    """The rule that a table names by `rule`, with its other entries as settings. SetupError names file and field."""
    if not isinstance(table, Mapping):
        raise SetupError(f"{file}: field {field} must be a table, found {table!r}")
    name = table.get("rule")
    if not isinstance(name, str) or name not in known:
        raise SetupError(f"{file}: field {field}.rule must be one of {', '.join(known)}, found {name!r}")
    return parse(known[name], {key: value for key, value in table.items() if key != "rule"}, file, field)


def _at_least_zero(name: str, value: float, most: float = MOST) -> None:
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be zero or more, {most:.0f} at most, found {value}")


def _share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be from 0 to 1, found {value}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule may ask of the stage whose labels it gets.

    names: of the labels, by id. located: whether a region told where to look. axes: of a network that looks where the
    rule says: which of the body's (z, y, x) its own are.
    """

    names: tuple[str, ...]
    located: bool
    axes: tuple[int, int, int] = (0, 1, 2)

    def ids(self, names: tuple[str, ...]) -> list[int]:
        """Of labels by name."""
        return [self.names.index(name) for name in names]


class Rule:
    """What any rule has."""

    @property
    def named(self) -> tuple[str, ...]:
        """Labels that the rule names, which its stage's bundle must have."""
        return ()


@dataclass(frozen=True, slots=True)
class OfOneLabel(Rule):
    """label: the one that the rule is about."""

    label: str

    @property
    def named(self) -> tuple[str, ...]:
        """The label."""
        return (self.label,)


class Locating(Rule, ABC):
    """Where to look: labels (z, y, x) to a box of the finer `grid` of the same extent; None where there is nothing."""

    @abstractmethod
    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Box | None: ...


@dataclass(frozen=True, slots=True)
class OrganBox(Locating):
    """One box around all organs (`app.steps.region.organ_box`).

    min_component_ml: without a connected part so large nothing was found. min_component_share: smaller parts are
    dropped if they are below this share of the largest one, too. margin_mm: around what is left; margin_z_mm: along the
    scan's z, where it is another. at_least_mm: along (z, y, x) as the network has them that looks there, where the scan
    has so much.
    """

    min_component_ml: float
    min_component_share: float
    margin_mm: float
    margin_z_mm: float | None = None
    at_least_mm: Spacing = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        _at_least_zero("min_component_ml", self.min_component_ml)
        _share("min_component_share", self.min_component_share)
        _at_least_zero("margin_mm", self.margin_mm)
        _at_least_zero("margin_z_mm", self.margin_z_mm or 0.0)
        for length in self.at_least_mm:
            _at_least_zero("at_least_mm", length)

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Box | None:
        z, y, x = (self.at_least_mm[seen.axes.index(axis)] for axis in range(3))
        margin_z = self.margin_mm if self.margin_z_mm is None else self.margin_z_mm
        return organ_box(
            labels,
            grid,
            min_component_ml=self.min_component_ml,
            min_component_share=self.min_component_share,
            margin_mm=(margin_z, self.margin_mm, self.margin_mm),
            at_least_mm=(z, y, x),
        )


@dataclass(frozen=True, slots=True)
class LabelRange(OfOneLabel, Locating):
    """Whole slices around the lowest voxel of a label (`app.steps.region.label_range`).

    below_mm, above_mm: of that voxel. at_least_mm: high, where the scan is.
    """

    below_mm: float
    above_mm: float
    at_least_mm: float

    def __post_init__(self) -> None:
        for name in ("below_mm", "above_mm", "at_least_mm"):
            _at_least_zero(name, getattr(self, name))

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Box | None:
        (label,) = seen.ids(self.named)
        return label_range(
            labels,
            grid,
            label=label,
            below_mm=self.below_mm,
            above_mm=self.above_mm,
            at_least_mm=self.at_least_mm,
        )


@dataclass(frozen=True, slots=True)
class LargeRegionsBox(Locating):
    """Around regions of so many voxels of the scan (`app.steps.region.box_of_large_regions`)."""

    min_voxels: int
    margin_mm: float = 0.0

    def __post_init__(self) -> None:
        _at_least_zero("min_voxels", self.min_voxels, MOST_VOXELS)
        _at_least_zero("margin_mm", self.margin_mm)

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Box | None:  # noqa: ARG002
        return box_of_large_regions(labels, grid, min_voxels=self.min_voxels, margin_mm=self.margin_mm)


@dataclass(frozen=True, slots=True)
class MarginBox(Locating):
    """Around all organs with a margin in whole voxels (`app.steps.region.box_with_margin`)."""

    margin_mm: float

    def __post_init__(self) -> None:
        _at_least_zero("margin_mm", self.margin_mm)

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Box | None:  # noqa: ARG002
        return box_with_margin(labels, grid, margin_mm=self.margin_mm)


class Cleaning(Rule, ABC):
    """What is dropped: labels (z, y, x) on `grid` to a new array."""

    @classmethod
    def from_table(cls, table: object, file: Path, field: str) -> "Cleaning":
        """As `app.schema` reads it."""
        return choose(CLEANING, table, file, field)

    @abstractmethod
    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Labels: ...


@dataclass(frozen=True, slots=True)
class LargeParts(Cleaning):
    """min_share: parts of an organ below this share of its largest one go; 1 keeps the largest only. labels: the organs
    whose parts may go; all without them."""

    min_share: float
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _share("min_share", self.min_share)

    @property
    def named(self) -> tuple[str, ...]:
        """The organs."""
        return self.labels

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Labels:  # noqa: ARG002
        return drop_small(labels, min_share=self.min_share, of=seen.ids(self.labels))


@dataclass(frozen=True, slots=True)
class LargeRegionsIfUnlocated(Cleaning):
    """min_ml: where no region told where to look, connected regions of all organs together below this go."""

    min_ml: float

    def __post_init__(self) -> None:
        _at_least_zero("min_ml", self.min_ml)

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Labels:
        return labels if seen.located else drop_small_regions(labels, min_voxels=self.min_ml / grid.voxel_ml)


@dataclass(frozen=True, slots=True)
class NearLabel(OfOneLabel, Cleaning):
    """Regions whose centroid is further than `max_mm` above or below that of a label's largest part go
    (`app.steps.clean.drop_far`)."""

    max_mm: float

    def __post_init__(self) -> None:
        _at_least_zero("max_mm", self.max_mm)

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Labels:
        (label,) = seen.ids(self.named)
        return drop_far(labels, label=label, max_planes=self.max_mm / grid.spacing[0])


@dataclass(frozen=True, slots=True)
class Without(Cleaning):
    """labels: these go."""

    labels: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def __call__(self, labels: Labels, grid: Grid, seen: Seen) -> Labels:  # noqa: ARG002
        return without(labels, seen.ids(self.labels))


class Walking(Rule, ABC):
    """Which windows are looked at, and in which order (`app.steps.walk`)."""

    @classmethod
    def from_table(cls, table: object, file: Path, field: str) -> "Walking":
        """As `app.schema` reads it."""
        return choose(WALKING, table, file, field)

    @abstractmethod
    def __call__(self, grid: Grid, seen: Seen) -> Walk: ...


@dataclass(frozen=True, slots=True)
class EveryWindow(Walking):
    """All that cover the volume."""

    def __call__(self, grid: Grid, seen: Seen) -> Walk:  # noqa: ARG002
        return EVERY_WINDOW


@dataclass(frozen=True, slots=True)
class UntilOrgan(OfOneLabel, Walking):
    """From the feet up to the first window that shows `min_ml` of a label (`app.steps.walk.until_organ`)."""

    min_ml: float

    def __post_init__(self) -> None:
        _at_least_zero("min_ml", self.min_ml)

    def __call__(self, grid: Grid, seen: Seen) -> Walk:
        (label,) = seen.ids(self.named)
        least = self.min_ml / grid.voxel_ml
        return Walk(stepped, partial(until_organ, label=label, min_voxels=least))


@dataclass(frozen=True, slots=True)
class CentreFirst(Walking):
    """The middle window first, the others where it shows `min_ml` of organs; beside `tubes` alone, only in front and
    behind, where a side of it has more than `face_voxels` of them (`app.steps.walk.centre_first`)."""

    min_ml: float
    tubes: tuple[str, ...]
    face_voxels: int

    def __post_init__(self) -> None:
        _at_least_zero("min_ml", self.min_ml)
        _at_least_zero("face_voxels", self.face_voxels, MOST_VOXELS)

    @property
    def named(self) -> tuple[str, ...]:
        """The tubes."""
        return self.tubes

    def __call__(self, grid: Grid, seen: Seen) -> Walk:
        least, tubes = self.min_ml / grid.voxel_ml, seen.ids(self.tubes)
        go = partial(centre_first, min_voxels=least, tubes=tubes, face_voxels=self.face_voxels)
        return Walk(middle_windows, go)


class Merging(Rule, ABC):
    """Several label maps of one grid, their ids meaning the same, to a new one."""

    maps: ClassVar[int | None] = None
    """How many it takes; None for two or more."""

    @abstractmethod
    def __call__(self, maps: Sequence[Labels], seen: Seen) -> Labels: ...


@dataclass(frozen=True, slots=True)
class Overlay(Merging):
    """labels: over the first map lies what any other has of these."""

    labels: tuple[str, ...]

    @property
    def named(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def __call__(self, maps: Sequence[Labels], seen: Seen) -> Labels:
        return overlay(maps, seen.ids(self.labels))


@dataclass(frozen=True, slots=True)
class Fallback(OfOneLabel, Merging):
    """label: the second map's, or the first one's where the second has none of it."""

    maps: ClassVar[int | None] = 2

    def __call__(self, maps: Sequence[Labels], seen: Seen) -> Labels:
        return fallback(maps, *seen.ids(self.named))


@dataclass(frozen=True, slots=True)
class RankedOverlay(OfOneLabel, Merging):
    """label: merged as paper 003's code does (`app.steps.merge.ranked_overlay`)."""

    maps: ClassVar[int | None] = 2

    def __call__(self, maps: Sequence[Labels], seen: Seen) -> Labels:
        return ranked_overlay(maps, *seen.ids(self.named))


LOCATING: dict[str, type[Locating]] = {
    "organ-box": OrganBox,
    "label-range": LabelRange,
    "large-regions-box": LargeRegionsBox,
    "margin-box": MarginBox,
}
CLEANING: dict[str, type[Cleaning]] = {
    "large-parts": LargeParts,
    "large-regions-if-unlocated": LargeRegionsIfUnlocated,
    "near-label": NearLabel,
    "without": Without,
}
WALKING: dict[str, type[Walking]] = {
    "every-window": EveryWindow,
    "until-organ": UntilOrgan,
    "centre-first": CentreFirst,
}
MERGING: dict[str, type[Merging]] = {
    "overlay": Overlay,
    "fallback": Fallback,
    "ranked-overlay": RankedOverlay,
}
