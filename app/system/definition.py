"""System: one TOML file under `systems/`: stages, the regions they see, merges, and whose answer is the result.

A file may build on another one (`app.system.toml_file`).
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.errors import SetupError
from app.models.bundle import AXES, ENGINES, MOST_LABELS, PATIENT, TORCHSCRIPT, Bundle, load_bundle
from app.schema import one_of, parse
from app.system.rules import LOCATING, MERGING, Cleaning, EveryWindow, Locating, Merging, Walking, choose
from app.system.toml_file import read_toml

CHECKOUT = Path(__file__).parents[2]  # the image's /workspace, too
INSTALLED = Path(sys.prefix) / "share" / "viscera"  # where pip puts the data of the package
ROOT = CHECKOUT if (CHECKOUT / "systems").is_dir() else INSTALLED
SYSTEMS = ROOT / "systems"
WEIGHTS = ROOT / "weights"
PRECISIONS = ("f32", "bf16")
EVERY = EveryWindow()
MOST_HEIGHT = 1000.0  # mm
SCAN = "scan"  # what a stage sees that sees no region
# "scan" is what a stage may see, the others are what a case's own seconds are called
TAKEN = (SCAN, "read", "upright", "load", "restore", "doubt", "write", "total")


@dataclass(frozen=True, slots=True)
class Stage:
    """A model that sees the scan or a region of it, and makes a label map.

    bundle: a folder under `weights/`, or an absolute path. with_bundles: others, fed and read alike, whose scores are
    averaged with its. precision: of what is not INT8; "bf16" only where the CPU has it. sees: a region's name, or
    "scan". walk: which windows are looked at. clean: rules, applied in their order. min_height_mm: of what it sees; in
    less it does not run, and its regions are all that it would have seen. mirror_axes: what a network is shown is
    shown it mirrored along these, too, in every combination, and the scores are averaged.
    """

    bundle: str
    engine: str
    precision: str
    with_bundles: tuple[str, ...] = ()
    sees: str = SCAN
    walk: Walking = EVERY
    clean: tuple[Cleaning, ...] = ()
    min_height_mm: float = 0.0
    mirror_axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of("engine", self.engine, ENGINES)
        one_of("precision", self.precision, PRECISIONS[:1] if self.engine == TORCHSCRIPT else PRECISIONS)
        if len(set(self.bundles)) != len(self.bundles):
            raise ValueError(f"with_bundles must name others than bundle, each once, found {list(self.with_bundles)}")
        if len(set(self.mirror_axes)) != len(self.mirror_axes) or not set(self.mirror_axes) <= set(AXES):
            raise ValueError(f"mirror_axes must be of z, y and x, each once, found {list(self.mirror_axes)}")
        if self.min_height_mm < 0:
            raise ValueError(f"min_height_mm must be zero or more, found {self.min_height_mm}")

    @property
    def bundles(self) -> tuple[str, ...]:
        """All of them, the one that says how they are fed and read first."""
        return (self.bundle, *self.with_bundles)


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
class Merge:
    """A label map made of those of several stages, or of merges above, on the scan's own grid.

    of: whose, in the order that the rule means. Its labels are the first one's, and what others have besides.
    """

    of: tuple[str, ...]
    rule: Merging

    @classmethod
    def from_table(cls, table: object, file: Path, field: str) -> "Merge":
        """As `app.schema` reads it: the rule's settings stand beside `of`."""
        of = table.get("of") if isinstance(table, Mapping) else None
        if not isinstance(table, Mapping) or not isinstance(of, list) or not all(isinstance(n, str) for n in of):
            raise SetupError(f"{file}: field {field}.of must be a list of stages or merges")
        rule = choose(MERGING, {name: value for name, value in table.items() if name != "of"}, file, field)
        if len(of) < 2 or len(set(of)) != len(of) or rule.maps not in (None, len(of)):
            raise SetupError(
                f"{file}: field {field}.of must name {rule.maps or 'two or more'} different maps, found {of}"
            )
        return cls(tuple(of), rule)


