from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.plain_unet import PlainUNet  # noqa: E402
from training.optimiser import STEP_OF_ADAMW, Muon, build_optimisers, orthogonalised  # noqa: E402
from training.recipe import load_recipe  # noqa: E402


def choice(kind):
    recipe = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "plain.toml")
    return replace(recipe.optimiser, kind=kind, weight_decay=0.0)


def step(optimisers, rate):
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()


def test_muon_goes_equally_far_in_all_directions():
    """Gradients of 100 and 1 along two channels: AdamW's length of step, 0.2 a weight in root mean square, in both."""
    convolution = torch.nn.Conv3d(2, 2, 1)
    before = convolution.weight.detach().clone()
    optimisers = build_optimisers(convolution, [], choice("muon"))
    convolution.bias.grad = torch.zeros(2)
    convolution.weight.grad = torch.tensor([[100.0, 0], [0, 1]]).reshape(2, 2, 1, 1, 1)
    step(optimisers, 0.01)
    first, mixed, mixed_too, second = ((before - convolution.weight) / 0.01).flatten().tolist()
    assert first == pytest.approx(0.2 * 2**0.5, rel=0.35)  # five iterations come near to one, no nearer
    assert second == pytest.approx(0.2 * 2**0.5, rel=0.35)
    assert max(abs(mixed), abs(mixed_too)) < 0.01


def test_stem_heads_and_vectors_are_left_to_adamw():
    """Whose hidden layer has as many channels as there are classes."""
    network = PlainUNet((4, 14), 14, stem_stride=1, supervised_levels=2)
    muon, adamw = build_optimisers(network, network.ends, choice("muon"))
    matrices = [tuple(parameter.shape) for parameter in muon.param_groups[0]["params"]]
    assert matrices == [(4, 4, 3, 3, 3), (14, 4, 3, 3, 3), (14, 14, 3, 3, 3), (14, 4, 2, 2, 2), (4, 8, 3, 3, 3)]
    others = [parameter for parameter in adamw.param_groups[0]["params"] if parameter.ndim > 1]
    assert [tuple(parameter.shape[:2]) for parameter in others] == [(4, 1), (14, 14), (14, 4)]
    stepped = len(matrices) + len(adamw.param_groups[0]["params"])
    assert stepped == len(list(network.parameters()))


def test_convolutions_of_groups_are_left_to_adamw():
    network = torch.nn.Sequential(torch.nn.Conv3d(4, 4, 1, groups=2), torch.nn.Conv3d(4, 6, 1))
    muon, _ = build_optimisers(network, [], choice("muon"))
    assert [tuple(parameter.shape) for parameter in muon.param_groups[0]["params"]] == [(6, 4, 1, 1, 1)]


def test_a_network_that_is_all_ends_has_nothing_for_muon():
    convolution = torch.nn.Conv3d(1, 14, 1)
    with pytest.raises(ValueError, match="finds no convolution between hidden layers"):
        build_optimisers(convolution, [convolution], choice("muon"))


@pytest.mark.parametrize("shape", [(6, 4, 3, 3, 3), (20, 2, 2, 2, 2), (4, 4, 1, 1, 1)])
def test_muon_steps_as_torchs_own(shape):
    """Which takes matrices, and iterates in bfloat16: a tenth of a step's root mean square, three times."""
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(shape))
    theirs = torch.nn.Parameter(ours.detach().flatten(1).clone())
    optimiser = Muon([ours], 0.1)
    judge = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.flatten(1).clone()
        step([optimiser], 0.01)
        judge.step()
    torch.testing.assert_close(ours.detach().flatten(1), theirs.detach(), atol=3 * 0.01 * STEP_OF_ADAMW / 10, rtol=0)


def test_weights_without_a_gradient_stay():
    weight = torch.nn.Parameter(torch.ones(2, 3, 1, 1, 1))
    step([Muon([weight], 0.1)], 0.01)
    assert torch.equal(weight.detach(), torch.ones(2, 3, 1, 1, 1))


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (1, 5)])
def test_orthogonalised_keeps_the_directions(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    got = orthogonalised(matrix)
    assert got.dtype == torch.float32
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ got @ right.T  # diagonal where the directions are the same
    assert (turned - turned.diag().diag()).abs().max() < 1e-5


def test_orthogonalised_brings_what_is_not_tiny_near_to_one():
    got = orthogonalised(torch.tensor([100.0, 30, 10, 3, 1, 0.01]).diag()).diag()  # 0.01 is 0.0001 of the norm
    assert 0.66 < got[:5].min() <= got[:5].max() < 1.23
    assert 0 < got[5] < 0.2


def test_a_gradient_of_zeros_is_no_direction():
    assert torch.equal(orthogonalised(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_sgd_by_hand():
    """Nesterov: a gradient of 1 twice, momentum 0.5, is a step of 1.5 and then one of 1.75; a decay of 0 adds none."""
    weight = torch.nn.Parameter(torch.zeros(1))
    module = torch.nn.Module()
    module.weight = weight
    (optimiser,) = build_optimisers(module, [], replace(choice("sgd"), momentum=0.5))
    for expected in (-1.5, -3.25):
        weight.grad = torch.ones(1)
        step([optimiser], 1.0)
        assert weight.item() == expected
