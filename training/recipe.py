"""Recipe: one file that holds the choices of a training run. Lengths mm, axes (z, y, x), intensities HU.

Written as TOML (`recipes/`), packed as JSON: a pack's machine need not have what `app` needs, so nothing of `app` is
imported until a TOML file is read.
"""

import json
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

# Of the deepest level, in voxels. With a side of 2, torch 2.13's gradients of a 3x3x3 convolution in bfloat16 are wrong
# on a CPU, different at every call and now and then not finite; from 3 on they agree with float32 to 0.3 %.
SMALLEST_SIDE = 3
PARTIAL_CONVOLUTION_STRIDE = 2  # of its scores; its features end at 4, interpolation brings them to 2

Shape: TypeAlias = tuple[int, int, int]
Spacing: TypeAlias = tuple[float, float, float]


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


@dataclass(frozen=True, slots=True)
class Intensity:
    """Clip to [low, high] HU, subtract a mean, divide by a deviation; `app.normalise` does the same when it runs."""

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Data:
    """Who is trained on.

    fold_patients: kept for choices; left out of every stage that holds the fold out. without_above, without_below:
    scans whose slices above the highest, or below the lowest, label are never shown. reference_masks: where the labels
    come from, for the bundle.
    """

    fold_patients: tuple[str, ...]
    without_above: tuple[str, ...]
    without_below: tuple[str, ...]
    reference_masks: str