@dataclass(frozen=True, slots=True)
class Posture:
    """How a scan is brought to lie before any stage sees it.

    max_tilt_degrees: between its axes and the body's; beyond, it is set upright. max_shear_degrees: of its axes against
    each other, likewise. upright_mm: the spacing then, at the most. min_height_mm: below, its first and last slice are
    repeated, up to `filled_to_mm` in all. as_it_is: nothing of this is done, values stay what the file says whatever
    they look like, and nothing around the body is taken for air.
    """

    max_tilt_degrees: float = 12.0
    max_shear_degrees: float = 5.0
    upright_mm: float = 1.0
    min_height_mm: float = 0.0
    filled_to_mm: float = 0.0
    as_it_is: bool = False

    def __post_init__(self) -> None:
        if self.as_it_is and replace(self, as_it_is=False) != Posture():
            raise ValueError("as_it_is goes with no other choice: nothing is done that they could be about")
        for name in ("max_tilt_degrees", "max_shear_degrees"):
            if not 0 < getattr(self, name) <= 90:
                raise ValueError(f"{name} must be above 0, 90 at most, found {getattr(self, name)}")
        if self.upright_mm <= 0:
            raise ValueError(f"upright_mm must be above zero, found {self.upright_mm}")
        if not 0 <= self.min_height_mm <= self.filled_to_mm <= MOST_HEIGHT:
            raise ValueError(
                f"min_height_mm must be from 0 to filled_to_mm, and that {MOST_HEIGHT:.0f} at most, found "
                f"{self.min_height_mm} and {self.filled_to_mm}"
            )


@dataclass(frozen=True, slots=True)
class Doubt:
    """When the result's stage is not believed (`app.steps.doubt`), and that the body is then looked for turned over.

    first: a stage that sees the scan, of the same labels. min_agreement: Dice of the two stages' labels; where the
    first one's voxels are longer than `fine_mm` along an axis, less is asked for: `less_per_mm` for each mm, but never
    less than `least_agreement`. unusable_below: share of what is asked for, below which a mask is unusable. min_lead:
    of the result's scores; how far networks lead differs, so another bundle needs another one. min_arrangement: share
    of the relations that hold. right_of, below, before: pairs of organs, the first of which lies further to the
    patient's right, further down, further to the front. width_mm: of the body, at the least and at the most. turns:
    whether the scan is segmented as the body lies, where that is not as the header says; otherwise it is only said.
    min_gain: how many times as much of a body the first stage must find in another way to lie, for that to be tried.
    """

    first: str
    min_agreement: float
    min_lead: float
    min_arrangement: float
    right_of: tuple[tuple[str, str], ...] = ()
    below: tuple[tuple[str, str], ...] = ()
    before: tuple[tuple[str, str], ...] = ()
    width_mm: tuple[float, float] = (0.0, math.inf)
    fine_mm: float = math.inf
    less_per_mm: float = 0.0
    least_agreement: float = 0.0
    unusable_below: float = 0.5
    turns: bool = True
    min_gain: float = 1.2

    def __post_init__(self) -> None:
        if self.less_per_mm < 0 or self.fine_mm <= 0:
            raise ValueError(
                f"less_per_mm must be zero or more and fine_mm above zero, found {self.less_per_mm} and {self.fine_mm}"
            )
        if not 0 <= self.width_mm[0] < self.width_mm[1]:
            raise ValueError(f"width_mm must be two lengths, the shorter first, found {list(self.width_mm)}")
        for name in ("min_agreement", "min_arrangement", "least_agreement", "unusable_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, found {getattr(self, name)}")

    @property
    def named(self) -> tuple[str, ...]:
        """Organs that the relations name."""
        return tuple(name for pairs in (self.right_of, self.below, self.before) for pair in pairs for name in pair)

    def agreement_at(self, voxel_mm: float) -> float:
        """What is asked for where the longest side of the first stage's voxels is so long."""
        least = min(self.least_agreement, self.min_agreement)
        return max(least, self.min_agreement - self.less_per_mm * max(0.0, voxel_mm - self.fine_mm))

    def relations(self, labels: Sequence[str]) -> list[tuple[int, int, int]]:
        """As `app.steps.doubt.arrangement` takes them."""
        by_axis = ((self.below, 0), (self.before, 1), (self.right_of, 2))
        return [(labels.index(a), labels.index(b), axis) for pairs, axis in by_axis for a, b in pairs]


