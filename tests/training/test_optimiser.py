from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks import PlainUNet  # noqa: E402
from training.optimiser import build_optimisers  # noqa: E402
from training.recipe import load_recipe  # noqa: E402


def choice(kind):
    recipe = load_recipe(Path(__file__).parents[2] / "training" / "recipes" / "fine.toml")
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
    optimisers = build_optimisers(convolution, 14, choice("muon"))
    convolution.bias.grad = torch.zeros(2)
    convolution.weight.grad = torch.tensor([[100.0, 0], [0, 1]]).reshape(2, 2, 1, 1, 1)
    step(optimisers, 0.01)
    first, mixed, mixed_too, second = ((before - convolution.weight) / 0.01).flatten().tolist()
    assert first == pytest.approx(0.2 * 2**0.5, rel=0.35)  # five iterations come near to one, no nearer
    assert second == pytest.approx(0.2 * 2**0.5, rel=0.35)
    assert max(abs(mixed), abs(mixed_too)) < 0.01


def test_stem_heads_and_vectors_are_left_to_adamw():
    network = PlainUNet((4, 6), 14, stem_stride=1, supervised_levels=2)
    muon, adamw = build_optimisers(network, 14, choice("muon"))
    matrices = [tuple(parameter.shape) for parameter in muon.param_groups[0]["params"]]
    assert matrices == [(4, 4 * 27), (6, 4 * 27), (6, 6 * 27), (6, 4 * 8), (4, 8 * 27)]
    others = [parameter for parameter in adamw.param_groups[0]["params"] if parameter.ndim > 1]
    assert [tuple(parameter.shape[:2]) for parameter in others] == [(4, 1), (14, 6), (14, 4)]
    stepped = len(matrices) + len(adamw.param_groups[0]["params"])
    assert stepped == len(list(network.parameters()))


def test_convolutions_of_groups_are_left_to_adamw():
    network = torch.nn.Sequential(torch.nn.Conv3d(4, 4, 1, groups=2), torch.nn.Conv3d(4, 6, 1))
    muon, _ = build_optimisers(network, 14, choice("muon"))
    assert [tuple(parameter.shape) for parameter in muon.param_groups[0]["params"]] == [(6, 4)]


def test_torch_without_muon_is_said(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r'kind = "muon" needs torch 2.9 or later, found .* "adamw"'):
        build_optimisers(torch.nn.Conv3d(2, 2, 1), 14, choice("muon"))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_parameter_moves_once(kind):
    network = PlainUNet((4, 6), 14, stem_stride=1, supervised_levels=2)
    parameters = [parameter.detach() for parameter in network.parameters()]
    before = [parameter.clone() for parameter in parameters]
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    step(build_optimisers(network, 14, choice(kind)), 0.01)
    moved = [(old - new).norm() / old.numel() ** 0.5 for old, new in zip(before, parameters, strict=True)]
    assert all(0.0005 < float(length) < 0.0101 for length in moved)


def test_a_parameter_without_a_gradient_stays():
    convolution = torch.nn.Conv3d(2, 2, 1)
    before = convolution.weight.detach().clone()
    step(build_optimisers(convolution, 14, choice("muon")), 0.01)
    assert torch.equal(convolution.weight, before)