@dataclass(frozen=True, slots=True)
class Network:
    """kind: "plain-unet" or "partial-convolution" (`training.networks`). channels: per level, each half the size.

    stem_stride: how much coarser than the input the first level is. supervised_levels: how many of the finest levels
    the loss sees.
    """

    kind: str
    channels: tuple[int, ...]
    stem_stride: int
    supervised_levels: int

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("plain-unet", "partial-convolution"))
        if self.kind == "partial-convolution" and self.supervised_levels != 1:
            raise ValueError("a partial-convolution network has one supervised level")

    @property
    def multiple(self) -> int:
        """Of the sides of an input."""
        return int(self.stem_stride * 2 ** (len(self.channels) - 1))

    @property
    def label_stride(self) -> int:
        """How much coarser than the input the finest scores are."""
        return self.stem_stride if self.kind == "plain-unet" else PARTIAL_CONVOLUTION_STRIDE


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a coarse-to-fine run, each stage beginning with the averaged weights of the one before.

    kind: "patch" draws blocks at the spacing, "scan" whole scans, cut, padded and stitched, of any spacing.
    spacing_mm: of the volumes samples are read from. shape: voxels of a sample. hold_out: whether the fold's patients
    are left out, and the network is evaluated on them every `evaluate_every` steps.
    """

    name: str
    kind: str
    spacing_mm: Spacing
    shape: Shape
    batch: int
    steps: int
    learning_rate: float
    hold_out: bool
    evaluate_every: int

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("patch", "scan"))
        if min(*self.shape, self.batch, self.steps, self.evaluate_every) < 1:
            raise ValueError("shape, batch, steps and evaluate_every must be above zero")


@dataclass(frozen=True, slots=True)
class Sampling:
    """What samples show, as shares of all samples.

    phantom_share: no patient (air, water, a head or legs made of ellipses). organ_free_share: the parts of scans beyond
    their labels. organ_share: patches centred near a random organ rather than anywhere. slab_share, stitched_share,
    padded_share: of the whole scans, those cut to a slab of `slab_mm`, made of pieces of several patients end to end,
    and surrounded by air, both up to `body_mm`; the others show the scan from end to end.
    """

    phantom_share: float
    organ_free_share: float
    organ_share: float
    slab_share: float
    stitched_share: float
    padded_share: float
    slab_mm: tuple[float, float]
    body_mm: float


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Standard deviations and probabilities of what one sample goes through; HU before normalisation.

    Lists run over the classes, background first. mirror_pairs: labels that change places in a mirror image.
    thick_slice_mm: the range of thicknesses.
    """

    rotation_degrees: float
    scale: float
    axis_scale: float
    deformation_probability: float
    deformation_mm: float
    mirror_probability: float
    mirror_pairs: tuple[tuple[int, int], ...]
    cut_ends_probability: float
    cut_sides_probability: float
    couch_probability: float
    arms_probability: float
    remove_organ_probability: float
    removable_organs: tuple[int, ...]
    organ_shift_probability: float
    organ_shift_hu: tuple[float, ...]
    contrast_probability: float
    brightness_hu: float
    contrast: float
    gamma_probability: float
    gamma: float
    thick_slice_probability: float
    thick_slice_mm: tuple[float, float]
    low_resolution_probability: float
    blur_probability: float
    noise_probability: float
    noise_hu: float


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW; average_decay: of the moving average of the weights, which is what ships."""

    weight_decay: float
    warm_up_steps: int
    gradient_norm: float
    average_decay: float


@dataclass(frozen=True, slots=True)
class Loss:
    """class_weights: of the cross-entropy, background first. absent_weight: of the Dice of organs not in the batch.

    teacher_share: of the cross-entropy's target that is the teacher's class probabilities rather than the mask.
    disagreement_weight, unsure_weight: of voxels where the teacher's class is not the mask's, and where its highest
    probability is below one half; 1 leaves them alone.
    """

    class_weights: tuple[float, ...]
    absent_weight: float
    teacher_share: float
    disagreement_weight: float
    unsure_weight: float

    @property
    def needs_teacher(self) -> bool:
        """Whether training has to run one."""
        return self.teacher_share > 0 or self.disagreement_weight != 1 or self.unsure_weight != 1


@dataclass(frozen=True, slots=True)
class Export:
    """calibration_samples: drawn from training scans for INT8. window: of a fine model, as `app.bundle` reads it."""

    calibration_samples: int
    window: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run."""

    name: str
    role: str
    seed: int
    threads: int
    checkpoint_minutes: float
    data: Data
    intensity: Intensity
    network: Network
    sampling: Sampling
    augmentation: Augmentation
    optimiser: Optimiser
    loss: Loss
    export: Export
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        _one_of("role", self.role, ("localiser", "fine"))
        if not self.stages:
            raise ValueError("a recipe needs one stage at least")
        if not 0 < self.checkpoint_minutes <= 5:
            raise ValueError(f"checkpoint_minutes must be above 0 and 5 at most, found {self.checkpoint_minutes}")
        for stage in self.stages:
            least = SMALLEST_SIDE * self.network.multiple
            if min(stage.shape) < least or any(n % self.network.multiple for n in stage.shape):
                rule = f"must be multiples of {self.network.multiple}, {least} at least"
                raise ValueError(f"stage {stage.name}: shape {stage.shape} {rule}")
        if len(self.loss.class_weights) != len(self.augmentation.organ_shift_hu):
            raise ValueError("loss.class_weights and augmentation.organ_shift_hu must name the same classes")

    @property
    def classes(self) -> int:
        """Background and organs."""
        return len(self.loss.class_weights)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file, or in the JSON file of a pack.

    SetupError names the TOML file and the entry that is unknown, missing or impossible; a JSON file was written from
    one that had been checked.
    """
    if path.suffix == ".json":
        recipe: Recipe = _rebuilt(Recipe, json.loads(path.read_text()))
        return recipe
    from app.schema import parse
    from app.toml_file import read_toml

    return parse(Recipe, read_toml(path), path)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """As JSON, which `load_recipe` reads without `app`."""
    path.write_text(json.dumps(asdict(recipe), indent=1) + "\n")


def _rebuilt(kind: Any, value: Any) -> Any:
    """`dataclasses.asdict` undone, through JSON."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _rebuilt(hints[name], entry) for name, entry in value.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple:
        return tuple(_rebuilt(get_args(kind)[0], entry) for entry in value)
    return value
