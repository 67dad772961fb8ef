"""Recipe: one file that holds the choices of a training run. Lengths mm, axes (z, y, x), intensities HU.

Written as TOML (`recipes/`), packed as JSON: a pack's machine need not have what `app` needs, so nothing of `app` is
imported until a TOML file is read.
"""

import json
import math
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

# Of the deepest level, in voxels. With a side of 2, torch 2.13's gradients of a 3x3x3 convolution in bfloat16 are wrong
# on a CPU, different at every call and now and then not finite; from 3 on they agree with float32 to 0.3 %.
SMALLEST_SIDE = 3
PARTIAL_CONVOLUTION_STRIDE = 2  # of its scores; its features end at 4, interpolation brings them to 2

QUARTER_RESOLUTION_STRIDE = 4  # of its first level; its scores are twice as fine

LESION = 14  # the challenge's id of a lesion
NORMS = ("batch-renorm", "instance")
WITH_NORMS = ("half-resolution", "quarter-resolution")  # kinds of networks that can have any of NORMS
NETWORKS = ("plain-unet", "partial-convolution", *WITH_NORMS, "nnunet", "scale-aware")

# Strides into every level of an nnU-Net, (z, y, x), the finest first; `networks/nnunet.py` has the rest of each plan.
_HALF, _IN_PLANE, _KEPT = (2, 2, 2), (1, 2, 2), (1, 1, 1)
PLANS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "isotropic": (_KEPT, _HALF, _HALF, _HALF, _HALF, _IN_PLANE),
    "distilled": (_KEPT, _HALF, _HALF, _HALF, _HALF, _KEPT, _IN_PLANE),
    "small": (_KEPT, _IN_PLANE, _HALF, _HALF, _HALF),
    "anisotropic": (_KEPT, _IN_PLANE, _HALF, _HALF, _HALF, _IN_PLANE),
}

# background, then the organs of the challenge by id
CHALLENGE_LABELS = (
    "background", "liver", "right_kidney", "spleen", "pancreas", "aorta", "inferior_vena_cava", "right_adrenal_gland",
    "left_adrenal_gland", "gallbladder", "esophagus", "stomach", "duodenum", "left_kidney",
)  # fmt: skip

Shape: TypeAlias = tuple[int, int, int]
Spacing: TypeAlias = tuple[float, float, float]


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


def _range(name: str, ends: tuple[float, float]) -> None:
    if not 0 < ends[0] <= ends[1]:
        raise ValueError(f"{name} must be two lengths above zero, the smaller first, found {ends}")