@dataclass(frozen=True, slots=True)
class Result:
    """of: the stage or merge whose labels, on the scan's own grid, are the mask."""

    of: str


@dataclass(frozen=True, slots=True)
class System:
    """stage: by name, in the order in which they run. region: by name. merge: by name, in their order; they come after
    the stages. ValueError for what cannot be run.
    """

    title: str
    stage: dict[str, Stage]
    result: Result
    region: dict[str, Region] = field(default_factory=dict)
    merge: dict[str, Merge] = field(default_factory=dict)
    posture: Posture = Posture()
    doubt: Doubt | None = None

    def __post_init__(self) -> None:
        if len(self.title.splitlines()) != 1:
            raise ValueError(f"field title must be one line, found {self.title!r}")
        names = [*self.stage, *self.region, *self.merge]
        for name in names:
            if not re.fullmatch(r"[\w-]+", name) or name in TAKEN:
                raise ValueError(
                    f"{name!r} cannot be the name of a stage, region or merge (letters, digits, _ -; not "
                    f"{', '.join(TAKEN)})"
                )
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{min(twice)} names two of a stage, a region and a merge")
        for name, region in self.region.items():
            if region.of not in self.stage:
                raise ValueError(f"field region.{name}.of names no stage: {region.of!r}")
        self._check_order()
        self._check_merges()
        if self.result.of not in self.stage and self.result.of not in self.merge:
            raise ValueError(f"field result.of names no stage and no merge: {self.result.of!r}")
        seen = {stage.sees for stage in self.stage.values()}
        used = {self.result.of, *self.mapped, *(region.of for region in self.region.values())}
        idle = (self.stage.keys() - used) | (self.region.keys() - seen) | (self.merge.keys() - used)
        if idle:
            raise ValueError(f"{min(idle)} is used by nothing")
        self._check_doubt()
        for name in {*self.mapped, self.result.of} & self.stage.keys():
            if self.stage[name].min_height_mm:
                raise ValueError(f"field stage.{name}.min_height_mm: its labels are in the result, so it must run")

    @property
    def mapped(self) -> set[str]:
        """Stages and merges whose label maps merges take."""
        return {name for merge in self.merge.values() for name in merge.of}

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

    def _check_doubt(self) -> None:
        if self.doubt is None:
            return
        if self.result.of not in self.stage:
            raise ValueError("field doubt goes with a result that is of a stage, not of a merge")
        order = list(self.stage)
        above = order[: order.index(self.result.of)]
        first = self.stage.get(self.doubt.first)
        if first is None or self.doubt.first not in above or first.sees != SCAN or first.min_height_mm:
            raise ValueError(
                f"field doubt.first must name a stage above the result's that always sees the scan, found "
                f"{self.doubt.first!r}"
            )

    def _check_merges(self) -> None:
        known = set(self.stage)
        for name, merge in self.merge.items():
            if unknown := [other for other in merge.of if other not in known]:
                raise ValueError(f"field merge.{name}.of names no stage and no merge above: {unknown[0]!r}")
            known.add(name)


def load_system(name: str) -> System:
    """The system of that name under `systems/`, or in the `.toml` file of that path. SetupError says what is wrong.

    Its bundles are read, too, but not the files of their engines.
    """
    system = read_system(name)
    _check_bundles(system, _file_of(name))
    return system


def read_system(name: str) -> System:
    """As `load_system`, but whether its bundles are there is not looked at."""
    path = _file_of(name)
    return parse(System, read_toml(path, f"; known systems are {', '.join(system_names())}"), path)


def _file_of(name: str) -> Path:
    return Path(name) if name.endswith(".toml") else SYSTEMS / f"{name}.toml"


