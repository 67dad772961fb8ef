"""Export: `python -m training.export RECIPE --run DIR --data DIR --weights weights`. Averaged weights to a bundle.

Writes OpenVINO IR (float32 arithmetic, weights stored as float16 where that is exact enough), the same with INT8 layers
(NNCF post-training quantisation, calibrated on training scans), TorchScript, and `bundle.json` with their SHA-256 and
where they come from. In OpenVINO norms with statistics of their own are part of the convolutions, in TorchScript not.
"""

import argparse
import copy
import dataclasses
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.errors import VisceraError
from app.models.bundle import AXES, ENGINES, FILE_NAME, INT8, TORCHSCRIPT, Bundle, load_bundle
from app.models.engine import load_engine
from app.run.resources import thread_count
from training.evaluate import normalised
from training.networks import build_network
from training.networks.enlarged import Enlarged
from training.networks.fixed_norm import folded
from training.networks.half_resolution import HalfResolutionUNet, InBlocks
from training.networks.nnunet import NNUNet, shortened
from training.pack import is_pack, open_pack
from training.prepare import OnDemand
from training.recipe import Recipe, as_table, changed_fields, load_recipe
from training.run_files import AVERAGED, read_past, read_saved
from training.sample import Sampler

ROUNDING_SHARE = 0.01  # of the largest score, that float16 weights may move one by
ROUNDING_SAMPLES = 4
BYTE_STEPS = 255  # between the least and the largest byte
AGREEMENT_SAMPLES = 8
FLOAT32 = "openvino-float32"
ENGINE_FILES = {
    FLOAT32: ("model.xml", "model.bin"),
    INT8: ("model-int8.xml", "model-int8.bin"),
    TORCHSCRIPT: ("model.pt",),
}


def trained_network(recipe: Recipe, run: Path) -> nn.Module:
    """The recipe's network with the run's averaged weights, as it is used: its way up ends at `export.finest_level`."""
    network = build_network(recipe.network, recipe.classes)
    network.load_state_dict(read_saved(run / AVERAGED))
    network.eval()
    if recipe.export.finest_level and isinstance(network, NNUNet):
        return Enlarged(shortened(network, recipe.export.finest_level)).eval()
    return network


def rounded(network: nn.Module, samples: list[NDArray[np.float32]]) -> nn.Module | None:
    """The network with weights rounded to float16; None where that moves a score by more than a hundredth of the
    largest one."""
    candidate = copy.deepcopy(network).half().float()
    for sample in samples[:ROUNDING_SAMPLES]:
        with torch.inference_mode():
            before, after = network(torch.from_numpy(sample)), candidate(torch.from_numpy(sample))
        stays = (after - before).abs().max() <= ROUNDING_SHARE * before.abs().max()
        if not stays:  # nor where a weight became infinite, and scores NaN
            return None
    return candidate


def as_stored(network: nn.Module, samples: list[NDArray[np.float32]]) -> tuple[nn.Module, bool]:
    """The network as a bundle has it, and whether its weights are stored as float16."""
    lighter = rounded(network, samples)
    return (network, False) if lighter is None else (lighter, True)


def calibration_inputs(recipe: Recipe, data: Path, count: int) -> Iterator[NDArray[np.float32]]:
    """Normalised training samples (1, 1, z, y, x), undisturbed, at the last stage's grid; from a folder or a pack."""
    stage = recipe.stages[-1]
    volumes = open_pack(data).volumes(recipe, stage, False) if is_pack(data) else OnDemand(data, recipe, stage)
    sampler = Sampler(volumes, recipe, stage)
    rng = np.random.default_rng(recipe.seed)
    for _ in range(count):
        image, _ = sampler.draw_plain(rng)
        yield normalised(image, recipe.intensity)[None, None].numpy()


def export_openvino(
    network: nn.Module,
    recipe: Recipe,
    samples: list[NDArray[np.float32]],
    folder: Path,
    *,
    as_float16: bool,
    engines: Sequence[str] = ENGINES,
) -> None:
    """`model.xml`, `model.bin` and `model-int8.xml`, `model-int8.bin`, as far as `engines` has them; as_float16: how
    weights are stored."""
    example = torch.from_numpy(samples[0])
    shape = [1, 1, -1, -1, -1] if recipe.role == "fine" else list(example.shape)
    model = in_openvino(network, example, shape)
    if FLOAT32 in engines:
        save_ir(model, folder / "model.xml", as_float16=as_float16)
    if INT8 in engines:
        if recipe.export.score_range and isinstance(network, HalfResolutionUNet):
            model = in_openvino(InBlocks(network), example, shape)
        lighter = with_unsigned_volume(quantised(model, samples, recipe.export.float32_layers, half_range=True))
        if recipe.export.score_range:
            lighter = with_quantised_scores(lighter, *recipe.export.score_range)
        save_ir(lighter, folder / "model-int8.xml", as_float16=as_float16)


