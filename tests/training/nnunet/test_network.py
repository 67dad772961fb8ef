"""Weights by nnU-Net's keys become a network along (z, y, x). What is refused: `test_hostile`."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.nnunet.made_up_model import PLAIN, PLANS, RESIDUAL, network, plan_of, weights_of  # noqa: E402
from training.nnunet.network import along_zyx, named_once, network_of, own_name  # noqa: E402
from training.nnunet.proof import has_package, made_up_window, scores_of_package  # noqa: E402

FILE = Path("checkpoint_final.pth")
NORM = {"norm_op": "torch.nn.BatchNorm3d", "norm_op_kwargs": {"eps": 1e-5, "affine": True}}


def arrays(weights):
    return {name: tensor.numpy() for name, tensor in weights.items()}


def test_each_weight_has_one_name():
    unit = "encoder.stages.0.0.convs.0"
    assert own_name(f"decoder.{unit}.all_modules.0.weight") == f"{unit}.conv.weight"
    assert own_name(f"module._orig_mod.{unit}.all_modules.2.bias") == f"{unit}.norm.bias"  # with dropout in between
    assert own_name("decoder.stages.1.convs.0.conv.bias") == "decoder.stages.1.convs.0.conv.bias"
    plan = plan_of(PLANS)
    once = named_once(arrays(weights_of(plan)), FILE)
    assert set(network_of(plan, arrays(weights_of(plan)), FILE).state_dict()) == set(once)
    assert len(once) < len(weights_of(plan)) / 2


def test_kernels_are_turned():
    """The plan's axes are x, z, y: what is its first is the last here."""
    kernel = np.arange(2 * 3 * 4).reshape(1, 1, 2, 3, 4)
    turned = along_zyx(kernel, (1, 2, 0))
    assert turned.shape == (1, 1, 3, 4, 2)
    assert turned[0, 0, 2, 3, 1] == kernel[0, 0, 1, 2, 3]
    bias = np.arange(3)
    assert along_zyx(bias, (1, 2, 0)) is bias


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_what_torch_puts_before_names_is_taken_off(wrapper):
    plan = plan_of(PLANS)
    weights = {f"{wrapper}{name}": weight for name, weight in arrays(weights_of(plan)).items()}
    network = network_of(plan, weights, FILE)
    head = network.state_dict()["decoder.seg_layers.1.weight"].numpy()
    np.testing.assert_array_equal(head, weights[f"{wrapper}decoder.seg_layers.1.weight"])


@pytest.mark.skipif(not has_package(), reason="needs dynamic-network-architectures, without its own requirements")
@pytest.mark.parametrize(
    ("table", "trainer"),
    [
        (PLANS, "nnUNetTrainer"),
        (PLANS, "nnUNetTrainerBN"),
        ({**PLANS, "transpose_forward": [2, 0, 1]}, "nnUNetTrainer"),
        (network(RESIDUAL, residual=True), "nnUNetTrainer"),
        ({**network({**RESIDUAL, "stem_channels": 5}, residual=True), "transpose_forward": [1, 2, 0]}, "nnUNetTrainer"),
        (network({**PLAIN, **NORM, "nonlin": "torch.nn.ReLU", "conv_bias": False}), "nnUNetTrainer"),
    ],
    ids=["plain", "BN", "plain, turned", "residual", "residual, turned, with a stem", "batch norm and ReLU"],
)
def test_scores_are_those_of_nnu_nets_own_class(table, trainer):
    plan = plan_of(table, trainer=trainer)
    weights, window = arrays(weights_of(plan)), made_up_window(plan)
    theirs = scores_of_package(plan, weights, window, FILE)
    with torch.inference_mode():
        ours = network_of(plan, weights, FILE)(torch.from_numpy(window)[None, None])[0].numpy()
    assert np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0)