def _shares(**values: float) -> None:
    """Probabilities, and shares of one whole."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, found {value}")


@dataclass(frozen=True, slots=True)
class Intensity:
    """Clip to [low, high] HU, subtract a mean, divide by a deviation; as `app.steps.normalise` does."""

    low: float
    high: float
    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not self.low < self.high or not self.deviation > 0:
            raise ValueError(f"needs low < high and deviation > 0, found {self}")


@dataclass(frozen=True, slots=True)
class Data:
    """Who is trained on.

    fold_patients: kept for choices; left out of every stage that holds the fold out. exclude: scans that are never
    shown. without_above, without_below: scans whose slices above the highest, or below the lowest, label are never
    shown. reference_masks: where the labels come from, for the bundle. All these names must be in the data.
    one_organ: whether all organs are one class, in what the network learns (augmentation still knows them). manual:
    patterns of the names of scans whose labels a person has drawn, such as "FLARE22_*"; the others' a network has made.
    """

    fold_patients: tuple[str, ...]
    exclude: tuple[str, ...]
    without_above: tuple[str, ...]
    without_below: tuple[str, ...]
    reference_masks: str
    one_organ: bool = False
    manual: tuple[str, ...] = ()

    def is_manual(self, scan: str) -> bool:
        """Whether a person has drawn the labels of a scan of this name."""
        return any(fnmatchcase(scan, pattern) for pattern in self.manual)

    @property
    def without(self) -> dict[str, list[str]]:
        """What is left out of the volumes themselves, by field."""
        return {"without_above": sorted(self.without_above), "without_below": sorted(self.without_below)}


@dataclass(frozen=True, slots=True)
class Network:
    """kind: one of NETWORKS (`training.networks`). channels: per level, each half the size of the one above but for
    the strides of a plan.

    stem_stride: how much coarser than the input the first level is (1 for half resolution, whose entry and exit see
    every voxel, and for a plan; 4 for quarter resolution). supervised_levels: how many of the finest scores the loss
    sees. plan: of an "nnunet", one of PLANS, which gives strides and kernels. depths: of a "scale-aware" network,
    blocks a level. norm: of one of WITH_NORMS, one of NORMS. fixed_levels: of how many of the finest levels of a
    "half-resolution" network the norms are fixed, once `training.fix_norms` has measured them.
    """

    kind: str
    channels: tuple[int, ...]
    stem_stride: int
    supervised_levels: int
    plan: str = ""
    depths: tuple[int, ...] = ()
    norm: str = NORMS[0]
    fixed_levels: int = 0

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, NETWORKS)
        _one_of("norm", self.norm, NORMS)
        if self.kind == "half-resolution" and (self.stem_stride != 1 or len(self.channels) < 2):
            raise ValueError("a half-resolution network has stem_stride 1 and two levels at least")
        if self.kind == "quarter-resolution" and self.stem_stride != QUARTER_RESOLUTION_STRIDE:
            raise ValueError(f"a quarter-resolution network has stem_stride {QUARTER_RESOLUTION_STRIDE}")
        if self.kind not in WITH_NORMS and self.norm != NORMS[0]:
            raise ValueError(f"a {self.kind} network has no choice of norm")
        if self.kind != "half-resolution" and self.fixed_levels:
            raise ValueError(f"a {self.kind} network has no fixed_levels")
        if not 0 <= self.fixed_levels <= len(self.channels):
            raise ValueError(f"fixed_levels must be from 0 to the number of channels, found {self.fixed_levels}")
        if self.kind in ("partial-convolution", "scale-aware") and self.supervised_levels != 1:
            raise ValueError(f"a {self.kind} network has one supervised level")
        self._check_plan()
        if not 1 <= self.supervised_levels <= len(self.channels) or self.stem_stride < 1:
            raise ValueError("supervised_levels must be from 1 to the number of channels, stem_stride above zero")
        if min(self.channels) < 1:
            raise ValueError(f"channels must be above zero, found {self.channels}")

    def _check_plan(self) -> None:
        if self.kind == "nnunet":
            _one_of("plan", self.plan, tuple(PLANS))
            levels = len(PLANS[self.plan])
            if len(self.channels) != levels or self.supervised_levels >= levels or self.stem_stride != 1:
                raise ValueError(
                    f"the plan {self.plan} has {levels} levels of channels, all but the coarsest supervised at the "
                    "most, and stem_stride 1"
                )
        elif self.plan:
            raise ValueError(f"a {self.kind} network has no plan")
        if bool(self.depths) != (self.kind == "scale-aware"):
            raise ValueError("depths goes with a scale-aware network, and only with that")
        if self.kind == "scale-aware" and (len(self.channels) != len(self.depths) or self.stem_stride != 1):
            raise ValueError("a scale-aware network has a depth for each of its channels and stem_stride 1")

    @property
    def multiple(self) -> Shape:
        """Of the sides of an input, (z, y, x)."""
        if self.kind == "nnunet":
            z, y, x = (math.prod(along) for along in zip(*PLANS[self.plan], strict=True))
            return z, y, x
        halvings = len(self.channels) - (0 if self.kind in ("half-resolution", "scale-aware") else 1)
        side = int(self.stem_stride * 2**halvings)
        return side, side, side

    @property
    def label_stride(self) -> int:
        """How much coarser than the input the finest scores are."""
        if self.kind == "quarter-resolution":
            return QUARTER_RESOLUTION_STRIDE // 2
        return PARTIAL_CONVOLUTION_STRIDE if self.kind == "partial-convolution" else self.stem_stride


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of a coarse-to-fine run, each stage beginning with the averaged weights of the one before.

    kind: "patch" draws blocks at the spacing, "scan" whole scans, cut, padded and stitched, of any spacing.
    spacing_mm: of the volumes samples are read from. shape: voxels of a sample. hold_out: whether the fold's patients
    are left out, and the network is evaluated on them every `evaluate_every` steps and at the end of the stage.
    asks_teacher: whether the loss hears the teacher, if it has one; on a coarse grid it would see 20 times the voxels.
    """

    name: str
    kind: str
    spacing_mm: Spacing
    shape: Shape
    batch: int
    steps: int
    learning_rate: float
    hold_out: bool
    evaluate_every: int | None = None
    asks_teacher: bool = True

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("patch", "scan"))
        if min(*self.shape, self.batch, self.steps) < 1 or min(*self.spacing_mm, self.learning_rate) <= 0:
            raise ValueError("shape, batch, steps, spacing_mm and learning_rate must be above zero")
        if self.hold_out != (self.evaluate_every is not None and self.evaluate_every > 0):
            raise ValueError("evaluate_every goes with hold_out = true, and only with that")

    def shows(self, patient: str, data: Data, *, fold: bool) -> bool:
        """Whether a patient's volumes are among those this stage is evaluated on (`fold`), or trains on."""
        in_fold = patient in data.fold_patients
        return in_fold if fold else not (self.hold_out and in_fold)


