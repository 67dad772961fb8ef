import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.fixed_norm import FixedNorm  # noqa: E402


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
