import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training.networks.scale_aware import (  # noqa: E402
    Attention,
    Block,
    ChannelNorm,
    FeedForward,
    LightBlock,
    Modulator,
    ScaleAwareUNet,
    interleaved,
)

CHANNELS = (60, 120, 240, 480)


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def published(depths=(2, 2, 2, 2)):
    with torch.device("meta"):
        return ScaleAwareUNet(CHANNELS, 14, depths=depths)


def only(layer, weight, bias=0.0):
    """The layer with `weight` (broadcast to its own) and `bias`."""
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight, dtype=torch.float32))
        layer.bias.fill_(bias)


def only_centre(layer, value=1.0):
    only(layer, 0)
    with torch.no_grad():
        layer.weight[:, :, *(side // 2 for side in layer.kernel_size)] = value


def matrix(rows):
    """Weights of a pointwise convolution."""
    return torch.tensor(rows, dtype=torch.float32)[..., None, None, None]


@pytest.mark.parametrize(("depths", "expected"), [((2, 2, 2, 2), 9_373_994), ((2, 4, 6, 2), 11_810_714)])
def test_parameters_at_both_published_depths(depths, expected):
    assert parameters(published(depths)) == expected


def test_parameters_part_by_part():
    network = published()
    assert [parameters(shrink) for shrink in network.shrink] == [
        930 + 120,
        194_520 + 240,
        777_840 + 480,
        3_110_880 + 960,
    ]
    blocks = [parameters(block) for stage in network.blocks for block in stage]
    assert blocks == [
        46_860, 46_860, 120,  # two modulator blocks and a norm
        158_520, 158_520, 240,
        576_240, 483_600, 480,  # a modulator and an attention
        1_888_800, 1_888_800, 960,
    ]  # fmt: skip
    assert parameters(network.deepest) == 10_560
    assert parameters(network.merge) == 10_500
    assert parameters(network.narrow) == 2_100
    assert parameters(network.up) + parameters(network.score) == 14_430 + 434


def test_the_third_stage_alternates_and_the_fourth_attends():
    kinds = [[type(block.mix) for block in stage[:-1]] for stage in published((2, 4, 6, 2)).blocks]
    assert kinds == [2 * [Modulator], 4 * [Modulator], 3 * [Modulator, Attention], 2 * [Attention]]
    heads = [
        block.mix.heads for stage in published().blocks for block in stage[:-1] if isinstance(block.mix, Attention)
    ]
    assert heads == [8, 16, 16]  # of 30 channels each


def test_sizes_of_a_published_window():
    network, volume = published(), torch.zeros(1, 1, 96, 96, 96, device="meta")
    sizes = [tuple(features.shape[1:]) for features in network.encode(volume)]
    assert sizes == [(60, 48, 48, 48), (120, 24, 24, 24), (240, 12, 12, 12), (480, 6, 6, 6)]
    assert tuple(network(volume).shape) == (1, 14, 96, 96, 96)


def test_sides_may_differ():
    network = ScaleAwareUNet((6, 12, 24, 48), 3).eval()
    assert tuple(network(torch.zeros(2, 1, 16, 32, 48)).shape) == (2, 3, 16, 32, 48)


def test_a_modulator_by_hand():
    """Two places along z hold 1, 2, 3 and 3, 2, 1; the sides 3, 5, 7 weigh 1, 2, 3. Slices 1, 3 / 4, 4 / 9, 3 normalise
    to -1, 1 / 0, 0 / 1, -1; GELU(a) - GELU(-a) is a, so that these are the gate."""
    modulator = Modulator(3)
    for layer in (modulator.value, modulator.scaled, modulator.out):
        only(layer, matrix(torch.eye(3).tolist()))
    for layer, weight in zip(modulator.scales, (1.0, 2.0, 3.0), strict=True):
        only_centre(layer, weight)
    assert [layer.kernel_size for layer in modulator.scales] == [(3, 3, 3), (5, 5, 5), (7, 7, 7)]
    both_signs = torch.cat([torch.eye(3), -torch.eye(3)])
    only(modulator.gate[0], matrix(both_signs.tolist()))
    only(modulator.gate[3], matrix(both_signs.T.tolist()))
    features = torch.tensor([[1.0, 3], [2, 2], [3, 1]]).reshape(1, 3, 2, 1, 1)
    expected = torch.tensor([[-1.0, 3], [0, 0], [3, -1]]).reshape(1, 3, 2, 1, 1)
    torch.testing.assert_close(modulator(features), expected, atol=1e-4, rtol=0)


def test_scales_are_interleaved_channel_by_channel():
    parts = torch.arange(6.0).reshape(1, 6, 1, 1, 1).chunk(3, 1)
    assert interleaved(list(parts)).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_attention_by_hand():
    """One head of two channels, two places of keys 0 and so of equal weight: each gets the mean of the values, and what
    is local on top, here the value itself."""
    attention = Attention(2, 1)
    only(attention.query, matrix(torch.eye(2).tolist()))
    only(attention.key_value, matrix([[0, 0], [0, 0], [1, 0], [0, 1]]))  # keys first
    only_centre(attention.local)
    only(attention.out, matrix(torch.eye(2).tolist()))
    features = torch.tensor([[1.0, 3], [10, 20]]).reshape(1, 2, 2, 1, 1)
    expected = torch.tensor([[2 + 1.0, 2 + 3], [15 + 10, 15 + 20]]).reshape(1, 2, 2, 1, 1)
    torch.testing.assert_close(attention(features), expected)


def test_heads_do_not_see_each_other_and_keys_decide():
    """Against softmax(q k / sqrt(d)) v, written out head by head."""
    torch.manual_seed(0)
    attention, features = Attention(4, 2), torch.randn(1, 4, 2, 3, 1)
    only(attention.local, 0)
    only(attention.out, matrix(torch.eye(4).tolist()))
    query = attention.query(features).reshape(4, 6)
    key, value = attention.key_value(features).reshape(2, 4, 6)
    expected = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = (query[head].T @ key[head] / 2**0.5).softmax(1)
        expected.append(value[head] @ weights.T)
    torch.testing.assert_close(attention(features).reshape(4, 6), torch.cat(expected))


def test_a_feed_forward_by_hand():
    """One channel of 2 widened to 2 and -2, each twice as large with its local copy: GELU(4) - GELU(-4) is 4."""
    layer = FeedForward(1)
    only(layer.widen, matrix([[1], [-1]]))
    only_centre(layer.local)
    only(layer.narrow, matrix([[1, -1]]))
    assert layer(torch.full((1, 1, 1, 1, 1), 2.0)).item() == pytest.approx(4, abs=1e-5)


def test_a_block_goes_around_its_two_parts():
    block = Block(3, Modulator(3))
    only(block.mix.out, 0)
    only(block.feed_forward.narrow, 0)
    features = torch.randn(1, 3, 2, 2, 2)
    assert torch.equal(block(features), features)


def test_a_channel_norm_normalises_every_place_by_itself():
    """1, 3 and 10, 30: both -1, 1."""
    features = torch.tensor([[1.0, 10], [3, 30]]).reshape(1, 2, 1, 1, 2)
    got = ChannelNorm(2)(features)
    torch.testing.assert_close(got.flatten().detach(), torch.tensor([-1.0, -1, 1, 1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("value", "expected"), [(4.0, 6.0), (8.0, 9.0), (-1.0, 0.0)])
def test_the_gate_of_a_light_block_by_hand(value, expected):
    """Gate of weight 0: a half. v + v / 2, v cut to 0 to 6."""
    block = LightBlock(1, 1).eval()
    only_centre(block.along[0])
    only_centre(block.in_plane[0])
    only(block.gate[0], 0)
    assert block(torch.full((1, 1, 1, 1, 1), value)).item() == pytest.approx(expected, rel=1e-4)


def test_what_is_gated_came_along_z_and_what_is_not_went_on_in_plane():
    """4 along z, half of that in plane: 2 + 4 / 2."""
    block = LightBlock(1, 1).eval()
    only_centre(block.along[0])
    only_centre(block.in_plane[0], 0.5)
    only(block.gate[0], 0)
    assert block(torch.full((1, 1, 1, 1, 1), 4.0)).item() == pytest.approx(4, rel=1e-4)


def test_the_way_up_begins_around_a_shortcut_and_comes_before_each_skip():
    torch.manual_seed(0)
    network, volume = ScaleAwareUNet((6, 12, 24, 48), 3).eval(), torch.randn(1, 1, 32, 32, 32)
    seen = {}
    network.narrow[0].register_forward_hook(lambda _module, inputs, output: seen.update(deepest=inputs[0], up=output))
    network.merge[0].register_forward_pre_hook(lambda _module, inputs: seen.update(merged=inputs[0]))
    network(volume)
    skip, deepest = network.encode(volume)[2:]
    torch.testing.assert_close(seen["deepest"], deepest + network.deepest(deepest))
    assert torch.equal(seen["merged"][:, 24:], skip)
    torch.testing.assert_close(seen["merged"][..., 0, 0, 0][:, :24], seen["up"][..., 0, 0, 0])  # the corner stays


def test_a_light_block_looks_along_z_first_and_then_in_plane():
    block = LightBlock(1, 1).eval()
    assert [part[0].kernel_size for part in (block.along, block.in_plane, block.gate)] == [
        (3, 1, 1),
        (1, 3, 3),
        (1, 1, 1),
    ]


def test_half_of_a_merging_blocks_channels_see_the_way_up_and_half_the_skip():
    torch.manual_seed(0)
    block = LightBlock(8, 4).eval()
    up, skip = torch.randn(2, 1, 4, 3, 3, 3)
    both, other_skip, other_up = (
        block.along(torch.cat(parts, 1)) for parts in ((up, skip), (up, skip + 1), (up + 1, skip))
    )
    assert torch.equal(both[:, :2], other_skip[:, :2])
    assert not torch.equal(both[:, 2:], other_skip[:, 2:])
    assert torch.equal(both[:, 2:], other_up[:, 2:])


def test_every_weight_gets_a_gradient():
    torch.manual_seed(0)
    network = ScaleAwareUNet((6, 12, 24, 48), 3).train()
    network(torch.randn(2, 1, 32, 32, 32)).square().mean().backward()
    weights = {name: weight for name, weight in network.named_parameters() if weight.ndim > 1}
    assert not [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()]


@pytest.mark.parametrize(
    ("channels", "depths", "message"),
    [
        ((6, 12, 24), (2, 2, 2, 2), "channels must be four"),
        ((8, 16, 32, 64), (2, 2, 2, 2), "the first a multiple of 6"),
        ((6, 12, 24, 36), (2, 2, 2, 2), "each twice the last"),
        ((6, 12, 24, 48), (2, 2, 2), "depths must be four"),
        ((6, 12, 24, 48), (2, 2, 2, 0), "each 1 or more"),
    ],
)
def test_networks_that_cannot_be(channels, depths, message):
    with pytest.raises(ValueError, match=message):
        ScaleAwareUNet(channels, 3, depths=depths)


@pytest.mark.slow
@pytest.mark.parametrize("depths", [(2, 2, 2, 2), (2, 4, 6, 2)])
def test_openvino_gives_the_same_scores(depths):
    torch.manual_seed(0)
    network, volume = ScaleAwareUNet((12, 24, 48, 96), 5, depths=depths), torch.randn(1, 1, 32, 48, 64)
    with torch.inference_mode():
        network.train()(volume)  # batch norms have statistics of something
        network.eval()
        torch.testing.assert_close(openvino_scores(network, volume), network(volume), atol=1e-3, rtol=0)
