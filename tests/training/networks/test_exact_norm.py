import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from torch import nn  # noqa: E402

from training.networks.exact_norm import ExactNorm, with_exact_norms  # noqa: E402


@pytest.mark.parametrize("affine", [True, False])
def test_an_exact_norm_is_an_instance_norm(affine):
    torch.manual_seed(0)
    norm = nn.InstanceNorm3d(3, affine=affine)
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    features = 5 * torch.randn(1, 3, 2, 4, 6) + 2
    torch.testing.assert_close(ExactNorm(norm)(features), norm(features), atol=1e-5, rtol=1e-5)


def test_norms_worked_out_by_hand():
    """0 and 4 around their mean of 2, whose deviation is 2."""
    features = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 1, 2)
    assert ExactNorm(nn.InstanceNorm3d(1, eps=0.0))(features).flatten().tolist() == [-1.0, 1.0]


def test_a_copy_has_exact_norms_and_the_network_keeps_its_own():
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Sequential(nn.InstanceNorm3d(2, affine=True)), nn.BatchNorm3d(2))
    exact = with_exact_norms(network)
    assert isinstance(exact[1][0], ExactNorm)
    assert isinstance(exact[2], nn.BatchNorm3d)
    assert isinstance(network[1][0], nn.InstanceNorm3d)