def in_openvino(network: nn.Module, example: Tensor, shape: Sequence[int]) -> openvino.Model:
    """The network traced with `example`; shape: that of its volumes, -1 along an axis of any length."""
    return openvino.convert_model(network, example_input=example, input=[("volume", list(shape))])


def quantised(
    model: openvino.Model,
    samples: Sequence[NDArray[np.float32]],
    float32_layers: Sequence[str] = (),
    *,
    half_range: bool = False,
) -> openvino.Model:
    """The model with INT8 layers, calibrated on volumes (1, 1, z, y, x) as the network is given them.

    float32_layers: regular expressions of the names of layers that stay as they are; ValueError for one of none.
    half_range: weights from -63 to 63, but of depthwise convolutions, which OpenVINO leaves in float32. A CPU without
    VNNI adds pairs of products in 16 bits, where larger ones are cut off; so it answers as one with VNNI does.
    """
    import nncf  # only here: what is imported without INT8 needs none

    names = [node.get_friendly_name() for node in model.get_ops()]
    for expression in float32_layers:
        if not any(re.fullmatch(expression, name) for name in names):
            raise ValueError(f"export.float32_layers: no layer is called {expression!r}; among them are {names[1:4]}")
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: leaky ReLU is not centred
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(patterns=list(float32_layers)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if half_range else nncf.OverflowFix.FIRST_LAYER
        ),
    )


def with_unsigned_volume(model: openvino.Model) -> openvino.Model:
    """The model, in place, with a volume that reaches as far below zero as above it in steps from -127 to 128.

    Steps from -128 to 127 are signed bytes to a CPU with AMX and unsigned ones to others, and what lies half way
    between two of them is then rounded up by the one and down by the other.
    """
    from openvino import opset13

    readers = [reader.get_node() for reader in model.inputs[0].get_target_inputs()]
    for steps in readers:
        if steps.get_type_name() != "FakeQuantize":
            continue
        low, high = (float(steps.input_value(place).get_node().data) for place in (1, 2))
        one_step = (high - low) / BYTE_STEPS
        if 0 < -low - high < 1.5 * one_step:
            for place, limit in enumerate((-high, -low, -high, -low), 1):
                steps.input(place).replace_source_output(opset13.constant(np.float32(limit)).output(0))
    model.validate_nodes_and_infer_types()
    return model


def with_quantised_scores(model: openvino.Model, low: float, high: float) -> openvino.Model:
    """The model with its scores as int8, 255 steps from `low` to `high`."""
    from openvino import opset13

    scores = model.output(0).get_node().input_value(0)
    steps = opset13.fake_quantize(
        scores, *(np.float32(limit) for limit in (low, high, -128, 127)), levels=BYTE_STEPS + 1
    )
    return openvino.Model([opset13.convert(steps, "i8")], model.get_parameters(), "int8")


def save_ir(model: openvino.Model, path: Path, *, as_float16: bool) -> None:
    """OpenVINO IR without the indentation, a sixth of its text: small models are a fifth text.

    OSError where it cannot be written.
    """
    try:
        openvino.save_model(model, path, compress_to_fp16=as_float16)
    except RuntimeError as error:  # as a full disk is told
        raise OSError(f"{path}: cannot be written: {' '.join(str(error).split())}; is there room?") from error
    path.write_text(re.sub(r">\s+<", "><", path.read_text(encoding="utf-8")), encoding="utf-8")


def export_torchscript(
    network: nn.Module, samples: list[NDArray[np.float32]], folder: Path, *, as_float16: bool
) -> None:
    """`model.pt`: traced; as_float16: how weights are stored."""
    with torch.inference_mode():  # a copy: a traced module shares its weights, and is rounded in place
        traced = torch.jit.trace(copy.deepcopy(network), torch.from_numpy(samples[0]))
    (traced.half() if as_float16 else traced).save(str(folder / "model.pt"))


