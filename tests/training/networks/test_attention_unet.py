import math

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training.networks.attention_unet import (  # noqa: E402
    AttentionUNet,
    ChannelAttention,
    Gate,
    NonLocal,
    SpatialAttention,
)

PAPER = (32, 64, 128, 256, 480, 480, 480, 480)
NARROW = (4, 6, 8, 8, 10, 12)


def parameters(module):
    return sum(weight.numel() for weight in module.parameters())


def set_to(module, value):
    """Every convolution's weights; biases 0, norms as good as identity."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.BatchNorm2d):
            layer.weight.data.fill_(1.0 if isinstance(layer, torch.nn.BatchNorm2d) else value)
            if layer.bias is not None:
                layer.bias.data.zero_()


@pytest.mark.parametrize(("classes", "count"), [(2, 62_939_014), (14, 62_962_054), (15, 62_963_974)])
def test_parameters_at_the_papers_width(classes, count):
    with torch.device("meta"):
        network = AttentionUNet(PAPER, classes, supervised_levels=7)
    assert parameters(network) == count


def test_parameters_of_every_stage_at_the_papers_width():
    with torch.device("meta"):
        network = AttentionUNet(PAPER, 2, supervised_levels=7)
    assert [parameters(stage) for stage in network.down] == [
        9_696, 55_680, 221_952, 886_272, 3_182_400, 4_150_080, 4_150_080, 4_150_080,
    ]  # fmt: skip
    parts = [{name: parameters(part) for name, part in level.named_children()} for level in network.up]
    assert parts == [
        {"up": 921_600, "block": 6_223_680},
        {"up": 922_080, "block": 925_200 + 13_830_960},
        {"gate": 1_850_402, "up": 922_080, "block": 13_830_960},
        {"gate": 642_818, "up": 491_776, "block": 3_935_872},
        {"gate": 165_762, "up": 131_200, "block": 984_896},
        {"up": 32_832, "block": 246_688},
        {"up": 8_224, "block": 61_904},
    ]
    assert parameters(network.heads) == 3_840


def test_features_and_scores_at_the_papers_size():
    with torch.device("meta"):
        network = AttentionUNet(PAPER, 2, supervised_levels=7)
        features, slices = [], torch.zeros(1, 1, 512, 512)
        for stage in network.down:
            stage.register_forward_hook(lambda _stage, _inputs, output: features.append(tuple(output.shape[1:])))
        scores = [tuple(level.shape) for level in network.levels(slices)]
    sides = [512, 256, 128, 64, 32, 16, 8, 4]
    assert features == [(channels, side, side) for channels, side in zip(PAPER, sides, strict=True)]
    assert scores == [(1, 2, side, side) for side in sides[:-1]]


@pytest.mark.parametrize("supervised", [1, 3])
def test_slices_need_not_be_square_and_heads_are_as_many_as_levels_are_supervised(supervised):
    network = AttentionUNet(NARROW, 3, supervised_levels=supervised)
    sizes = [tuple(scores.shape) for scores in network.levels(torch.randn(2, 1, 64, 96))]
    assert sizes == [(2, 3, 64, 96), (2, 3, 32, 48), (2, 3, 16, 24)][:supervised]
    assert tuple(network(torch.randn(1, 1, 96, 64)).shape) == (1, 3, 96, 64)


def test_too_few_levels_are_refused():
    AttentionUNet(NARROW[:5], 2, supervised_levels=1)
    with pytest.raises(ValueError, match="5 levels or more"):
        AttentionUNet(NARROW[:4], 2, supervised_levels=1)


def test_every_weight_gets_a_gradient():
    torch.manual_seed(0)
    network = AttentionUNet(NARROW, 3, supervised_levels=5).train()
    sum(scores.square().mean() for scores in network.levels(torch.randn(2, 1, 64, 64))).backward()
    # a bias before a norm only moves what the norm takes out again
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]
    weights = {name: weight for name, weight in network.named_parameters() if name.endswith("weight")}
    assert not [name for name, weight in weights.items() if not weight.grad.any()]


def test_channels_are_dropped_in_training_only():
    torch.manual_seed(0)
    network = AttentionUNet(NARROW, 2, supervised_levels=1)
    level = network.up[1]
    coarse, skip = torch.randn(1, NARROW[4], 4, 4), torch.randn(1, NARROW[3], 8, 8)
    first, second = level.train()(coarse, skip), level(coarse, skip)
    assert not torch.equal(first, second)
    torch.testing.assert_close(level.eval()(coarse, skip), level(coarse, skip), atol=0, rtol=0)


def test_the_start_is_that_of_the_authors():
    torch.manual_seed(0)
    network = AttentionUNet((32, 32, 32, 32, 32, 32), 2, supervised_levels=1)
    second = network.down[1][3]
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / (1 + 0.01**2) / (32 * 9)), rel=0.03)
    assert not second.bias.any()
    gate = network.up[2].gate.gates[0]
    assert gate.of_skip.weight.std().item() == pytest.approx(math.sqrt(2 / 32), rel=0.1)
    assert not gate.of_skip.bias.any()
    assert 0 < gate.result[1].weight.std().item() < 0.05


@pytest.mark.parametrize(("merged", "result"), [([1.0, 1.0], 2.5), ([1.0, -1.0], 0.0)])
def test_spatial_attention_by_hand(merged, result):
    """Skip 2, coarse 1: both gates see relu(0.5 * 2 + 1) = 2, weigh 1/2 and 3/4, and pass on 1 and 1.5."""
    attention = SpatialAttention(1, 1).eval()
    set_to(attention, 1.0)
    for gate, bias in zip(attention.gates, (-2.0, -2.0 + math.log(3)), strict=True):
        gate.of_skip.weight.data.fill_(0.5)
        gate.weight.bias.data.fill_(bias)
    attention.merge[0].weight.data[0, :, 0, 0] = torch.tensor(merged)
    got = attention(torch.full((1, 1, 1, 1), 2.0), torch.ones(1, 1, 1, 1))
    assert got.item() == pytest.approx(result, abs=1e-4)


def test_a_gate_enlarges_the_coarse_level_between_the_centres_of_its_pixels():
    """[0, 4] is [0, 1, 3, 4] on twice as many pixels; with a skip of 1 that passes the sigmoid of it."""
    gate = Gate(1, 1).eval()
    set_to(gate, 1.0)
    gate.of_skip.weight.data.zero_()
    got = gate(torch.ones(1, 1, 1, 4), torch.tensor([[[[0.0, 4.0]]]]))
    torch.testing.assert_close(got.logit().flatten(), torch.tensor([0.0, 1, 3, 4]), atol=2e-3, rtol=0)


def test_non_local_block_by_hand():
    """Of one key with the value 3 every position takes up 3."""
    block = NonLocal(1, 1).eval()
    set_to(block, 1.0)
    got = block(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]))
    torch.testing.assert_close(got, torch.tensor([[[[3.0, 4.0], [5.0, 6.0]]]]), atol=1e-4, rtol=0)


def test_a_position_takes_up_what_is_like_it():
    """Keys and values 0 and 10: a query of 0 sees both alike, one of 10 the second only (its share is 1 - 4e-44)."""
    block = NonLocal(1, 1).eval()
    set_to(block, 1.0)
    got = block(torch.tensor([[[[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 10.0]]]]))
    torch.testing.assert_close(got[0, 0, 0], torch.tensor([5.0, 5, 20, 20]), atol=1e-3, rtol=0)


def test_channel_attention_by_hand():
    """Means [2, -1] and maxima [3, 0] of two channels become [1, -1] and [3, -3], and those 1.683633 and 0.316367."""
    attention = ChannelAttention(2, 2)
    attention.importance = torch.nn.Sequential(
        torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU(), torch.nn.Linear(1, 2, bias=False)
    )
    attention.importance[0].weight.data[:] = torch.tensor([[1.0, 1.0]])
    attention.importance[2].weight.data[:] = torch.tensor([[1.0], [-1.0]])
    features = torch.tensor([[1.0, 3.0], [-2.0, 0.0]]).reshape(1, 2, 1, 2)
    shortcut = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).reshape(1, 2, 1, 2)
    got = attention.weighed(features, shortcut)
    expected = torch.tensor([[1.683633, 5.050898], [0.367265, 1.0]]).reshape(1, 2, 1, 2)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_openvino_gives_the_same_scores():
    torch.manual_seed(0)
    network = AttentionUNet(NARROW, 2, supervised_levels=5).train()
    with torch.inference_mode():
        network(torch.randn(4, 1, 64, 64))  # other running statistics than 0 and 1
        network.eval()
        slices = torch.randn(1, 1, 64, 96)
        torch.testing.assert_close(openvino_scores(network, slices), network(slices), atol=1e-3, rtol=0)
