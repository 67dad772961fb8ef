import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.fixed_norm import FixedNorm, folded  # noqa: E402
from training.networks.half_resolution import HalfResolutionUNet  # noqa: E402


@pytest.mark.parametrize("training", [True, False])
def test_by_hand(training):
    """Mean 2, variance 4, weight 3, bias 1: 6 is two deviations away, 0 one below."""
    norm = FixedNorm(1).train(training)
    for name, value in {"mean": 2, "variance": 4, "weight": 3, "bias": 1}.items():
        getattr(norm, name).data.fill_(value)
    got = norm(torch.tensor([6.0, 0.0]).reshape(1, 1, 1, 1, 2))
    assert got.flatten().tolist() == pytest.approx([7, -2], abs=1e-4)
    assert (float(norm.mean), float(norm.variance)) == (2, 4)


def test_channels_have_their_own():
    norm = FixedNorm(2)
    assert not norm.is_measured
    norm.mean.copy_(torch.tensor([1.0, -1.0]))
    assert norm.is_measured
    got = norm(torch.zeros(1, 2, 1, 1, 1))
    assert got.flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)


def test_folded_by_hand():
    """A convolution by 5, then a norm of mean 2, variance 4, weight 3 and bias 1: 7.5 times the input, less 2."""
    norm = FixedNorm(1)
    for name, value in {"mean": 2, "variance": 4, "weight": 3, "bias": 1}.items():
        getattr(norm, name).data.fill_(value)
    convolution = torch.nn.Conv3d(1, 1, 1, bias=False)
    convolution.weight.data.fill_(5)
    network = torch.nn.Sequential(convolution, norm)
    convolved, left = folded(network)
    assert (convolved.weight.item(), convolved.bias.item()) == pytest.approx((7.5, -2), abs=1e-4)
    assert isinstance(left, torch.nn.Identity)
    assert (convolution.weight.item(), network[1]) == (5, norm)  # as it was


@pytest.mark.parametrize(("norm", "fixed_levels"), [("batch-renorm", 0), ("instance", 1), ("instance", 0)])
def test_a_network_folded_answers_as_before(norm, fixed_levels):
    network = HalfResolutionUNet((4, 6), 3, supervised_levels=1, norm=norm, fixed_levels=fixed_levels)
    volume = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    network.train()(volume)  # so that the running statistics of batch renorm are not those of nothing
    for name, values in network.state_dict().items():
        if fixed_levels and name.endswith(("mean", "variance")):
            values.copy_(torch.linspace(0.5, 2, len(values)))
    with torch.inference_mode():
        torch.testing.assert_close(folded(network)(volume), network.eval()(volume), atol=1e-5, rtol=1e-4)
    assert not any(name.endswith("variance") for name in folded(network).state_dict())