@dataclass(frozen=True, slots=True)
class Sampling:
    """What samples show, as shares of all samples.

    phantom_share: no patient (air, water, a head or legs made of ellipses). organ_free_share: the parts of scans beyond
    their labels. organ_share: patches and boxes centred near a random organ rather than anywhere. box_share: of the
    whole scans, those cut to a box, each side drawn from `box_mm`. slab_share, stitched_share, padded_share: of the
    rest, those cut to a slab of `slab_mm`, made of pieces of several patients end to end, and surrounded by air, both
    up to `body_mm`; the others show the scan from end to end.
    """

    phantom_share: float
    organ_free_share: float
    organ_share: float
    slab_share: float
    stitched_share: float
    padded_share: float
    slab_mm: tuple[float, float]
    body_mm: float
    box_share: float = 0.0
    box_mm: tuple[float, float] = (70.0, 250.0)

    def __post_init__(self) -> None:
        _shares(**{field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_share")})
        _shares(
            phantom_share_and_organ_free_share=self.phantom_share + self.organ_free_share,
            slab_share_and_stitched_share_and_padded_share=self.slab_share + self.stitched_share + self.padded_share,
        )
        _range("slab_mm", self.slab_mm)
        _range("box_mm", self.box_mm)
        _range("body_mm", (self.body_mm, self.body_mm))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Standard deviations and probabilities of what one sample goes through; HU before normalisation.

    Lists run over the classes, background first. mirror_pairs: labels that change places in a mirror image.
    zoom: of 1 - 1 / magnification of one organ, cut off at half either way (twice as large, two thirds as large);
    zoom_mm: the range of the distance within which that fades, one standard deviation. wall_mm, fill_hu: the ranges
    of a hollow organ's wall and of what it is made to hold, low HU more often. thick_slice_mm: that of thicknesses.
    lesion_organs: those that made-up lesions (`training.lesions`) grow in; their label is LESION. cut_mix_probability:
    of patches, of which a box shows another one.
    """

    rotation_degrees: float
    scale: float
    axis_scale: float
    deformation_probability: float
    deformation_mm: float
    zoom_probability: float
    zoom: float
    zoom_mm: tuple[float, float]
    mirror_probability: float
    mirror_pairs: tuple[tuple[int, int], ...]
    cut_ends_probability: float
    cut_sides_probability: float
    couch_probability: float
    arms_probability: float
    remove_organ_probability: float
    removable_organs: tuple[int, ...]
    fill_probability: float
    hollow_organs: tuple[int, ...]
    wall_mm: tuple[float, float]
    fill_hu: tuple[float, float]
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
    lesion_probability: float = 0.0
    lesion_organs: tuple[int, ...] = ()
    cut_mix_probability: float = 0.0

    def __post_init__(self) -> None:
        numbers = {field.name: getattr(self, field.name) for field in fields(self) if field.type is float}
        _shares(**{name: value for name, value in numbers.items() if name.endswith("_probability")})
        if min(*numbers.values(), *self.organ_shift_hu) < 0:
            raise ValueError("deviations must be zero or more")
        _range("thick_slice_mm", self.thick_slice_mm)
        _range("zoom_mm", self.zoom_mm)
        _range("wall_mm", self.wall_mm)
        if not self.fill_hu[0] <= self.fill_hu[1]:
            raise ValueError(f"fill_hu must be two HU, the lower first, found {self.fill_hu}")
        paired = {organ for pair in self.mirror_pairs for organ in pair}
        lesions = {*self.lesion_organs, *((LESION,) if self.lesion_probability else ())}
        if self.lesion_probability and not self.lesion_organs:
            raise ValueError("lesion_probability needs lesion_organs")
        known = set(range(1, len(self.organ_shift_hu)))
        if not {*self.removable_organs, *self.hollow_organs, *paired, *lesions} <= known:
            raise ValueError(
                "removable_organs, hollow_organs and mirror_pairs must name organs of organ_shift_hu, as "
                f"must lesion_organs; lesions themselves are {LESION}"
            )


@dataclass(frozen=True, slots=True)
class Optimiser:
    """kind: "adamw", "muon" or "sgd" (`training.optimiser`). average_decay: of the weights' moving average, which
    ships; 0 for none.

    momentum: of "sgd", Nesterov's. schedule: how the rate falls over a stage, "cosine" or "polynomial" (nnU-Net's).
    """

    kind: str
    weight_decay: float
    warm_up_steps: int
    gradient_norm: float
    average_decay: float
    momentum: float = 0.99
    schedule: str = "cosine"

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("adamw", "muon", "sgd"))
        _one_of("schedule", self.schedule, ("cosine", "polynomial"))
        if not 0 < self.momentum < 1:
            raise ValueError(f"momentum must be above 0 and below 1, found {self.momentum}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be zero or more, found {self.weight_decay}")
        if self.warm_up_steps < 1 or self.gradient_norm <= 0 or not 0 <= self.average_decay < 1:
            raise ValueError("warm_up_steps and gradient_norm must be above zero, average_decay from 0 to below 1")


@dataclass(frozen=True, slots=True)
class Loss:
    """kind: "batch" (`training.losses`: organs in the batch and organs that are not weigh differently), "nnunet" (all
    organs weigh the same) or "weighted" (`training.weighted_loss`, paper 000's).

    class_weights: of the cross-entropy, background first. absent_weight: of the Dice of organs not in the batch, for
    "batch". dice_by_sample, dice_of_background: for "nnunet", whether the Dice is that of each sample, and whether
    background has one. dice_weights: for "weighted", background first, of scans with labels of a network;
    warm_up_steps: how many pass until those and class_weights hold whole. counted_levels: how many of the supervised
    levels count, the finest first; 0 for all.
    teacher_share: of the cross-entropy's target that is the teacher's class probabilities rather than the mask.
    disagreement_weight, unsure_weight: of voxels where the teacher's class is not the mask's, and where its highest
    probability is below one half; 1 leaves them alone. distillation_weight: of the distance of the network's deepest
    features from those of another run's network (`training.distillation`).
    """

    class_weights: tuple[float, ...]
    absent_weight: float
    teacher_share: float
    disagreement_weight: float
    unsure_weight: float
    distillation_weight: float = 0.0
    kind: str = "batch"
    dice_by_sample: bool = False
    dice_of_background: bool = False
    dice_weights: tuple[float, ...] = ()
    warm_up_steps: int = 0
    counted_levels: int = 0

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, ("batch", "nnunet", "weighted"))
        _shares(
            teacher_share=self.teacher_share,
            disagreement_weight=self.disagreement_weight,
            unsure_weight=self.unsure_weight,
        )
        if min(*self.class_weights, self.absent_weight, self.distillation_weight) < 0:
            raise ValueError("class_weights, absent_weight and distillation_weight must be zero or more")
        if self.counted_levels < 0:
            raise ValueError(f"counted_levels must be zero or more, found {self.counted_levels}")
        self._check_kind()

    def _check_kind(self) -> None:
        if (self.dice_by_sample or self.dice_of_background) and self.kind != "nnunet":
            raise ValueError('dice_by_sample and dice_of_background go with kind = "nnunet", and only with that')
        if self.kind != "weighted":
            if self.dice_weights or self.warm_up_steps:
                raise ValueError('dice_weights and warm_up_steps go with kind = "weighted", and only with that')
            return
        if len(self.dice_weights) != len(self.class_weights) or min(*self.dice_weights, *self.class_weights) <= 0:
            raise ValueError("dice_weights must be as many as class_weights, and all of them above zero")
        if self.warm_up_steps < 1 or self.needs_teacher:
            raise ValueError('kind = "weighted" needs warm_up_steps of 1 or more, and hears no teacher')

    @property
    def needs_teacher(self) -> bool:
        """Whether training has to run one."""
        return self.teacher_share > 0 or self.disagreement_weight != 1 or self.unsure_weight != 1


@dataclass(frozen=True, slots=True)
class Export:
    """calibration_samples: drawn from training scans for INT8. window, resampling, licence: as `app.models.bundle`
    reads them. finest_level: where the way up of an "nnunet" ends in use, 0 being as fine as its input; the scores are
    enlarged (paper 003). engines: of the bundle; all that the role has without them. float32_layers: regular
    expressions of the layers that stay in float32 in INT8, by their names in OpenVINO. score_range: of the scores that
    INT8's answer tells apart, 255 steps from low to high; those beyond are as low or as high. Without it they are
    float32.
    """

    calibration_samples: int
    window: dict[str, Any] | None = None
    resampling: dict[str, Any] | None = None
    licence: str = ""
    finest_level: int = 0
    engines: tuple[str, ...] = ()
    float32_layers: tuple[str, ...] = ()
    score_range: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.score_range:
            return
        if len(self.score_range) != 2 or not -math.inf < self.score_range[0] < self.score_range[1] < math.inf:
            raise ValueError(f"score_range must be two numbers, the lower one first, found {list(self.score_range)}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run. labels: names of the classes, background first, as the bundle will have them."""

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
    labels: tuple[str, ...] = CHALLENGE_LABELS

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name must be that of a folder (letters, digits, _ - .), found {self.name!r}")
        _one_of("role", self.role, ("localiser", "fine"))
        if self.threads < 1 or self.seed < 0:
            raise ValueError(f"threads must be above zero and seed zero or more, found {self.threads} and {self.seed}")
        if not 0 < self.checkpoint_minutes <= 5:
            raise ValueError(f"checkpoint_minutes must be above 0 and 5 at most, found {self.checkpoint_minutes}")
        if self.data.one_organ:
            if self.classes != 2:
                raise ValueError("with data.one_organ there are two classes, background and organs")
        elif self.classes != self.label_classes:
            raise ValueError("loss.class_weights and augmentation.organ_shift_hu must name the same classes")
        if len(self.labels) != self.classes or len(set(self.labels)) != self.classes:
            raise ValueError(f"labels must be {self.classes} different names, as many as loss.class_weights")
        if self.labels[0] != CHALLENGE_LABELS[0]:
            raise ValueError(f"labels must begin with {CHALLENGE_LABELS[0]!r}, found {self.labels[0]!r}")
        if self.loss.distillation_weight and self.network.kind != "nnunet":
            raise ValueError("loss.distillation_weight is for networks of kind nnunet, whose features can be compared")
        if self.loss.counted_levels > self.network.supervised_levels:
            raise ValueError("loss.counted_levels must not be above network.supervised_levels")
        if self.export.finest_level and self.network.kind != "nnunet":
            raise ValueError("export.finest_level is for networks of kind nnunet, whose way up can end early")
        if not 0 <= self.export.finest_level < self.network.supervised_levels:
            raise ValueError("export.finest_level must be one of the supervised levels, from 0")
        if self.export.score_range and self.role != "fine":
            raise ValueError("export.score_range is for fine models, whose windows are added up")
        if self.augmentation.lesion_probability and self.network.label_stride != 1:
            raise ValueError("augmentation.lesion_probability needs scores, and labels, as fine as the input")
        self._check_role()
        self._check_stages()

    def _check_role(self) -> None:
        if self.role == "fine" and (self.network.label_stride != 1 or self.export.window is None):
            raise ValueError("a fine model has scores as fine as its input (stem_stride 1) and export.window")
        if self.role == "localiser" and self.export.window is not None:
            raise ValueError("a localiser sees whole scans and has no export.window")
        kind = "patch" if self.role == "fine" else "scan"
        if self.stages and self.stages[-1].kind != kind:
            raise ValueError(f'the last stage of a {self.role} is of kind "{kind}", what it is used on')

    def _check_stages(self) -> None:
        names = [stage.name for stage in self.stages]
        if not names or len(set(names)) != len(names):
            raise ValueError("a recipe needs one stage at least, each of another name")
        if sorted((stage.hold_out for stage in self.stages), reverse=True) != [s.hold_out for s in self.stages]:
            raise ValueError("once a stage has trained on the fold's patients, no later one can hold them out")
        if self.loss.needs_teacher and any(stage.kind == "scan" and stage.asks_teacher for stage in self.stages):
            raise ValueError("a teacher answers for patches, whose spacing is known; stages of scans cannot have one")
        multiple = self.network.multiple
        z, y, x = (SMALLEST_SIDE * side for side in multiple)
        for stage in self.stages:
            sides = list(zip(stage.shape, multiple, strict=True))
            if any(n % side or n < SMALLEST_SIDE * side for n, side in sides):
                rule = f"must be multiples of {multiple}, {(z, y, x)} at least"
                raise ValueError(f"stage {stage.name}: shape {stage.shape} {rule}")

    @property
    def classes(self) -> int:
        """Background and organs, as the network scores them."""
        return len(self.loss.class_weights)

    @property
    def label_classes(self) -> int:
        """Background and organs, as the labels of the data and augmentation know them."""
        return len(self.augmentation.organ_shift_hu)


def load_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file, or in the JSON file of a pack.

    SetupError names the TOML file and the entry that is unknown, missing or impossible. A JSON file was written from
    one that had been checked; ValueError names it if it has been changed into something else.
    """
    if path.suffix == ".json":
        try:
            return saved_recipe(json.loads(path.read_text()))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not a recipe as `save_recipe` writes it: {error}") from error
    from app.errors import SetupError
    from app.models.bundle import ENGINES, Resampling, Window
    from app.schema import parse
    from app.system.toml_file import read_toml

    recipe = parse(Recipe, read_toml(path), path)
    if recipe.export.window is not None:
        window = parse(Window, recipe.export.window, path, "export.window")
        for small, large, side in zip(window.smallest, window.largest, recipe.network.multiple, strict=True):
            if small % side or large % side or (small != large and window.multiple % side):
                raise SetupError(
                    f"{path}: field export.window: a window's sides must be multiples of {recipe.network.multiple}, "
                    "the network's; choose smallest, largest and multiple so"
                )
    if recipe.export.resampling is not None:
        parse(Resampling, recipe.export.resampling, path, "export.resampling")
    if unknown := [name for name in recipe.export.engines if name not in ENGINES]:
        raise SetupError(f"{path}: field export.engines must be of {', '.join(ENGINES)}, found {unknown[0]!r}")
    return recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
    """As JSON, which `load_recipe` reads without `app`."""
    path.write_text(json.dumps(as_table(recipe), indent=1) + "\n")


def saved_recipe(table: dict[str, Any]) -> Recipe:
    """`as_table` undone. TypeError, KeyError, ValueError or AttributeError for another table."""
    recipe: Recipe = _rebuilt(Recipe, table)
    return recipe


def as_table(recipe: Recipe) -> dict[str, Any]:
    """Tables, lists and scalars."""
    table: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return table


# What a run may change on its way: nothing that its past weights depend on.
FREE = ("threads", "checkpoint_minutes", "export")


def changed_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Where a recipe is not the one a run was begun with; stages that were added at its end are no change.

    Nor is a field that the run's recipe did not know yet, as long as it has its default.
    """
    with suppress(TypeError, KeyError, ValueError, AttributeError):  # of fields that are gone by now: as it stands
        before = as_table(saved_recipe(before))
    names = [name for name in now if name not in (*FREE, "stages") and before.get(name) != now[name]]
    begun = before.get("stages", [])
    return names + (["stages"] if not begun or now["stages"][: len(begun)] != begun else [])


def _rebuilt(kind: Any, value: Any) -> Any:
    """`dataclasses.asdict` undone, through JSON."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _rebuilt(hints[name], entry) for name, entry in value.items()})  # type: ignore[operator]
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_rebuilt(get_args(kind)[0], entry) for entry in value)
    return value
