"""Recipe: one TOML file that holds every choice of a training run. Lengths mm, axes (z, y, x)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from app.normalise import Intensity
from app.types import Shape, Spacing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """channels: per level, each level half the size of the one above. stem_stride: 2 halves the input at once."""

    channels: tuple[int, ...]
    stem_stride: int
    supervised_levels: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a coarse-to-fine run. shape: voxels of one sample. spacing_mm: of the grid it is drawn from."""

    name: str
    spacing_mm: Spacing
    shape: Shape
    batch: int
    steps: int
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Sampling:
    """What a sample shows.

    kind: "patch" is a block at the stage's spacing, "scan" a whole scan, cut and padded at random, of any spacing.
    organ_share: share of the patches centred near a random organ rather than anywhere.
    """

    kind: str
    organ_share: float

    def __post_init__(self) -> None:
        if self.kind not in ("patch", "scan"):
            raise ValueError(f'sampling.kind is "patch" or "scan", got "{self.kind}"')


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Standard deviations and probabilities of what one sample goes through; HU before normalisation."""

    rotation_degrees: float
    scale: float
    axis_scale: float
    deformation_probability: float
    deformation_mm: float
    cut_probability: float
    organ_shift_probability: float
    organ_shift_hu: float
    contrast_probability: float
    brightness_hu: float
    contrast: float
    noise_probability: float
    noise_hu: float
    blur_probability: float
    thick_slice_probability: float


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW; average_decay: of the moving average of the weights, which is what ships."""

    weight_decay: float
    warm_up_steps: int
    gradient_norm: float
    average_decay: float


@dataclass(frozen=True, slots=True)
class Loss:
    """class_weights: of the cross-entropy, background first. absent_weight: of the Dice of organs not in the batch."""

    class_weights: tuple[float, ...]
    absent_weight: float


@dataclass(frozen=True, slots=True)
class Export:
    """window, multiple, step: as in the bundle. calibration_samples: drawn from training scans for INT8."""

    window: Shape
    multiple: int
    step: float
    calibration_samples: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every choice of a run; held_out_patients are not trained on."""

    path: Path
    name: str
    role: str
    seed: int
    threads: int
    checkpoint_minutes: float
    held_out_patients: tuple[str, ...]
    intensity: Intensity
    network: Network
    sampling: Sampling
    augmentation: Augmentation
    optimiser: Optimiser
    loss: Loss
    export: Export
    stages: tuple[Stage, ...]


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file. ValueError names the file and the table with an unknown, missing or bad entry."""
    table = tomllib.loads(path.read_text())
    try:
        return Recipe(
            path=path,
            intensity=_build(Intensity, table.pop("intensity"), "intensity"),
            network=_build(Network, table.pop("network"), "network"),
            sampling=_build(Sampling, table.pop("sampling"), "sampling"),
            augmentation=_build(Augmentation, table.pop("augmentation"), "augmentation"),
            optimiser=_build(Optimiser, table.pop("optimiser"), "optimiser"),
            loss=_build(Loss, table.pop("loss"), "loss"),
            export=_build(Export, table.pop("export"), "export"),
            stages=tuple(_build(Stage, stage, "stage") for stage in table.pop("stage")),
            held_out_patients=tuple(table.pop("held_out_patients")),
            **table,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _build(kind: type[T], table: Mapping[str, Any], name: str) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if set(table) != known:
        raise ValueError(
            f"[{name}] has unknown entries {sorted(set(table) - known)}, lacks {sorted(known - set(table))}"
        )
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})
