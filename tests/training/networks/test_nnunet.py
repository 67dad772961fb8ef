from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training.networks.nnunet import (  # noqa: E402
    ANISOTROPIC,
    CUBE,
    DISTILLED,
    HALF,
    ISOTROPIC,
    SMALL,
    WHOLE,
    NNUNet,
    Plan,
    shortened,
)

PLANS = [ISOTROPIC, DISTILLED, SMALL, ANISOTROPIC]
TINY = Plan((2, 3, 4), (WHOLE, HALF, (1, 2, 2)), 3 * (CUBE,), 2 * (CUBE,))


def narrow(plan):
    return replace(plan, channels=tuple(max(2, size // 16) for size in plan.channels))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def unbuilt(plan, classes, supervised_levels, finest_level=0):
    with torch.device("meta"):
        return NNUNet(plan, classes, supervised_levels=supervised_levels, finest_level=finest_level)


@pytest.mark.parametrize(
    ("plan", "classes", "all_heads", "one_head"),
    [
        pytest.param(ISOTROPIC, 14, 30_794_784, 30_784_032, id="000's teacher, 003's organs"),
        pytest.param(ISOTROPIC, 15, 30_795_584, 30_784_064, id="003's tumours"),
        pytest.param(replace(ISOTROPIC, up_bias=True), 14, 30_795_654, 30_784_846, id="004 planned anew for 2.5 mm"),
        pytest.param(DISTILLED, 14, 30_266_896, 30_255_696, id="000's student"),
        pytest.param(SMALL, 15, 5_644_256, 5_640_896, id="002's student"),
        pytest.param(ANISOTROPIC, 14, 30_713_158, 30_702_350, id="004"),
    ],
)
def test_parameters_of_the_published_networks(plan, classes, all_heads, one_head):
    levels = len(plan.channels) - 1
    assert parameters(unbuilt(plan, classes, levels)) == all_heads
    assert parameters(unbuilt(plan, classes, 1)) == one_head


def test_parameters_of_the_ways_down_of_000():
    assert parameters(unbuilt(ISOTROPIC, 14, 5).down) == 14_025_120
    assert parameters(unbuilt(DISTILLED, 14, 6).down) == 14_045_520


def test_parameters_of_003_with_its_way_up_shortened():
    assert parameters(unbuilt(ISOTROPIC, 14, 1, finest_level=2)) == 30_288_160


def test_parameters_of_003_part_by_part():
    def parts(network):
        return [parameters(part) for part in (network.down, network.up, network.merge, network.heads)]

    assert parts(unbuilt(ISOTROPIC, 14, 5)) == [14_025_120, 1_409_024, 15_349_440, 11_200]
    assert parts(unbuilt(ISOTROPIC, 15, 5)) == [14_025_120, 1_409_024, 15_349_440, 12_000]
    assert parts(unbuilt(ISOTROPIC, 14, 1, finest_level=2)) == [14_025_120, 1_327_104, 14_934_144, 1_792]


def test_parameters_of_002s_student_stage_by_stage():
    network = unbuilt(SMALL, 15, 4)
    assert [parameters(stage) for stage in network.down] == [2_544, 41_664, 166_272, 664_320, 2_655_744]
    assert [parameters(up) for up in network.up.values()] == [262_144, 65_536, 16_384, 2_048]
    assert [parameters(block) for block in network.merge.values()] == [1_327_872, 332_160, 83_136, 20_832]
    assert [parameters(head) for head in network.heads.values()] == [1_920, 960, 480, 240]


def test_parameters_of_004_stage_by_stage():
    network = unbuilt(ANISOTROPIC, 14, 5)
    assert [parameters(stage) for stage in network.down] == [9_696, 166_272, 664_320, 2_655_744, 4_978_560, 5_531_520]
    assert [parameters(up) for up in network.up.values()] == [409_920, 655_616, 262_272, 65_600, 8_224]
    assert [parameters(block) for block in network.merge.values()] == [
        8_296_320, 5_309_952, 1_327_872, 332_160, 27_840,
    ]  # fmt: skip
    assert [parameters(head) for head in network.heads.values()] == [4_494, 3_598, 1_806, 910, 462]


@pytest.mark.parametrize(
    ("plan", "patch", "stages"),
    [
        pytest.param(
            ISOTROPIC, (80, 160, 160),
            [(80, 160, 160), (40, 80, 80), (20, 40, 40), (10, 20, 20), (5, 10, 10), (5, 5, 5)], id="000's teacher",
        ),
        pytest.param(
            DISTILLED, (80, 160, 160),
            [(80, 160, 160), (40, 80, 80), (20, 40, 40), (10, 20, 20), (5, 10, 10), (5, 10, 10), (5, 5, 5)],
            id="000's student",
        ),
        pytest.param(
            SMALL, (32, 128, 192), [(32, 128, 192), (32, 64, 96), (16, 32, 48), (8, 16, 24), (4, 8, 12)],
            id="002's student",
        ),
        pytest.param(
            ISOTROPIC, (64, 160, 224),
            [(64, 160, 224), (32, 80, 112), (16, 40, 56), (8, 20, 28), (4, 10, 14), (4, 5, 7)],
            id="003's coarse and organ models",
        ),
        pytest.param(
            ISOTROPIC, (96, 160, 192),
            [(96, 160, 192), (48, 80, 96), (24, 40, 48), (12, 20, 24), (6, 10, 12), (6, 5, 6)],
            id="003's tumours, first weights",
        ),
        pytest.param(
            ISOTROPIC, (96, 128, 192),
            [(96, 128, 192), (48, 64, 96), (24, 32, 48), (12, 16, 24), (6, 8, 12), (6, 4, 6)],
            id="003's tumours, second weights",
        ),
        pytest.param(
            ANISOTROPIC, (40, 224, 192),
            [(40, 224, 192), (40, 112, 96), (20, 56, 48), (10, 28, 24), (5, 14, 12), (5, 7, 6)], id="004",
        ),
    ],
)  # fmt: skip
def test_sizes_of_the_published_networks(plan, patch, stages):
    network = unbuilt(plan, 14, len(plan.channels) - 1)
    volume = torch.zeros(2, 1, *patch, device="meta")
    features, levels = network.encode(volume), network.levels(volume)
    expected = [(2, size, *sides) for size, sides in zip(plan.channels, stages, strict=True)]
    assert [tuple(feature.shape) for feature in features] == expected
    assert [tuple(scores.shape) for scores in levels] == [(2, 14, *sides) for sides in stages[:-1]]
    assert tuple(network(volume).shape) == (2, 14, *patch)


def test_what_sides_must_be_multiples_of():
    assert [plan.multiple for plan in PLANS] == [(16, 32, 32), (16, 32, 32), (8, 16, 16), (8, 32, 32)]


def test_what_comes_up_is_before_what_was_skipped():
    """One channel, every weight of the way up 0 but that of the first channel: the skip is not seen, the rest is."""
    network = NNUNet(Plan((1, 1), (WHOLE, HALF), 2 * (CUBE,), (CUBE,)), 1, supervised_levels=1)
    first = network.merge["0"][0]
    assert first.in_channels == 2
    with torch.no_grad():
        first.weight.zero_()
        first.weight[0, 0] = 1
    fine, coarse = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 2, 2, 2)
    before = network.decode([fine, coarse])[0]
    assert torch.equal(before, network.decode([fine + 1, coarse])[0])
    assert not torch.equal(before, network.decode([fine, coarse.flip(2)])[0])


def test_every_weight_gets_a_gradient():
    """But the biases before a norm, which takes them off again."""
    torch.manual_seed(0)
    network = NNUNet(TINY, 3, supervised_levels=2)
    sum(scores.square().mean() for scores in network.levels(torch.randn(1, 1, 8, 16, 16))).backward()
    weights = {name: weight for name, weight in network.named_parameters() if weight.ndim > 1}
    assert not [name for name, weight in weights.items() if weight.grad is None or not weight.grad.any()]


def test_heads_are_as_many_as_levels_are_supervised():
    assert list(NNUNet(TINY, 3, supervised_levels=1).heads) == ["0"]
    assert list(NNUNet(TINY, 3, supervised_levels=2).heads) == ["1", "0"]
    assert list(NNUNet(TINY, 3, supervised_levels=1, finest_level=1).heads) == ["1"]


def test_weights_start_as_nnu_nets_or_as_torchs():
    """Kaiming's deviation of 3x3x3 weights of 64 channels is sqrt(2 / 1.0001 / 1728) = 0.034, torch's 0.0139."""
    torch.manual_seed(0)
    plan = Plan((64, 64), (WHOLE, HALF), 2 * (CUBE,), (CUBE,))
    ours = NNUNet(plan, 3, supervised_levels=1).down[1][0]
    theirs = NNUNet(replace(plan, kaiming=False), 3, supervised_levels=1).down[1][0]
    assert float(ours.weight.detach().std()) == pytest.approx(0.0340, abs=0.0003)
    assert not ours.bias.any()
    assert float(theirs.weight.detach().std()) == pytest.approx(0.0139, abs=0.0003)
    assert theirs.bias.all()


def test_a_shortened_network_gives_the_scores_of_the_whole_ones_level():
    torch.manual_seed(0)
    network = NNUNet(TINY, 3, supervised_levels=2).eval()
    short, volume = shortened(network, 1), torch.randn(1, 1, 8, 16, 16)
    assert torch.equal(short(volume), network.levels(volume)[1])
    assert list(short.up) == ["1"]
    assert not short.training


def test_a_level_without_a_head_cannot_be_the_last():
    with pytest.raises(KeyError, match=r"heads\.1\.weight"):
        shortened(NNUNet(TINY, 3, supervised_levels=1), 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strides": (WHOLE, HALF)}, "3 channels, 2 strides, 3 kernels and 2 up"),
        ({"up_kernels": 3 * (CUBE,)}, "3 channels, 3 strides, 3 kernels and 3 up"),
        ({"channels": (2,), "strides": (WHOLE,), "kernels": (CUBE,), "up_kernels": ()}, "two stages or more"),
        ({"kernels": (CUBE, CUBE, (2, 3, 3))}, "sides must be odd"),
    ],
)
def test_plans_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=["isotropic", "distilled", "small", "anisotropic"])
def test_openvino_gives_the_same_scores(plan):
    torch.manual_seed(0)
    network = NNUNet(narrow(plan), 5, supervised_levels=1).eval()
    volume = torch.randn(1, 1, 16, 64, 32)
    with torch.inference_mode():
        torch.testing.assert_close(openvino_scores(network, volume), network(volume), atol=1e-3, rtol=0)