def past_in_last_stage(recipe: Recipe, run: Path) -> dict[str, Any]:
    """As `read_past`; ValueError if the run was trained with another recipe, or its last stage has not begun."""
    past = read_past(run)
    changed = changed_fields(past["recipe"], as_table(recipe))
    if changed:
        raise ValueError(f"{run}: trained with another recipe ({', '.join(changed)})")
    if past["stage"] < len(recipe.stages) - 1:
        raise ValueError(
            f"{run}: stands in stage {recipe.stages[past['stage']].name}; export after its last one has begun"
        )
    return past


def provenance(recipe: Recipe, run: Path) -> dict[str, Any]:
    """What the run has behind it: its stages and those of the run it started from, and on whom they were trained.

    ValueError as `past_in_last_stage`, whose grid the bundle will name, and for a history of another version.
    """
    past = past_in_last_stage(recipe, run)
    try:
        return _summary(past)
    except KeyError as error:
        raise ValueError(f"{run}: its history has no {error}; of another version, it cannot be exported") from error


def _summary(past: dict[str, Any]) -> dict[str, Any]:
    history = past["history"]
    return {
        "stages": [{"run": e["run"], "name": e["name"], "steps": e["steps"]} for e in history],
        "minutes": round(sum(e["seconds"] for e in history) / 60),
        "started_from": past["started_from"],
        "scans": sorted({name for e in history for name in e["scans"]}),
        "patients": sorted({patient for e in history for patient in e["patients"]}),
        "without_slices_above_the_labels": never_shown("without_above", history),
        "without_slices_below_the_labels": never_shown("without_below", history),
        "reference_masks": "; ".join(dict.fromkeys(e["reference_masks"] for e in history)),
    }


def never_shown(field: str, history: list[dict[str, Any]]) -> list[str]:
    """The scans whose slices of `field` were left out by every stage that has shown the scan."""
    shown = {name for entry in history for name in entry["scans"] if name not in entry[field]}
    return sorted({name for entry in history for name in entry[field]} - shown)


def agreement(bundle: Bundle, samples: list[NDArray[np.float32]]) -> float:
    """Share of the voxels that INT8 or float32 calls an organ which both call the same; 1 where neither sees any."""
    engines = [load_engine(bundle, kind, "f32", thread_count(), pinned=False) for kind in (FLOAT32, INT8)]
    same = seen = 0
    for sample in samples[:AGREEMENT_SAMPLES]:
        ours, theirs = (engine(sample[0, 0]).argmax(0) for engine in engines)
        organs = (ours > 0) | (theirs > 0)
        same, seen = same + int((ours == theirs)[organs].sum()), seen + int(organs.sum())
    return same / seen if seen else 1.0


def describe(recipe: Recipe, recipe_name: str, past: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content of `bundle.json`, as `app.models.bundle` reads it."""
    stage = recipe.stages[-1]
    table: dict[str, Any] = {
        "name": recipe.name,
        "role": recipe.role,
        "axes": AXES,
        "labels": recipe.labels,
        "intensity": asdict(recipe.intensity),
    }
    if recipe.role == "fine":
        table["spacing_mm"] = stage.spacing_mm
        table["window"] = recipe.export.window
    else:
        table["shape"] = stage.shape
    if recipe.export.resampling is not None:
        table["resampling"] = recipe.export.resampling
    if recipe.export.licence:
        table["licence"] = recipe.export.licence
    table["files"] = engine_files(folder)
    if recipe.export.score_range and INT8 in table["files"]:
        low, high = recipe.export.score_range
        table["score_step"] = (high - low) / BYTE_STEPS
    table["training"] = {"recipe": recipe_name, **past}
    if recipe.role == "fine":
        table["training"]["patch"] = stage.shape  # the windows of those who segment as they train
    table["accuracy"] = {}
    return table


def engine_files(folder: Path) -> dict[str, dict[str, str]]:
    """Of every engine that is there the files and the SHA-256 of each, as a bundle names them."""
    return {
        engine: {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
        for engine, files in ENGINE_FILES.items()
        if all((folder / name).exists() for name in files)
    }


def main() -> None:
    """Parses the arguments and exports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="folder that training.train wrote")
    parser.add_argument("--data", type=Path, required=True, help="training scans or their pack, for calibration")
    parser.add_argument("--weights", type=Path, required=True, help="the bundle becomes a folder in here")
    parser.add_argument("--replace", action="store_true", help="a bundle of this name that another run left, too")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="of the bundle (default: the recipe's)")
    arguments = parser.parse_args()
    try:
        folder = export(
            arguments.recipe,
            arguments.run,
            arguments.data,
            arguments.weights,
            replace=arguments.replace,
            engines=tuple(arguments.engines or ()),
        )
    except (VisceraError, ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{folder}: {sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB")


def export(
    recipe_path: Path, run: Path, data: Path, weights: Path, *, replace: bool = False, engines: tuple[str, ...] = ()
) -> Path:
    """The bundle of a run, in a folder of the recipe's name under `weights`; what was there stays until it is whole.

    engines: in place of the recipe's.

    An earlier bundle of the same run is replaced, with `replace` that of another run, too. ValueError for anything else
    that is there.
    """
    recipe = load_recipe(recipe_path)
    if engines:
        recipe = dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, engines=engines))
    folder = weights / recipe.name
    check_replaceable(folder, run, replace=replace)
    weights.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=weights) as partial:
        write_bundle(recipe, recipe_path.name, run, data, Path(partial) / recipe.name)
        put_in_place(Path(partial) / recipe.name, folder)
    return folder


