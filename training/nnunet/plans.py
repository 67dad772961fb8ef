"""Plans: `plans.json` and `dataset.json` of a trained nnU-Net v2 model, as far as they decide on its answer.

nnU-Net may turn a scan's axes before anything else (`transpose_forward`); a plan here has them turned back, (z, y, x).
Lengths mm. What cannot be imported is refused in a line that says what can.
"""

import math
import re
from dataclasses import dataclass
from typing import Any

from app.errors import SetupError
from app.models.bundle import BACKGROUND, MOST_LABELS, Intensity
from app.types import Shape, Spacing
from training.networks.planned_unet import Architecture, Triple
from training.nnunet.tables import Table, listed, shown

FULL = "PlainConvUNet and ResidualEncoderUNet in 3-D, of one CT channel, without a cascade"
MOST_STAGES, MOST_CHANNELS, MOST_BLOCKS, MOST_KERNEL, MOST_STRIDE = 12, 4096, 32, 15, 8
MOST_SIDE, MOST_VOXELS = 1024, 1 << 26  # of a window; nnU-Net's own have some millions
MOST_FEATURE_BYTES = 4 << 30  # of the first stage's features of a window, of which several are in memory at once
LEAST_MM, MOST_MM = 0.01, 100.0
MOST_SLOPE = 1e3
MOST_NAME = 100  # letters of a label
READERS = {  # nnU-Net's way to read a file: how a bundle calls the order of its axes
    "SimpleITKIO": "file",
    "NibabelIO": "file",
    "SimpleITKIOWithReorient": "ras",
    "NibabelIOWithReorient": "ras",
}
CONVOLUTIONS = ("torch.nn.modules.conv.Conv3d", "torch.nn.Conv3d")
INSTANCE_NORMS = ("torch.nn.modules.instancenorm.InstanceNorm3d", "torch.nn.InstanceNorm3d")
BATCH_NORMS = ("torch.nn.modules.batchnorm.BatchNorm3d", "torch.nn.BatchNorm3d")
LEAKY = ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU")
RELU = ("torch.nn.ReLU", "torch.nn.modules.activation.ReLU")
BASIC_BLOCK = "dynamic_network_architectures.building_blocks.residual.BasicBlockD"
NETWORKS = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
PACKAGE = "dynamic_network_architectures.architectures."
BATCH_NORM_TRAINER = "nnUNetTrainerBN"  # puts batch norm in the place of what the plan says
RESAMPLING = "resample_data_or_seg_to_shape"
RESAMPLING_KEYS = {"is_seg", "order", "order_z", "force_separate_z", "separate_z_anisotropy_threshold"}
DROPOUTS = ("torch.nn.modules.dropout.Dropout3d", "torch.nn.Dropout3d")
CLASSES = ("block", "conv_op", "dropout_op", "nonlin", "norm_op")  # arguments that nnU-Net imports by name
ARGUMENTS = {  # of those classes
    "norm_op_kwargs": {"eps", "affine", "momentum", "track_running_stats"},
    "dropout_op_kwargs": {"p", "inplace"},
    "nonlin_kwargs": {"inplace", "negative_slope"},
}
MOST_INHERITED = 10
ANISOTROPY = 3.0  # nnU-Net's, where the plan names no other
PLAIN_KEYS = {
    "n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage",
    "n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin",
    "nonlin_kwargs", "deep_supervision", "nonlin_first",
}  # fmt: skip
RESIDUAL_KEYS = PLAIN_KEYS - {"n_conv_per_stage", "nonlin_first"} | {
    "n_blocks_per_stage", "block", "bottleneck_channels", "stem_channels",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Intensities:
    """CTNormalization's: HU clipped to [low, high], less the mean, over the deviation."""

    low: float
    high: float
    mean: float
    deviation: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One configuration of a model.

    data_set, configuration: what nnU-Net calls them. architecture: its axes (z, y, x). axes: of z, y and x, which of
    the plan's own they are. window: sides in voxels. intensities: None where a scan's own mean and deviation count.
    orientation: as a bundle says it. separates_above: longest over shortest side of a voxel, above which slices are
    resampled apart; None for never. labels: by id, background first. regions: ids in the order in which they are
    painted, one score channel each; empty where the highest score wins. kwargs: of nnU-Net's network class, as the
    plan has them, its axes too.
    """

    data_set: str
    configuration: str
    architecture: Architecture
    axes: Triple
    spacing_mm: Spacing
    window: Shape
    intensities: Intensities | None
    orientation: str
    separates_above: float | None
    labels: tuple[str, ...]
    regions: tuple[int, ...]
    kwargs: dict[str, Any]

    @property
    def outputs(self) -> int:
        """Score channels."""
        return len(self.regions) or len(self.labels)


def read_plan(plans: Table, dataset: Table, configuration: str, *, trainer: str) -> Plan:
    """The configuration of that name. trainer: the class that trained it, by name. SetupError says what is wrong."""
    chosen = _with_inherited(plans.table("configurations"), configuration)
    if chosen.has("previous_stage"):
        raise SetupError(f"{chosen.file}: {configuration} is a cascade's second stage; supported are {FULL}")
    sides = chosen.entries("patch_size")
    if len(sides) != 3:
        raise SetupError(f"{chosen.file}: {configuration} has windows of {len(sides)} dimensions; supported are {FULL}")
    _check_channels(dataset)
    _check_known(plans, "label_manager", ("LabelManager",), absent=True)
    _check_known(chosen, "preprocessor_name", ("DefaultPreprocessor",), absent=True)
    axes = _axes(plans)
    kwargs, residual = _network(chosen)
    if trainer == BATCH_NORM_TRAINER:
        kwargs |= {"norm_op": BATCH_NORMS[0], "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    architecture = _architecture(Table(kwargs, chosen.file, f"{chosen.field}.architecture.arch_kwargs"), residual, axes)
    labels, regions = _labels(dataset)
    return Plan(
        data_set=plans.text("dataset_name"),
        configuration=configuration,
        architecture=architecture,
        axes=axes,
        spacing_mm=_spacing(chosen, axes),
        window=_window(chosen, axes, architecture),
        intensities=_intensities(plans, chosen),
        orientation=READERS[_check_known(plans, "image_reader_writer", tuple(READERS))],
        separates_above=_separates_above(chosen),
        labels=labels,
        regions=regions,
        kwargs=kwargs,
    )


def turned(values: list[Any] | tuple[Any, ...], axes: Triple) -> tuple[Any, Any, Any]:
    """Three values along the plan's axes, along (z, y, x).

    >>> turned(("along x", "along z", "along y"), (1, 2, 0))
    ('along z', 'along y', 'along x')
    """
    z, y, x = axes
    return values[z], values[y], values[x]


def _with_inherited(configurations: Table, name: str, seen: tuple[str, ...] = ()) -> Table:
    """A configuration, with what it does not say itself from the one that it inherits from."""
    known = [key for key, value in configurations.values.items() if isinstance(value, dict)]
    if name in seen:
        raise SetupError(
            f"{configurations.file}: configurations inherit in a circle: {shown(' from '.join((*seen, name)))}"
        )
    if name not in known:
        there = listed([*map(shown, known)]) or "none"
        raise SetupError(f"{configurations.file}: no configuration {name[:MOST_NAME]!r}; there are {there}")
    if len(seen) > MOST_INHERITED:
        raise SetupError(f"{configurations.file}: configurations inherit more than {MOST_INHERITED} times")
    own = configurations.table(name)
    if not own.has("inherits_from"):
        return own
    base = _with_inherited(configurations, own.text("inherits_from"), (*seen, name))
    return Table({**base.values, **own.values}, own.file, own.field)


def _check_channels(dataset: Table) -> None:
    key = "channel_names" if dataset.has("channel_names") else "modality"  # the older word
    channels = dataset.table(key).values
    if len(channels) != 1:
        raise SetupError(f"{dataset.file}: field {key} names {len(channels)} channels; supported are {FULL}")


def _check_known(table: Table, name: str, known: tuple[str, ...], *, absent: bool = False) -> str:
    """The text of a field. absent: whether it may be missing, the first of `known` being meant then."""
    if absent and not table.has(name):
        return known[0]
    value = table.text(name)
    if value not in known:
        raise table.wrong(name, f"one of {', '.join(known)}: nothing else is supported")
    return value


def _axes(plans: Table) -> Triple:
    """Of z, y and x the axis of the plan; transpose_forward says it the other way round."""
    forward = plans.wholes("transpose_forward", 0, 2)
    if sorted(forward) != [0, 1, 2]:
        raise plans.wrong("transpose_forward", "the axes 0, 1 and 2 in some order")
    return forward.index(0), forward.index(1), forward.index(2)


def _network(chosen: Table) -> tuple[dict[str, Any], bool]:
    """Arguments of nnU-Net's network class as the plan has them, and whether it is the residual one."""
    if not chosen.has("architecture"):
        return _older_network(chosen)
    architecture = chosen.table("architecture")
    name = architecture.text("network_class_name")
    short = name.rpartition(".")[2]
    if short not in NETWORKS or (name != short and not name.startswith(PACKAGE)):
        raise SetupError(f"{chosen.file}: network {name[:100]!r} is not known; supported are {FULL}")
    kwargs = architecture.table("arch_kwargs")
    residual = NETWORKS[short]
    by_name = architecture.entries("_kw_requires_import") if architecture.has("_kw_requires_import") else []
    if any(name not in CLASSES for name in by_name):
        raise architecture.wrong("_kw_requires_import", f"of {', '.join(CLASSES)}")
    for key in kwargs.values:
        if key not in (RESIDUAL_KEYS if residual else PLAIN_KEYS):
            raise SetupError(f"{chosen.file}: field {kwargs.field}.{shown(key)} is not known; supported are {FULL}")
    return dict(kwargs.values), residual


def _older_network(chosen: Table) -> tuple[dict[str, Any], bool]:
    """Of plans before 2.3.1, which say a network's size alone."""
    name = chosen.text("UNet_class_name")
    if name not in NETWORKS:
        raise SetupError(f"{chosen.file}: network {name[:100]!r} is not known; supported are {FULL}")
    convolutions = chosen.wholes("n_conv_per_stage_encoder", 1, MOST_BLOCKS)
    first, most = (chosen.whole(key, 1, MOST_CHANNELS) for key in ("UNet_base_num_features", "unet_max_num_features"))
    kwargs = {
        "n_stages": len(convolutions),
        "features_per_stage": [min(first * 2**stage, most) for stage in range(len(convolutions))],
        "conv_op": CONVOLUTIONS[0],
        "kernel_sizes": chosen.entries("conv_kernel_sizes"),
        "strides": chosen.entries("pool_op_kernel_sizes"),
        "n_blocks_per_stage" if NETWORKS[name] else "n_conv_per_stage": list(convolutions),
        "n_conv_per_stage_decoder": chosen.entries("n_conv_per_stage_decoder"),
        "conv_bias": True,
        "norm_op": INSTANCE_NORMS[0],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": LEAKY[0],
        "nonlin_kwargs": {"inplace": True},
    }
    return kwargs, NETWORKS[name]


def _architecture(kwargs: Table, residual: bool, axes: Triple) -> Architecture:
    """What the arguments of nnU-Net's network class say, along (z, y, x)."""
    stages = kwargs.whole("n_stages", 2, MOST_STAGES)
    _check_known(kwargs, "conv_op", CONVOLUTIONS)
    batch_norm = _check_known(kwargs, "norm_op", INSTANCE_NORMS + BATCH_NORMS) in BATCH_NORMS
    norm = kwargs.table("norm_op_kwargs") if kwargs.has("norm_op_kwargs") else Table({}, kwargs.file, "norm_op_kwargs")
    if norm.flag("track_running_stats", batch_norm) != batch_norm:
        raise norm.wrong("track_running_stats", "as it is by itself: nothing else is supported")
    if not norm.number("eps", 1e-5) > 0:
        raise norm.wrong("eps", "above zero")
    if kwargs.flag("nonlin_first", False):
        raise kwargs.wrong("nonlin_first", "false: nothing else is supported")
    _check_known(kwargs, "block", (BASIC_BLOCK,), absent=True)
    _check_known(kwargs, "dropout_op", DROPOUTS, absent=True)
    if kwargs.has("deep_supervision"):
        kwargs.flag("deep_supervision")
    for name, known in ARGUMENTS.items():
        if kwargs.has(name) and (others := kwargs.table(name).values.keys() - known):
            raise kwargs.table(name).wrong(min(others), "absent: it is not known")
    if kwargs.has("bottleneck_channels"):
        raise kwargs.wrong("bottleneck_channels", "null: nothing else is supported")
    try:
        return Architecture(
            residual=residual,
            channels=_each(kwargs, "features_per_stage", stages, MOST_CHANNELS),
            kernels=_triples(kwargs, "kernel_sizes", stages, MOST_KERNEL, axes),
            strides=_triples(kwargs, "strides", stages, MOST_STRIDE, axes),
            blocks=_each(kwargs, "n_blocks_per_stage" if residual else "n_conv_per_stage", stages, MOST_BLOCKS),
            up_blocks=_each(kwargs, "n_conv_per_stage_decoder", stages - 1, MOST_BLOCKS),
            bias=kwargs.flag("conv_bias", False),
            batch_norm=batch_norm,
            eps=norm.number("eps", 1e-5),
            affine=norm.flag("affine", batch_norm),
            slope=_slope(kwargs),
            stem_channels=kwargs.whole("stem_channels", 1, MOST_CHANNELS) if kwargs.has("stem_channels") else None,
        )
    except ValueError as error:
        raise SetupError(f"{kwargs.file}: {kwargs.field} {error}") from error


def _slope(kwargs: Table) -> float:
    nonlinearity = _check_known(kwargs, "nonlin", LEAKY + RELU)
    if nonlinearity in RELU or not kwargs.has("nonlin_kwargs"):
        return 0.0 if nonlinearity in RELU else 0.01
    values = kwargs.table("nonlin_kwargs")
    slope = values.number("negative_slope", 0.01)
    if not abs(slope) <= MOST_SLOPE:
        raise values.wrong("negative_slope", f"{MOST_SLOPE:.0f} at the most")
    return slope


def _each(kwargs: Table, name: str, count: int, most: int) -> tuple[int, ...]:
    """A whole number of every stage; one alone is of all of them."""
    if not isinstance(kwargs.values.get(name), list):
        return count * (kwargs.whole(name, 1, most),)
    values = kwargs.wholes(name, 1, most)
    if len(values) != count:
        raise kwargs.wrong(name, f"a list of {count} whole numbers")
    return values


def _triples(kwargs: Table, name: str, count: int, most: int, axes: Triple) -> tuple[Triple, ...]:
    """Three whole numbers of every stage, along (z, y, x); one alone is of all axes."""
    values = kwargs.values.get(name)
    entries = values if isinstance(values, list) else count * [values]
    triples = []
    for entry in entries:
        sides = entry if isinstance(entry, list) else 3 * [entry]
        if len(sides) != 3 or not all(type(side) is int and 1 <= side <= most for side in sides):
            raise kwargs.wrong(name, f"of every stage three whole numbers from 1 to {most}")
        triples.append(turned(sides, axes))
    if len(triples) != count:
        raise kwargs.wrong(name, f"a list of {count} entries")
    return tuple(triples)


def _spacing(chosen: Table, axes: Triple) -> Spacing:
    spacing = chosen.numbers("spacing")
    if len(spacing) != 3 or not all(LEAST_MM <= mm <= MOST_MM for mm in spacing):
        raise chosen.wrong("spacing", f"three lengths from {LEAST_MM} to {MOST_MM:.0f} mm")
    return turned(spacing, axes)


def _window(chosen: Table, axes: Triple, architecture: Architecture) -> Shape:
    sides = turned(chosen.wholes("patch_size", 1, MOST_SIDE), axes)
    if math.prod(sides) > MOST_VOXELS:
        raise chosen.wrong("patch_size", f"of {MOST_VOXELS} voxels at the most")
    if math.prod(sides) * architecture.channels[0] * 4 > MOST_FEATURE_BYTES:
        raise chosen.wrong("patch_size", f"smaller: features of a window need more than {MOST_FEATURE_BYTES >> 30} GB")
    if any(side % multiple for side, multiple in zip(sides, architecture.multiple, strict=True)):
        raise chosen.wrong("patch_size", f"multiples of {architecture.multiple}, the strides' products (z, y, x)")
    return sides


def _intensities(plans: Table, chosen: Table) -> Intensities | None:
    schemes, masked = chosen.entries("normalization_schemes"), chosen.values.get("use_mask_for_norm", [False])
    if schemes == ["ZScoreNormalization"] and masked == [False]:
        return None
    if schemes != ["CTNormalization"]:
        raise chosen.wrong(
            "normalization_schemes", "CTNormalization, or ZScoreNormalization without a mask: nothing else is supported"
        )
    name = "foreground_intensity_properties_per_channel"
    older = "foreground_intensity_properties_by_modality"
    found = plans.table(name if plans.has(name) else older).table("0")
    low, high, mean, deviation = (found.number(key) for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
    try:
        Intensity(low, high, mean, deviation)
    except ValueError as error:
        raise SetupError(f"{plans.file}: field {found.field} {error}") from error
    return Intensities(low, high, mean, deviation)


def _separates_above(chosen: Table) -> float | None:
    """Of the resampling of scans and of scores, which must be nnU-Net's own and agree."""
    found = set()
    for what, order in (("data", 3), ("probabilities", 1)):
        name = f"resampling_fn_{what}"
        _check_known(chosen, name, (RESAMPLING,))
        how = chosen.table(f"{name}_kwargs")
        for key in how.values.keys() - RESAMPLING_KEYS:
            raise how.wrong(key, "absent: only nnU-Net's own resampling is supported")
        usual = not how.flag("is_seg", False) and how.number("order", 3) == order and how.number("order_z", 0) == 0
        if not usual or how.values.get("force_separate_z", False) not in (None, False):
            raise chosen.wrong(f"{name}_kwargs", f"nnU-Net's own (order {order}, order_z 0): nothing else is supported")
        above = how.number("separate_z_anisotropy_threshold", ANISOTROPY)
        if above < 1:
            raise how.wrong("separate_z_anisotropy_threshold", "1 or more")
        found.add(above if how.values.get("force_separate_z", False) is None else None)
    if len(found) != 1:
        raise chosen.wrong("resampling_fn_probabilities_kwargs", "as those of resampling_fn_data")
    return found.pop()


def _labels(dataset: Table) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names by id, background first, and the ids of regions in the order in which they are painted."""
    labels = dataset.table("labels")
    if labels.values.get(BACKGROUND) != 0 or isinstance(labels.values[BACKGROUND], bool):
        raise labels.wrong(BACKGROUND, "0")
    others = {name: value for name, value in labels.values.items() if name not in (BACKGROUND, "ignore")}
    with_regions = any(isinstance(value, list) and len(value) > 1 for value in others.values())
    if with_regions:
        order = _region_order(dataset, labels, others)
        numbers = dict(zip(others, order, strict=True))
    else:
        order = ()
        numbers = {name: _number(labels, name) for name in others}
    if sorted(numbers.values()) != list(range(1, len(numbers) + 1)) or not 1 <= len(numbers) < MOST_LABELS:
        raise SetupError(
            f"{dataset.file}: the mask's ids must be 1 to {len(numbers)} (and {MOST_LABELS - 1} at the most), each "
            f"once, found {str(sorted(numbers.values()))[:100]}"
        )
    if labels.has("ignore") and not with_regions and labels.values["ignore"] != len(numbers) + 1:
        raise labels.wrong("ignore", f"the highest, {len(numbers) + 1}")
    names = [BACKGROUND, *(_safe(labels, name) for name in sorted(numbers, key=lambda name: numbers[name]))]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SetupError(f"{dataset.file}: two labels are both called {twice!r} here; rename one of them")
    return tuple(names), order


def _region_order(dataset: Table, labels: Table, regions: dict[str, Any]) -> tuple[int, ...]:
    """Ids in the order in which regions, and so the score channels, stand in dataset.json."""
    for name, value in regions.items():
        members = value if isinstance(value, list) else [value]
        if not members or not all(type(member) is int and 0 < member < MOST_LABELS for member in members):
            raise labels.wrong(name, f"whole numbers from 1 to {MOST_LABELS - 1}")
    order = dataset.wholes("regions_class_order", 1, MOST_LABELS - 1)
    if len(order) != len(regions):
        raise dataset.wrong("regions_class_order", f"a list of {len(regions)} ids, one of each region")
    return order


def _number(labels: Table, name: str) -> int:
    """A label's id, which may stand in a list by itself."""
    value = labels.values[name]
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if type(value) is not int:
        raise labels.wrong(name, "a whole number, or a list of them")
    return value


def _safe(labels: Table, name: str) -> str:
    """A label's name as bundles have them: letters and digits of any script, words joined by `_`."""
    safe = "_".join(re.findall(r"\w+", name.lower()))
    if not safe or len(safe) > MOST_NAME:
        raise SetupError(f"{labels.file}: {name[:MOST_NAME]!r} cannot be a label's name; rename it")
    return safe
