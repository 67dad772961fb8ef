"""Recipe: one TOML file that holds the choices of a training run. Lengths mm, axes (z, y, x)."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from app.bundle import Window
from app.errors import SetupError
from app.normalise import Intensity
from app.schema import parse
from app.types import Shape, Spacing


@dataclass(frozen=True, slots=True)
class Network:
    """channels: per level, each level half the size of the one above. stem_stride: 2 halves the input at once."""

    channels: tuple[int, ...]
    stem_stride: int
    supervised_levels: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a coarse-to-fine run. shape: voxels of one sample. spacing_mm: of the grid it is drawn from.

    empty_share: of the samples, those that show no patient (air, water, noise), so that nothing is seen as nothing.
    """

    name: str
    spacing_mm: Spacing
    shape: Shape
    batch: int
    steps: int
    learning_rate: float
    empty_share: float = 0.0


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
    """calibration_samples: drawn from training scans for INT8. window: of a fine model, as in its bundle."""

    calibration_samples: int
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run. held_out_patients are not trained on; reference_masks says where the labels come from."""

    name: str
    role: str
    seed: int
    threads: int
    checkpoint_minutes: float
    held_out_patients: tuple[str, ...]
    reference_masks: str
    intensity: Intensity
    network: Network
    sampling: Sampling
    augmentation: Augmentation
    optimiser: Optimiser
    loss: Loss
    export: Export
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("a recipe needs one stage at least")


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file. SetupError names the file and the entry that is unknown, missing or impossible."""
    try:
        table = tomllib.loads(path.read_text())
    except ValueError as error:
        raise SetupError(f"{path}: not TOML: {error}") from error
    return parse(Recipe, table, path)
