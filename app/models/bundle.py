"""Bundle: a folder that holds one model: `bundle.json` and the engine files it names with their SHA-256.

Every constant of a model is in its bundle. Arrays (z, y, x) in LPS, lengths mm.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.alignment import ALIGNMENTS, FIRST_VOXEL, HALF_PIXEL
from app.errors import SetupError
from app.schema import one_of, parse
from app.types import Shape, Spacing

FILE_NAME = "bundle.json"
AXES = "zyx"
BACKGROUND = "background"
MOST_LABELS = 255  # a mask is uint8, and restoring needs one value
MOST_HU = 1e6
LEAST_STEP_OF_PARTS = 0.5  # three windows over a voxel along an axis at the most
TORCHSCRIPT = "torchscript"
INT8 = "openvino-int8"
SUFFIXES = {"openvino-float32": {".xml", ".bin"}, INT8: {".xml", ".bin"}, TORCHSCRIPT: {".pt"}}
ENGINES = tuple(SUFFIXES)
RESAMPLE_NORMALISE = "resample-normalise"
CLIP_RESAMPLE_NORMALISE = "clip-resample-normalise"
NORMALISE_RESAMPLE = "normalise-resample"
ORDERS = (RESAMPLE_NORMALISE, CLIP_RESAMPLE_NORMALISE, NORMALISE_RESAMPLE)
CUBIC = "cubic"
INTERPOLATIONS = ("linear", CUBIC, "nearest")
PATIENT, FILE, RAS = "patient", "file", "ras"
ORIENTATIONS = (PATIENT, FILE, RAS)
GAUSSIAN, LINEAR, PROBABILITIES, ZERO = "gaussian", "linear", "probabilities", "zero"


@dataclass(frozen=True, slots=True)
class Intensity:
    """Clip to [low, high] HU, subtract a mean, divide by a deviation (both HU)."""

    low: float
    high: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        usual = all(abs(value) <= MOST_HU for value in (self.low, self.high, self.mean, self.deviation))
        if not usual or not self.low < self.high or not self.deviation >= 1 / MOST_HU:
            raise ValueError(f"needs finite values within {MOST_HU:.0f}, low < high and deviation > 0, got {self}")


@dataclass(frozen=True, slots=True)
class ScanIntensity:
    """By the scan's own figures: clip to two percentiles of the whole scan, the lower one becoming 0, and scale what
    the model sees to mean 0 and deviation 1; with `keeps_zeros` voxels that are 0 by then stay so and do not count.
    """

    low_percentile: float
    high_percentile: float
    keeps_zeros: bool

    def __post_init__(self) -> None:
        if not 0 <= self.low_percentile < self.high_percentile <= 100:
            raise ValueError(f"needs 0 <= low_percentile < high_percentile <= 100, got {self}")


@dataclass(frozen=True, slots=True)
class Resampling:
    """How what a model sees comes to its grid; what is not said is as this project's own models have it.

    order: of the steps before the network. interpolation: between voxels. averages: where the grid is coarser by a
    whole factor or more, blocks of that many voxels are averaged first. alignment: see `app.alignment`; rounds_down:
    of the number of voxels at a spacing, which is rounded to the nearest otherwise; by_ratio: of how that number is
    found (`app.grid.grid_at_spacing`). separates_axis_above: see `app.alignment.axis_apart`; keeps_range: what a spline
    overshoots is cut to the values there were, of each plane where an axis is apart.
    """

    order: str = RESAMPLE_NORMALISE
    interpolation: str = "linear"
    averages: bool = True
    alignment: str = HALF_PIXEL
    rounds_down: bool = False
    by_ratio: bool = False
    separates_axis_above: float | None = None
    keeps_range: bool = False

    def __post_init__(self) -> None:
        one_of("order", self.order, ORDERS)
        one_of("interpolation", self.interpolation, INTERPOLATIONS)
        one_of("alignment", self.alignment, ALIGNMENTS)
        if self.alignment != HALF_PIXEL and (self.averages or self.rounds_down):
            raise ValueError(f"averages and rounds_down go with alignment {HALF_PIXEL!r}, found {self.alignment!r}")
        if self.by_ratio and (self.rounds_down or self.alignment != HALF_PIXEL):
            raise ValueError(f"by_ratio goes with alignment {HALF_PIXEL!r} and without rounds_down")
        if self.keeps_range and self.interpolation != CUBIC:
            raise ValueError(f"keeps_range goes with interpolation {CUBIC!r}, found {self.interpolation!r}")
        self._check_apart()

    def _check_apart(self) -> None:
        above = self.separates_axis_above
        if above is None:
            return
        if above < 1:
            raise ValueError(f"separates_axis_above must be 1 or more, found {above}")
        if self.averages or self.alignment != HALF_PIXEL:
            raise ValueError(f"separates_axis_above goes with alignment {HALF_PIXEL!r} and averages false")


@dataclass(frozen=True, slots=True)
class Window:
    """What a model that does not see all at once is shown, in voxels.

    largest, smallest: sides that a window may have. multiple: sides are multiples of it. step: how far neighbouring
    windows are apart at the most, as a share of their side; the rest overlaps. weights: "linear" where a window counts
    less towards an edge that another one overlaps, "gaussian" where its middle counts more. adds: "probabilities" where
    scores are softmaxed before they are averaged. fill: what a volume smaller than a window is filled up with, "air",
    or "zero" after normalisation; centred: on both sides, the odd voxel at the end.
    """

    largest: Shape
    smallest: Shape
    multiple: int
    step: float
    weights: str = "uniform"
    adds: str = "scores"
    fill: str = "air"
    centred: bool = False

    def __post_init__(self) -> None:
        one_of("weights", self.weights, ("uniform", LINEAR, GAUSSIAN))
        one_of("adds", self.adds, ("scores", PROBABILITIES))
        one_of("fill", self.fill, ("air", ZERO))
        if self.multiple < 1 or not 0 < self.step <= 1:
            raise ValueError(f"multiple must be >= 1 and step in (0, 1], got {self.multiple} and {self.step}")
        for small, large in zip(self.smallest, self.largest, strict=True):
            if not 0 < small <= large or small % self.multiple or large % self.multiple:
                raise ValueError(
                    f"smallest {self.smallest} and largest {self.largest} must be multiples of {self.multiple}, "
                    "above zero, the smallest not above the largest"
                )


@dataclass(frozen=True, slots=True)
class Bundle:
    """One model. Exactly one of `shape` (what it sees is resized to it) and `spacing_mm` (seen in windows) is given,
    and of `intensity` and `scan_intensity`.

    role: what it was trained for, in a word. labels: names of its classes, background first; their places are the ids.
    licence: of the weights, in a line. orientation: how the axes lie that it sees: PATIENT's, the FILE's own, or RAS
    (`app.run.turn`). crops_to_nonzero: it sees the box of what is not 0, and outside is background. regions: ids in the
    order in which they are painted (`app.steps.classify`), a channel each; without them there is one of each label.
    holds_mb: the peak of a process that shows it its largest window, measured; 0 for a small one that was not.
    score_step: what one step of INT8's scores counts where these are quantised, too; 0 where they are float32.
    files: per engine, file name to SHA-256. training: how and on what it was trained. accuracy: measured figures.
    """

    name: str
    role: str
    axes: str
    labels: tuple[str, ...]
    files: dict[str, dict[str, str]]
    training: dict[str, Any]
    accuracy: dict[str, Any]
    intensity: Intensity | None = None
    scan_intensity: ScanIntensity | None = None
    resampling: Resampling = Resampling()
    licence: str = ""
    orientation: str = PATIENT
    crops_to_nonzero: bool = False
    regions: tuple[int, ...] = ()
    holds_mb: int = 0
    score_step: float = 0.0
    shape: Shape | None = None
    spacing_mm: Spacing | None = None
    window: Window | None = None
    folder: Path = Path()

    def __post_init__(self) -> None:
        if self.axes != AXES:
            raise ValueError(f"axes must be {AXES!r}, found {self.axes!r}")
        if self.labels[:1] != (BACKGROUND,) or not 2 <= len(self.labels) <= MOST_LABELS:
            raise ValueError(f"labels must be {BACKGROUND} and 1 to {MOST_LABELS - 1} others, found {self.labels}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be different names, found {self.labels}")
        one_of("orientation", self.orientation, ORIENTATIONS)
        self._check_regions()
        self._check_score_step()
        unknown = set(self.files) - set(ENGINES)
        if unknown or not self.files:
            raise ValueError(f"files must name engines out of {', '.join(ENGINES)}, found {sorted(self.files)}")
        for engine, files in self.files.items():
            suffixes = [Path(name).suffix for name in files]
            if set(suffixes) != SUFFIXES[engine] or len(suffixes) != len(SUFFIXES[engine]):
                raise ValueError(
                    f"files.{engine} must name one of each {sorted(SUFFIXES[engine])}, found {list(files)}"
                )
        if (self.shape is None) == (self.spacing_mm is None) or (self.spacing_mm is None) != (self.window is None):
            raise ValueError("a model has either a shape, or spacing_mm and window")
        if (self.intensity is None) == (self.scan_intensity is None):
            raise ValueError("a model has either intensity or scan_intensity")
        air_is_known = self.scan_intensity is None or self.scan_intensity.keeps_zeros
        if self.window is not None and self.window.fill != ZERO and not air_is_known:
            raise ValueError(f"window.fill must be {ZERO!r} where scan_intensity keeps no zeros: air differs by scan")
        if self.shape is not None and self.resampling.alignment == FIRST_VOXEL:
            raise ValueError(f"resampling.alignment {FIRST_VOXEL!r} holds a spacing, and a model with a shape has none")
        by_spacing = self.resampling.separates_axis_above is not None or self.resampling.by_ratio
        if self.shape is not None and by_spacing:
            raise ValueError("resampling.separates_axis_above and by_ratio ask for spacing_mm, and a shape is given")
        if self.shape is not None and min(self.shape) < 1:
            raise ValueError(f"shape must be above zero, found {self.shape}")
        if self.spacing_mm is not None and not all(0 < s < math.inf for s in self.spacing_mm):
            raise ValueError(f"spacing_mm must be above zero, found {self.spacing_mm}")

    def _check_regions(self) -> None:
        if not self.regions:
            return
        if len(set(self.regions)) != len(self.regions) or not all(0 < n < len(self.labels) for n in self.regions):
            raise ValueError(f"regions must be different ids, 1 to {len(self.labels) - 1}, found {list(self.regions)}")
        if self.window is not None and self.window.adds == PROBABILITIES:
            raise ValueError(f"window.adds {PROBABILITIES!r} are those of one label or another, and regions overlap")

    def _check_score_step(self) -> None:
        if self.score_step == 0:
            return
        if self.window is None or not 1 / MOST_HU <= self.score_step <= MOST_HU:
            raise ValueError(f"score_step must be zero, or above it where there are windows, found {self.score_step}")
        if self.regions:
            raise ValueError("score_step: quantised scores have no zero, and regions are painted above it")
        if self.window.step < LEAST_STEP_OF_PARTS:
            raise ValueError(
                f"score_step goes with a window.step of {LEAST_STEP_OF_PARTS} or more: the shares of more "
                f"windows, in parts of 128, are rounded away, found {self.window.step}"
            )

    @property
    def channels(self) -> int:
        """Scores of a voxel."""
        return len(self.regions) or len(self.labels)

    def is_quantised(self, engine: str) -> bool:
        """Whether an engine's scores are: those of INT8 where the bundle says what a step counts."""
        return engine == INT8 and self.score_step > 0

    @property
    def fixed_intensity(self) -> Intensity:
        """`intensity`, for who can do no other. SetupError where the scan's own figures count."""
        if self.intensity is None:
            raise SetupError(f"{self.folder / FILE_NAME}: has scan_intensity, and intensity is needed here")
        return self.intensity

    def engine_files(self, engine: str) -> list[Path]:
        """Paths of an engine's files in the bundle's order, each checked. SetupError for what is not as it says."""
        if engine not in self.files:
            raise SetupError(f"{self.folder / FILE_NAME}: files has no engine {engine!r}, only {', '.join(self.files)}")
        return [self._checked(name, sha256) for name, sha256 in self.files[engine].items()]

    def _checked(self, name: str, sha256: str) -> Path:
        path = self.folder / name
        if path.parent != self.folder:
            raise SetupError(f"{self.folder / FILE_NAME}: files names {name!r}, which is outside the bundle")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise SetupError(f"{path}: named in {FILE_NAME}, cannot be read: {error.strerror}") from error
        if found != sha256:
            raise SetupError(f"{path}: SHA-256 is {found}, {FILE_NAME} says {sha256}; restore the file or export again")
        return path


def load_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`. SetupError names the file and the field that is wrong."""
    path = folder / FILE_NAME
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, dict):
        raise SetupError(f"{path}: the file must be a table")
    if "folder" in table:
        raise SetupError(f"{path}: unknown field folder")
    return replace(parse(Bundle, table, path), folder=folder)
