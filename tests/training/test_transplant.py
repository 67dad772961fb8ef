from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.nnunet import ANISOTROPIC, CUBE, ISOTROPIC, SLICE, NNUNet, Plan  # noqa: E402
from training.networks.plain_unet import PlainUNet  # noqa: E402
from training.networks.scale_aware import ScaleAwareUNet  # noqa: E402
from training.recipe import PLANS  # noqa: E402
from training.transplant import fitted, with_more_classes  # noqa: E402


def network(plan, *channels):
    torch.manual_seed(len(channels) + sum(channels))
    return NNUNet(replace(plan, channels=channels), classes=3, supervised_levels=2)


def begun(before, after):
    """`after` with what it can begin with of `before`; and how many of its tensors that were."""
    weights = fitted(before.state_dict(), after)
    after.load_state_dict(weights, strict=False)
    return len(weights)


def test_the_same_shape_is_taken_and_another_name_is_not():
    layer = torch.nn.Linear(2, 2)
    weights = {"heads.0.bias": torch.zeros(3), "weight": torch.ones(2, 2), "bias": torch.zeros(2)}
    result = fitted(weights, layer)
    assert result.keys() == {"weight", "bias"}
    assert torch.equal(result["weight"], torch.ones(2, 2))


def test_more_classes_begin_as_the_network_has_them():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 3, 1))
    weights = {"0.bias": torch.ones(2), "1.weight": torch.ones(2, 2, 1, 1, 1), "1.bias": torch.ones(2)}
    result = with_more_classes(weights, network, [network[1]])
    assert torch.equal(result["0.bias"], weights["0.bias"])
    assert torch.equal(result["1.weight"][:2], weights["1.weight"])
    assert torch.equal(result["1.weight"][2], network[1].weight[2])
    assert torch.equal(result["1.bias"], torch.cat([torch.ones(2), network[1].bias[2:].detach()]))


def test_narrower_than_it_was_is_left_out():
    assert fitted({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, torch.nn.Linear(2, 2)) == {}


def test_first_channels_see_nothing_of_the_new_ones():
    layer = torch.nn.Linear(3, 3)  # by output and input
    layer.joined = []
    own = layer.weight.detach().clone()
    result = fitted({"weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "bias": torch.tensor([5.0, 6.0])}, layer)
    assert torch.equal(result["weight"][:2], torch.tensor([[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]]))
    assert torch.equal(result["weight"][2], own[2])
    assert torch.equal(result["bias"], torch.tensor([5.0, 6.0, float(layer.bias.detach()[2])]))


def test_a_wider_network_computes_what_the_narrow_one_did():
    plan = Plan((2, 3, 4), ISOTROPIC.strides[:3], 3 * (CUBE,), 2 * (CUBE,))
    narrow, wide = network(plan, 2, 3, 4), network(plan, 4, 5, 4)
    assert begun(narrow, wide) == len(wide.state_dict())
    volume = torch.randn(1, 1, 8, 8, 8)
    for ours, theirs in zip(narrow.levels(volume), wide.levels(volume), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_wider_plain_unet_does_too():
    narrow, wide = (PlainUNet(sides, 3, stem_stride=1, supervised_levels=2) for sides in ((2, 3, 4), (4, 5, 6)))
    assert begun(narrow, wide) == len(wide.state_dict())
    volume = torch.randn(1, 1, 8, 8, 8)
    for ours, theirs in zip(narrow.levels(volume), wide.levels(volume), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_a_network_that_does_not_say_what_it_joins_takes_no_wider_layer():
    narrow, wide = (ScaleAwareUNet(sides, 3, depths=(1, 1, 1, 1)) for sides in ((6, 12, 24, 48), (12, 24, 48, 96)))
    weights = fitted(narrow.state_dict(), wide)
    assert weights
    assert all(weights[name].shape == narrow.state_dict()[name].shape for name in weights)


def test_of_new_channels_all_weights_learn():
    plan = Plan((2, 3, 4), ISOTROPIC.strides[:3], 3 * (CUBE,), 2 * (CUBE,))
    narrow, wide = network(plan, 2, 3, 4), network(plan, 4, 6, 8)
    begun(narrow, wide)
    torch.stack([scores.square().mean() for scores in wide.levels(torch.randn(1, 1, 8, 8, 8))]).sum().backward()
    assert wide.heads["0"].weight.grad[:, 2:].abs().min() > 0  # they see the new channels, which are not all alike


def test_whole_where_it_was_flat_computes_the_same():
    flat = Plan((2, 3), ISOTROPIC.strides[:2], (SLICE, CUBE), (SLICE,))
    whole = replace(flat, kernels=(CUBE, CUBE), up_kernels=(CUBE,))
    before, after = network(flat, 2, 3), network(whole, 2, 3)
    assert begun(before, after) == len(after.state_dict())
    volume = torch.randn(1, 1, 4, 8, 8)
    torch.testing.assert_close(before(volume), after(volume))


def test_flat_where_it_was_whole_is_the_sum_of_its_slices():
    layer = torch.nn.Conv3d(1, 1, (1, 1, 1), bias=False)
    result = fitted({"weight": torch.arange(3.0).reshape(1, 1, 3, 1, 1)}, layer)
    assert torch.equal(result["weight"], torch.full((1, 1, 1, 1, 1), 3.0))


def test_a_transposed_kernel_is_as_long_as_its_stride():
    """Two steps of one value are one of their mean, and the other way round the same for both."""
    one, two = torch.nn.ConvTranspose3d(1, 1, (1, 1, 1)), torch.nn.ConvTranspose3d(1, 1, (2, 1, 1))
    long = torch.tensor([1.0, 3.0]).reshape(1, 1, 2, 1, 1)
    assert torch.equal(fitted({"weight": long}, one)["weight"], torch.full((1, 1, 1, 1, 1), 2.0))
    assert torch.equal(fitted({"weight": torch.ones(1, 1, 1, 1, 1)}, two)["weight"], torch.ones(1, 1, 2, 1, 1))


def test_sides_that_cannot_be_had_are_left_out():
    assert fitted({"weight": torch.zeros(1, 1, 5, 3, 3)}, torch.nn.Conv3d(1, 1, 3, bias=False)) == {}
    assert fitted({"weight": torch.zeros(1, 1, 1, 2, 2)}, torch.nn.Conv3d(1, 1, 2, bias=False)) == {}


def test_a_stage_deeper_begins_as_the_other_plan():
    """All but the new stage and the way out of it: the isotropic plan's deepest stage is the distilled one's next."""
    deeper = Plan((2, 3, 4, 4, 4, 4, 4), PLANS["distilled"], 7 * (CUBE,), 6 * (CUBE,))
    before, after = network(ISOTROPIC, 2, 3, 4, 4, 4, 4), network(deeper, 2, 3, 4, 4, 4, 4, 4)
    new = after.state_dict().keys() - fitted(before.state_dict(), after).keys()
    assert {name.split(".", 2)[0] + "." + name.split(".", 2)[1] for name in new} == {"down.6", "up.5", "merge.5"}


def test_from_a_plan_of_whole_kernels_to_a_flat_one_everything_fits():
    before, after = network(ISOTROPIC, 2, 3, 4, 4, 4, 4), network(ANISOTROPIC, 2, 3, 4, 4, 4, 4)
    new = after.state_dict().keys() - fitted(before.state_dict(), after).keys()
    assert new == {f"up.{level}.bias" for level in range(5)} | {f"heads.{level}.bias" for level in range(2)}
