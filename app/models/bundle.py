"""Bundle: a folder that holds one model: `bundle.json` and the engine files it names with their SHA-256.

Every constant of a model is in its bundle. Arrays (z, y, x) in LPS, lengths mm.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.errors import SetupError
from app.schema import parse
from app.types import Shape, Spacing

FILE_NAME = "bundle.json"
AXES = "zyx"
BACKGROUND = "background"
MOST_LABELS = 255  # a mask is uint8, and restoring needs one value
MOST_HU = 1e6
TORCHSCRIPT = "torchscript"
SUFFIXES = {"openvino-float32": {".xml", ".bin"}, "openvino-int8": {".xml", ".bin"}, TORCHSCRIPT: {".pt"}}
ENGINES = tuple(SUFFIXES)


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
class Window:
    """What a model that does not see all at once is shown, in voxels.

    largest, smallest: sides that a window may have. multiple: sides are multiples of it. step: how far neighbouring
    windows are apart at the most, as a share of their side; the rest overlaps.
    """

    largest: Shape
    smallest: Shape
    multiple: int
    step: float

    def __post_init__(self) -> None:
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
    """One model. Exactly one of `shape` (what it sees is resized to it) and `spacing_mm` (seen in windows) is given.

    role: what it was trained for, in a word. labels: names of its classes, background first; their places are the ids.
    files: per engine, file name to SHA-256. training: how and on what it was trained. accuracy: measured figures.
    """

    name: str
    role: str
    axes: str
    labels: tuple[str, ...]
    intensity: Intensity
    files: dict[str, dict[str, str]]
    training: dict[str, Any]
    accuracy: dict[str, Any]
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
        if self.shape is not None and min(self.shape) < 1:
            raise ValueError(f"shape must be above zero, found {self.shape}")
        if self.spacing_mm is not None and not all(0 < s < math.inf for s in self.spacing_mm):
            raise ValueError(f"spacing_mm must be above zero, found {self.spacing_mm}")

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
        table = json.loads(path.read_text())
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, dict):
        raise SetupError(f"{path}: the file must be a table")
    if "folder" in table:
        raise SetupError(f"{path}: unknown field folder")
    return replace(parse(Bundle, table, path), folder=folder)
