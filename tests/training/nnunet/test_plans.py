"""What plans say, in the words of a bundle. What they are refused for: `test_hostile`."""

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.nnunet.made_up_model import (
    CONFIGURATION,
    DATASET,
    KEYS,
    PLAIN,
    PLANS,
    RESIDUAL,
    network,
    plan_of,
    plans,
)
from training.nnunet.plans import Intensities


def test_a_plan_of_axes_as_they_are():
    plan = plan_of(PLANS)
    assert (plan.axes, plan.spacing_mm, plan.window) == ((0, 1, 2), (5.0, 2.0, 1.5), (8, 16, 24))
    assert plan.intensities == Intensities(low=-160.0, high=240.0, mean=40.0, deviation=100.0)
    assert (plan.orientation, plan.separates_above) == ("file", 3.0)
    assert (plan.labels, plan.regions, plan.outputs) == (("background", "liver", "left_kidney"), (), 3)
    assert plan.architecture.kernels == ((1, 3, 3), (3, 3, 3), (3, 3, 3))
    assert plan.architecture.multiple == (2, 4, 4)
    assert not plan.architecture.batch_norm


def test_axes_that_were_turned_are_turned_back():
    """The plan's axes are x, z, y of the file: 5 mm are along x, 2 along z, 1.5 along y."""
    plan = plan_of({**PLANS, "transpose_forward": [2, 0, 1]})
    assert plan.axes == (1, 2, 0)
    assert plan.spacing_mm == (2.0, 1.5, 5.0)
    assert plan.window == (16, 24, 8)
    assert plan.architecture.kernels[0] == (3, 3, 1)
    assert plan.architecture.strides[1] == (2, 2, 1)
    assert plan.kwargs["kernel_sizes"] == PLAIN["kernel_sizes"]  # nnU-Net's own class still sees its own axes


@pytest.mark.parametrize(
    ("reader", "orientation"),
    [
        ("SimpleITKIO", "file"),
        ("NibabelIO", "file"),
        ("SimpleITKIOWithReorient", "ras"),
        ("NibabelIOWithReorient", "ras"),
    ],
)
def test_readers_are_orders_of_axes(reader, orientation):
    assert plan_of({**PLANS, "image_reader_writer": reader}).orientation == orientation


def test_plans_before_architectures():
    older = plans()
    chosen = older["configurations"][CONFIGURATION]
    del chosen["architecture"]
    chosen |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": [2, 1, 2],
        "n_conv_per_stage_decoder": [2, 1],
        "conv_kernel_sizes": PLAIN["kernel_sizes"],
        "pool_op_kernel_sizes": PLAIN["strides"],
    }
    older["foreground_intensity_properties_by_modality"] = older.pop("foreground_intensity_properties_per_channel")
    found = plan_of(older, {**DATASET, "channel_names": None, "modality": {"0": "CT"}})
    assert found.architecture.channels == (4, 6, 6)
    assert found.architecture.blocks == (2, 1, 2)
    assert found.architecture.bias
    assert found.intensities == plan_of(PLANS).intensities


def test_a_configuration_has_what_the_one_it_inherits_from_says():
    table = plans()
    table["configurations"] = {
        "3d_lowres": table["configurations"][CONFIGURATION],
        "between": {"inherits_from": "3d_lowres", "spacing": [4, 4, 4]},
        CONFIGURATION: {"inherits_from": "between", "patch_size": [16, 16, 16]},
    }
    plan = plan_of(table)
    assert (plan.spacing_mm, plan.window) == ((4.0, 4.0, 4.0), (16, 16, 16))


def test_batch_norm_by_plan_and_by_trainer():
    norm = {"norm_op": "torch.nn.modules.batchnorm.BatchNorm3d", "norm_op_kwargs": {"eps": 1e-3, "affine": True}}
    by_plan = plan_of(network({**PLAIN, **norm})).architecture
    assert (by_plan.batch_norm, by_plan.eps) == (True, 1e-3)
    by_trainer = plan_of(PLANS, trainer="nnUNetTrainerBN").architecture
    assert (by_trainer.batch_norm, by_trainer.eps) == (True, 1e-5)


def test_residual_encoders_and_numbers_that_hold_for_all_stages():
    kwargs = {**RESIDUAL, "n_blocks_per_stage": 2, "kernel_sizes": 3, "stem_channels": 5, "nonlin": "torch.nn.ReLU"}
    found = plan_of(network(kwargs, residual=True)).architecture
    assert (found.residual, found.blocks, found.stem_channels, found.slope) == (True, (2, 2, 2), 5, 0.0)
    assert found.kernels == 3 * ((3, 3, 3),)


def test_a_scans_own_intensities():
    assert plan_of(plans(normalization_schemes=["ZScoreNormalization"])).intensities is None


@pytest.mark.parametrize(("force", "above"), [({"force_separate_z": False}, None), ({}, 3.0)])
def test_slices_apart(force, above):
    ways = {
        f"resampling_fn_{what}_kwargs": {**KEYS, "order": n, **force} for what, n in (("data", 3), ("probabilities", 1))
    }
    assert plan_of(plans(**ways)).separates_above == above


def test_regions_are_named_by_the_ids_that_they_are_painted_with():
    labels = {"background": 0, "Whole organ": [1, 2, 3], "lesions": [2, 3], "cyst": 3, "ignore": 4}
    plan = plan_of(PLANS, {**DATASET, "labels": labels, "regions_class_order": [1, 3, 2]})
    assert plan.regions == (1, 3, 2)
    assert plan.labels == ("background", "whole_organ", "cyst", "lesions")
    assert plan.outputs == 3


def test_an_ignore_label_is_no_class():
    plan = plan_of(PLANS, {**DATASET, "labels": {"background": 0, "liver": [1], "ignore": 2}})
    assert plan.labels == ("background", "liver")
