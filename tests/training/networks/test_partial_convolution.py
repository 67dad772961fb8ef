from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks import build_network  # noqa: E402
from training.networks.partial_convolution import PartialConvolutionBlock, PartialConvolutionNet  # noqa: E402
from training.recipe import load_recipe  # noqa: E402

RECIPES = Path(__file__).parents[3] / "training" / "recipes"


def test_a_partial_convolution_leaves_the_other_channels_alone():
    """Paper 001's block by hand: one channel of four convolved with 1, 2, 1 along x, the bottleneck passing it on."""
    block = PartialConvolutionBlock(4, 0.0)
    with torch.no_grad():
        block.convolution.weight.zero_()
        block.convolution.weight[0, 0, 1, 1] = torch.tensor([1.0, 2, 1])
    features = torch.tensor([[1.0, 0, 2], [5, 6, 7], [0, 0, 0], [0, 0, 0]]).reshape(1, 4, 1, 1, 3)
    before = features.clone()
    seen = []
    block.bottleneck.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(features)
    assert seen[0][0, 0].flatten().tolist() == [2, 3, 4]
    assert seen[0][0, 1].flatten().tolist() == [5, 6, 7]
    assert torch.equal(features, before)  # the shortcut is what came in


def test_drop_path_leaves_out_whole_branches_in_training_only():
    torch.manual_seed(0)
    block = PartialConvolutionBlock(4, 0.25)
    features = torch.randn(64, 4, 3, 3, 3)
    block.eval()
    branch = block(features) - features
    block.train()
    trained = block(features) - features
    dropped = (trained == 0).flatten(1).all(1)
    assert 4 < int(dropped.sum()) < 30  # a quarter of 64 is 16
    torch.testing.assert_close(trained[~dropped], branch[~dropped] / 0.75)  # so that the mean stays


def test_the_network_of_paper_001():
    """As published but for 14 classes in place of 2: 1,367,618 parameters, and 12 times 64 + 1 more."""
    network = build_network(load_recipe(RECIPES / "localiser-001.toml").network, 14)
    assert isinstance(network, PartialConvolutionNet)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_367_618 + 12 * 65
    assert tuple(network(torch.zeros(1, 1, 64, 32, 96)).shape) == (1, 14, 32, 16, 48)
