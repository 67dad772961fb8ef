"""A trained model's folder as nnU-Net v2 leaves it, with weights that nobody trained. nnunetv2 is not needed."""

import copy
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.planned_unet import PlannedUNet  # noqa: E402
from training.nnunet.plans import read_plan  # noqa: E402
from training.nnunet.tables import Table  # noqa: E402

CONFIGURATION = "3d_fullres"
FOLDER = f"Dataset901_Made/nnUNetTrainer__nnUNetPlans__{CONFIGURATION}"
KEYS = {"is_seg": False, "order_z": 0, "force_separate_z": None}

PLAIN = {
    "n_stages": 3,
    "features_per_stage": [4, 6, 8],
    "conv_op": "torch.nn.modules.conv.Conv3d",
    "kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "n_conv_per_stage": [2, 1, 2],
    "n_conv_per_stage_decoder": [2, 1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
RESIDUAL = {key: value for key, value in PLAIN.items() if key != "n_conv_per_stage"} | {"n_blocks_per_stage": [1, 2, 2]}

PLANS = {
    "dataset_name": "Dataset901_Made",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 40.0, "std": 100.0, "percentile_00_5": -160.0, "percentile_99_5": 240.0, "median": 50.0}
    },
    "configurations": {
        CONFIGURATION: {
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [8, 16, 24],
            "spacing": [5.0, 2.0, 1.5],
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": {**KEYS, "order": 3},
            "resampling_fn_seg": "resample_data_or_seg_to_shape",
            "resampling_fn_seg_kwargs": {**KEYS, "is_seg": True, "order": 1},
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": {**KEYS, "order": 1},
            "architecture": {
                "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                "arch_kwargs": PLAIN,
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }
    },
}
DATASET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "Liver": 1, "left kidney": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


def plans(**changes):
    """`PLANS` with other fields of its configuration."""
    table = copy.deepcopy(PLANS)
    table["configurations"][CONFIGURATION] |= changes
    return table


def network(kwargs, *, residual=False):
    """`PLANS` with another network."""
    name = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    return plans(
        architecture={
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
            "arch_kwargs": kwargs,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    )


def plan_of(plans_table, dataset=DATASET, trainer="nnUNetTrainer"):
    file = Path("plans.json")
    tables = Table(plans_table, file), Table(dataset, Path("dataset.json"))
    return read_plan(*tables, CONFIGURATION, trainer=trainer)


def weights_of(plan, seed=0):
    """Random ones by nnU-Net's keys, each under all of its names; what they share is one tensor, as in its files."""
    torch.manual_seed(seed)
    weights = {}
    for name, tensor in PlannedUNet(plan.architecture, plan.outputs).state_dict().items():
        if name.endswith("running_var"):
            value = torch.rand(tensor.shape) + 0.5
        elif tensor.is_floating_point():
            value = torch.randn(tensor.shape) * (0.3 if tensor.ndim > 1 else 1.0)
        else:
            value = tensor
        if tensor.ndim == 5:  # from z, y and x to the plan's axes
            forward = [plan.axes.index(axis) for axis in range(3)]
            value = value.permute(0, 1, *(2 + axis for axis in forward)).contiguous()
        twin = name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
        for own in {name, twin}:
            weights[own] = value
            if own.startswith("encoder."):
                weights[f"decoder.{own}"] = value
    return weights


def checkpoint(weights, **changes):
    """What nnU-Net saves, as far as it is odd: numpy's numbers in its log, an optimiser's state, a device."""
    return {
        "network_weights": weights,
        "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(64, 64)}}, "param_groups": [{"lr": 0.01}]},
        "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "lrs": [0.01]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"configuration": CONFIGURATION, "fold": 0, "device": torch.device("cpu"), "plans": {}},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1, 2),
        **changes,
    }  # fmt: skip


def save_model(root, plans_table=PLANS, dataset=DATASET, folds=("0",), **changes):
    """The trainer's folder, under `root`."""
    folder = root / FOLDER
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans_table))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    trainer = changes.get("trainer_name", "nnUNetTrainer")
    for seed, fold in enumerate(folds):
        (folder / f"fold_{fold}").mkdir()
        weights = weights_of(plan_of(plans_table, dataset, trainer), seed)
        torch.save(checkpoint(weights, **changes), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


def zipped(folder, target):
    """As nnUNetv2_export_model_to_zip packs it: names begin with the data set's folder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent.parent))
    return target
