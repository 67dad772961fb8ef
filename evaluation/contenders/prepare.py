"""Prepare: `python -m evaluation.contenders.prepare BUNDLE OUT --window Z Y X`. What contenders run, made once.

fine.pth for eager torch, fine.onnx for ONNX Runtime, a model folder for nnunetv2: the same network, weights, spacing
and intensities, checked against the bundle's own TorchScript. Prints JSON: the network's parameters.
"""

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from app.errors import VisceraError
from app.models.bundle import TORCHSCRIPT, Bundle, load_bundle
from evaluation.contenders.plain_unet import State, architecture, build, channels_of, renamed

CONFIGURATION = "3d_fullres"
DATA_SET = "Dataset001_contender"
TOLERANCE = 1e-3  # of scores up to some tens, float32
RESAMPLE = {"is_seg": False, "order_z": 0, "force_separate_z": None}


def main() -> None:
    """Parses the arguments, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--window", type=int, nargs=3, required=True)
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    refuse_foreign(arguments.out)
    arguments.out.mkdir(parents=True, exist_ok=True)
    trained = torch.jit.load(str(bundle.engine_files(TORCHSCRIPT)[0]), map_location="cpu").float().eval()
    state = renamed(dict(trained.state_dict()))
    network = build(state, len(bundle.labels))
    check(network, trained, bundle.folder, arguments.window)
    write_model_folder(bundle, state, arguments.window, arguments.out / "nnunet")
    torch.save(state, arguments.out / "fine.pth")
    write_onnx(network, arguments.window, arguments.out / "fine.onnx")
    print(json.dumps({"parameters": sum(weight.numel() for weight in network.parameters())}))


def refuse_foreign(out: Path) -> None:
    """VisceraError where what is in the folder is not of an earlier call, as its plans, written first, tell."""
    plans = out / "nnunet" / "plans.json"
    if out.exists() and any(out.iterdir()) and not (plans.is_file() and DATA_SET in plans.read_text()):
        raise VisceraError(f"{out}: is not empty and not of an earlier call; choose a new folder")


def check(network: torch.nn.Module, trained: torch.nn.Module, folder: Path, window: list[int]) -> None:
    """VisceraError if it is not the bundle's network: the same scores of noise, but for rounding."""
    noise = torch.randn(1, 1, *window, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        apart = float((network(noise) - trained(noise)).abs().max())
    if not apart < TOLERANCE:
        raise VisceraError(f"{folder}: rebuilt from its weights, its scores are {apart:.3g} off; is it another U-Net?")


def write_onnx(network: torch.nn.Module, window: list[int], path: Path) -> None:
    """The network, for any size of window."""
    free = dict(zip((2, 3, 4), "zyx", strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which says that it is; the other needs one more package
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, *window),),
            str(path),
            input_names=["volume"],
            output_names=["scores"],
            dynamic_axes={"volume": free, "scores": free},
            dynamo=False,
        )


def write_model_folder(bundle: Bundle, state: State, window: list[int], folder: Path) -> None:
    """plans.json, dataset.json and fold_0/checkpoint_final.pth, as nnU-Net's training leaves them."""
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(_plans(bundle, channels_of(state), window), indent=1))
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {name: label for label, name in enumerate(bundle.labels)},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(dataset, indent=1))
    checkpoint = {
        "network_weights": state,
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


def _plans(bundle: Bundle, channels: list[int], window: list[int]) -> dict[str, Any]:
    intensity = bundle.fixed_intensity
    properties = {
        "percentile_00_5": intensity.low,
        "percentile_99_5": intensity.high,
        "mean": intensity.mean,
        "std": intensity.deviation,
    }
    network = {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            **architecture(channels),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "nonlin": "torch.nn.LeakyReLU",
            "dropout_op": None,
            "dropout_op_kwargs": None,
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    resampling = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "plans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": window,
        "spacing": list(bundle.spacing_mm or ()),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resampling,
        "resampling_fn_data_kwargs": {**RESAMPLE, "order": 3},
        "resampling_fn_seg": resampling,
        "resampling_fn_seg_kwargs": {**RESAMPLE, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": resampling,
        "resampling_fn_probabilities_kwargs": {**RESAMPLE, "order": 1},
        "architecture": network,
        "batch_dice": False,
    }
    return {
        "dataset_name": DATA_SET,
        "plans_name": "plans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": properties},
        "configurations": {CONFIGURATION: configuration},
    }


if __name__ == "__main__":
    main()