def _check_bundles(system: System, path: Path) -> None:
    """SetupError unless every bundle is there, has the engine, and has the labels that rules name."""
    names: dict[str, tuple[str, ...]] = {}
    for name, stage in system.stage.items():
        where = f"{path}: field stage.{name}"
        bundle = _read_bundle(stage.bundle, f"{where}.bundle")
        if stage.engine not in bundle.files:
            raise SetupError(f"{where}.engine: {stage.bundle} has only {', '.join(bundle.files)}")
        for other in stage.with_bundles:
            also = _read_bundle(other, f"{where}.with_bundles")
            if stage.engine not in also.files:
                raise SetupError(f"{where}.with_bundles: {other} has only {', '.join(also.files)}")
            if differing := _differing(bundle, also):
                raise SetupError(f"{where}.with_bundles: {other} has another {differing} than {stage.bundle}")
        names[name] = bundle.labels
        _check_named(stage.walk.named, bundle.labels, f"{where}.walk")
        for index, rule in enumerate(stage.clean):
            _check_named(rule.named, bundle.labels, f"{where}.clean[{index}]")
        walks = not isinstance(stage.walk, EveryWindow)
        if bundle.window is None and walks:
            raise SetupError(f"{where}.walk: {stage.bundle} sees all at once and has no windows")
        if bundle.orientation != PATIENT and walks:
            raise SetupError(f"{where}.walk: walks go along the patient's axes, {stage.bundle} sees others")
        if bundle.regions and (walks or stage.clean):
            raise SetupError(f"{where}: {stage.bundle} has regions, which no rule of walk or clean knows")
        if system.doubt is not None and name in (system.doubt.first, system.result.of):
            _check_doubtful(bundle, name == system.doubt.first, f"{path}: field doubt")
    for name, region in system.region.items():
        _check_named(region.rule.named, names[region.of], f"{path}: field region.{name}")
    if system.doubt is not None:
        _check_named(system.doubt.named, names[system.result.of], f"{path}: field doubt")
        if names[system.doubt.first] != names[system.result.of]:
            raise SetupError(
                f"{path}: field doubt.first: {system.doubt.first} has other labels than {system.result.of}"
            )
    names = _with_merges(names, system)
    for name, merge in system.merge.items():
        if len(names[name]) > MOST_LABELS:
            raise SetupError(f"{path}: field merge.{name}.of: {len(names[name])} labels in all, {MOST_LABELS} at most")
        _check_named(merge.rule.named, names[name], f"{path}: field merge.{name}")


def _check_doubtful(bundle: Bundle, is_first: bool, where: str) -> None:
    if bundle.regions:
        raise SetupError(f"{where}: {bundle.name} has regions, of which none leads the others")
    if is_first and bundle.crops_to_nonzero:
        raise SetupError(f"{where}.first: {bundle.name} crops_to_nonzero, and it must see the whole scan")


def _read_bundle(name: str, where: str) -> Bundle:
    try:
        return load_bundle(WEIGHTS / name)
    except SetupError as error:
        raise SetupError(f"{where}: {error}") from error


def _differing(bundle: Bundle, other: Bundle) -> str:
    """What two bundles that are to be averaged disagree on, of how they are fed and read; nothing if they agree."""
    fields = (
        *("labels", "regions", "intensity", "scan_intensity", "orientation", "crops_to_nonzero", "resampling"),
        *("shape", "spacing_mm", "window", "score_step"),
    )
    return ", ".join(name for name in fields if getattr(bundle, name) != getattr(other, name))


def _check_named(named: tuple[str, ...], labels: tuple[str, ...], where: str) -> None:
    for name in named:
        if name not in labels[1:]:
            raise SetupError(f"{where}: no label {name!r} here; there are {', '.join(labels[1:])}")


def mask_labels(system: System) -> tuple[str, ...]:
    """Names of the labels of a system's masks, by id. SetupError where a bundle cannot be read."""
    names = {name: load_bundle(WEIGHTS / stage.bundle).labels for name, stage in system.stage.items()}
    return _with_merges(names, system)[system.result.of]


def _with_merges(stages: dict[str, tuple[str, ...]], system: System) -> dict[str, tuple[str, ...]]:
    """Labels by stage, and by merge, too."""
    names = dict(stages)
    for name, merge in system.merge.items():
        names[name] = merged_names([names[other] for other in merge.of])
    return names


def merged_names(maps: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Labels of a merge: those of the first map, then what others have besides.

    >>> merged_names([("background", "liver"), ("background", "tumour", "liver")])
    ('background', 'liver', 'tumour')
    """
    return tuple(dict.fromkeys(name for names in maps for name in names))


def system_names() -> list[str]:
    """What `load_system` finds by name."""
    return sorted(path.stem for path in SYSTEMS.glob("*.toml"))
