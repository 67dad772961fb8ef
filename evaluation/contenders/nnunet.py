"""nnU-Net: the nnunetv2 package's own predictor on the CPU, without mirroring, one scan, no worker processes.

It is given the bundle's network, spacing, intensities and labels, and resamples and adds up windows in its own way.
"""

import os
from typing import Any

import torch

from app.files.cases import case_name
from app.models.bundle import Bundle, load_bundle
from evaluation.contenders.network import load_network
from evaluation.contenders.program import Clock, parser, report

THREADS = os.cpu_count() or 1
CONFIGURATION = "3d_fullres"
RESAMPLE = {"is_seg": False, "order_z": 0, "force_separate_z": None}


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    made = parser(__doc__)
    made.add_argument("--window", type=int, nargs=3, required=True, help="voxels (z, y, x)")
    arguments = made.parse_args()
    # read when the package is imported: it would take 8 threads, and complains about folders that prediction never uses
    os.environ["nnUNet_def_n_proc"] = str(THREADS)  # noqa: SIM112  # its own name
    for folder in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{folder}", str(arguments.outputs))
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(THREADS)
    with clock.timed("load"):
        bundle = load_bundle(arguments.bundle)
        network, plans = load_network(bundle), PlansManager(plans_of(bundle, arguments.window))
        predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.manual_initialization(
            network,
            plans,
            plans.get_configuration(CONFIGURATION),
            [network.state_dict()],
            data_set_of(bundle),
            "nnUNetTrainer",
            None,
        )
    with clock.timed("predict"):
        target = arguments.outputs / case_name(arguments.scan)
        predictor.predict_from_files_sequential([[str(arguments.scan)]], [str(target)])
    report(clock)


def data_set_of(bundle: Bundle) -> dict[str, Any]:
    """What nnU-Net's dataset.json would say."""
    return {
        "channel_names": {"0": "CT"},
        "labels": {name: label for label, name in enumerate(bundle.labels)},
        "numTraining": 0,
        "file_ending": ".nii.gz",
    }


def plans_of(bundle: Bundle, window: list[int]) -> dict[str, Any]:
    """What nnU-Net's plans.json would say, as far as prediction with a network that is there asks for it."""
    intensity = bundle.fixed_intensity
    properties = {
        "percentile_00_5": intensity.low,
        "percentile_99_5": intensity.high,
        "mean": intensity.mean,
        "std": intensity.deviation,
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
        "batch_dice": False,
        "architecture": {},  # must be there; read when a network is built, which ours is
    }
    return {
        "dataset_name": "Dataset001_contender",
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
