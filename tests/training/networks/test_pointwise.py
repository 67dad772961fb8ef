import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from torch.nn import functional as F  # noqa: E402

from training.networks.pointwise import Pointwise  # noqa: E402


def test_by_hand():
    layer = Pointwise(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([10.0, 1.0]).view(1, 2, 1, 1, 1))
        layer.bias.fill_(0.5)
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 2, 1, 1, 2)
    assert layer(features).flatten().tolist() == [13.5, 24.5]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 6), (1, 3, 1, 1, 1)])
def test_values_and_gradients_are_those_of_a_convolution(shape, bias):
    torch.manual_seed(0)
    layer, features = Pointwise(3, 5, bias=bias), torch.randn(shape, requires_grad=True)
    ours, theirs = layer(features), F.conv3d(features, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs)
    slope, asked = torch.randn_like(theirs), (features, *layer.parameters())
    torch.testing.assert_close(torch.autograd.grad(ours, asked, slope), torch.autograd.grad(theirs, asked, slope))


def test_what_is_written_out_is_a_convolution():
    layer, features = Pointwise(3, 5), torch.zeros(1, 3, 2, 2, 2)
    assert not layer.train()(features).grad_fn.name().startswith("Convolution")
    assert layer.eval()(features).grad_fn.name().startswith("Convolution")


def test_under_autocast_the_bias_makes_no_other_dtype():
    with torch.autocast("cpu", torch.bfloat16):
        assert Pointwise(3, 5)(torch.zeros(1, 3, 2, 2, 2)).dtype == torch.bfloat16