def check_replaceable(folder: Path, run: Path, *, replace: bool) -> None:
    """ValueError where a bundle of this run must not take the place of what is in `folder`."""
    if not folder.exists() and not folder.is_symlink():
        return
    try:
        card = json.loads((folder / FILE_NAME).read_text())
        known = {FILE_NAME, *(name for files in card["files"].values() for name in files)}
        stages = [(stage["run"], stage["name"]) for stage in card["training"]["stages"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: exists and is no bundle of a run; give the recipe another name") from error
    others = sorted({path.name for path in folder.iterdir()} - known)
    if folder.is_symlink() or others:
        what = f"holds {', '.join(others)}, which the bundle there does not name" if others else "is a link"
        raise ValueError(f"{folder}: {what}; move it away, or give the recipe another name")
    ours = [(entry["run"], entry["name"]) for entry in read_past(run)["history"]]
    if not replace and (not stages or stages != ours[: len(stages)]):  # a run may have got a stage since
        raise ValueError(
            f"{folder}: holds the bundle of another run ({stages[-1][0] if stages else 'unknown'}); give the recipe "
            f"another name, or say --replace"
        )


def put_in_place(new: Path, folder: Path) -> None:
    """`new` becomes `folder`; what was there is back if that fails, and removed once it has not. OSError: it failed."""
    if not folder.exists():
        new.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-before-", dir=folder.parent))
    try:
        folder.rename(aside / folder.name)
        new.rename(folder)
    except BaseException:
        if not folder.exists():
            (aside / folder.name).rename(folder)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


def write_bundle(recipe: Recipe, recipe_name: str, run: Path, data: Path, folder: Path) -> None:
    """The bundle of a run, in a new folder, checked as `app` will check it."""
    past = provenance(recipe, run)
    folder.mkdir()
    network = trained_network(recipe, run)
    engines = recipe.export.engines or ((FLOAT32, INT8, TORCHSCRIPT) if recipe.role == "fine" else (FLOAT32, INT8))
    all_samples = recipe.export.calibration_samples  # INT8 alone needs as many
    samples = list(calibration_inputs(recipe, data, all_samples if INT8 in engines else ROUNDING_SAMPLES))
    stored, as_float16 = as_stored(folded(network), samples)
    export_openvino(stored, recipe, samples, folder, as_float16=as_float16, engines=engines)
    if TORCHSCRIPT in engines:  # with its norms: it is what others train on from (training.start)
        stored, as_float16 = as_stored(network, samples)
        export_torchscript(stored, samples, folder, as_float16=as_float16)
    description = describe(recipe, recipe_name, past, folder)
    (folder / FILE_NAME).write_text(json.dumps(description, indent=1) + "\n")
    bundle = load_bundle(folder)
    for engine in bundle.files:
        bundle.engine_files(engine)
    if {FLOAT32, INT8} <= {*engines}:
        print(f"INT8 and float32 agree on {agreement(bundle, samples):.1%} of the organ voxels of training samples")


if __name__ == "__main__":
    main()
