from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
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


def test_the_network_of_paper_001_as_published():
    """Two classes, as fine as the input; features at a quarter and less of its side."""
    network = PartialConvolutionNet((32, 64, 128, 256), 2, stem_stride=4, as_fine_as_input=True).to("meta")
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_367_618
    sizes = []
    for blocks in network.blocks:
        blocks.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    assert tuple(network(torch.zeros(1, 1, 128, 128, 128, device="meta")).shape) == (1, 2, 128, 128, 128)
    assert sizes == [(32, 32, 32, 32), (64, 16, 16, 16), (128, 8, 8, 8), (256, 4, 4, 4)]


def test_scores_as_fine_as_the_input_have_their_corners_on_those_of_the_features():
    torch.manual_seed(0)
    network = PartialConvolutionNet((4, 8), 2, stem_stride=4, as_fine_as_input=True).eval()
    coarse = []
    network.score.register_forward_hook(lambda _module, _inputs, output: coarse.append(output))
    fine = network(torch.randn(1, 1, 16, 16, 16))
    torch.testing.assert_close(fine[..., ::15, ::15, ::15], coarse[0][..., ::3, ::3, ::3])


@pytest.mark.slow
@pytest.mark.parametrize("as_fine_as_input", [True, False])
def test_openvino_gives_the_same_scores(as_fine_as_input):
    torch.manual_seed(0)
    network = PartialConvolutionNet((8, 16, 32), 2, stem_stride=4, as_fine_as_input=as_fine_as_input).eval()
    volume = torch.randn(1, 1, 32, 64, 48)
    with torch.inference_mode():
        torch.testing.assert_close(openvino_scores(network, volume), network(volume), atol=1e-3, rtol=0)
