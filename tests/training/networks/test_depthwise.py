import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from torch import nn  # noqa: E402

from training.networks import depthwise  # noqa: E402
from training.networks.depthwise import Depthwise  # noqa: E402


def example(side, *, bias):
    torch.manual_seed(0)
    return Depthwise(3, side, bias=bias), torch.randn(2, 3, 4, 5, 6)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("side", [1, 3, 5, 7, 9])
def test_it_is_the_same_in_training_and_in_use(side, bias):
    layer, features = example(side, bias=bias)
    torch.testing.assert_close(layer.train()(features), layer.eval()(features))


def test_the_loops_are_for_training_and_for_their_sides():
    pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")
    loops, torchs = "DepthwiseConvolution", "Convolution"
    for side, training, kind in ((3, True, loops), (7, True, loops), (9, True, torchs), (7, False, torchs)):
        layer, features = example(side, bias=True)
        assert layer.train(training)(features).grad_fn.name().startswith(kind)


def test_what_the_loops_cannot_read_is_torch_s():
    layer, features = example(3, bias=False)
    assert layer.double()(features.double()).grad_fn.name().startswith("Convolution")


def test_without_numba_torch_does_it(monkeypatch):
    monkeypatch.setattr(depthwise, "HAS_NUMBA", False)
    layer, features = example(5, bias=True)
    assert layer(features).grad_fn.name().startswith("Convolution")


def test_under_autocast_the_bias_makes_no_other_dtype():
    layer, features = example(5, bias=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(nn.Conv3d(3, 3, 1)(features)).dtype == torch.bfloat16
