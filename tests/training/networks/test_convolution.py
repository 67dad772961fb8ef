import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")

from torch.nn import functional as F  # noqa: E402

from training.networks import convolution  # noqa: E402
from training.networks.convolution import Convolution  # noqa: E402
from training.networks.convolution_loops import weight_gradient  # noqa: E402

LOOPS = "_Convolve"


@pytest.fixture(autouse=True)
def _small_volumes_too(monkeypatch):
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 1)


def layer(inputs, outputs, kernel=(3, 3, 3), **options):
    z, y, x = (side // 2 for side in kernel)
    return Convolution(inputs, outputs, kernel, padding=(z, y, x), **options)


def way(convolution, features):
    """Who computes the gradients: the name of the autograd node."""
    return convolution(features).grad_fn.name()


def test_a_gradient_by_hand():
    """Along x 1, 2, 3, a slope of 1 at the middle alone: every tap sees what lies beside the middle. The other three
    outputs have slopes of 0, 10 and 100."""
    features = torch.tensor([1.0, 2, 3]).reshape(1, 1, 1, 1, 3)
    slope = torch.zeros(1, 4, 1, 1, 3)
    slope[0, :, 0, 0, 1] = torch.tensor([1.0, 0, 10, 100])
    got = weight_gradient(features, slope, (1, 3, 3))
    assert got[:, 0, 0, 1].tolist() == [[1, 2, 3], [0, 0, 0], [10, 20, 30], [100, 200, 300]]
    assert not got[:, :, :, [0, 2]].any()  # rows of padding


@pytest.mark.parametrize(
    ("outputs", "kernel", "dtype"),
    [(6, (3, 3, 3), torch.float32), (4, (3, 3, 1), torch.float32), (4, (3, 3, 3), torch.float64)],
)
def test_what_the_loops_are_not_written_for_is_refused(outputs, kernel, dtype):
    features, slope = torch.zeros(1, 1, 2, 2, 2, dtype=dtype), torch.zeros(1, outputs, 2, 2, 2, dtype=dtype)
    with pytest.raises(ValueError, match="outputs a multiple of 4, float32; found"):
        weight_gradient(features, slope, kernel)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (1, 3, 3)])
@pytest.mark.parametrize("shape", [(5, 6, 7), (1, 1, 1), (1, 9, 2), (2, 40, 40)])
def test_values_and_gradients_are_those_of_torch(kernel, batch, bias, shape):
    torch.manual_seed(0)
    ours = layer(3, 8, kernel, bias=bias)
    features = torch.randn(batch, 3, *shape, requires_grad=True)
    assert way(ours, features).startswith(LOOPS)
    got = ours(features)
    expected = F.conv3d(features, ours.weight, ours.bias, padding=ours.padding)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    slope, asked = torch.randn_like(got), (features, *ours.parameters())
    torch.testing.assert_close(
        torch.autograd.grad(got, asked, slope), torch.autograd.grad(expected, asked, slope), rtol=1e-3, atol=1e-3
    )


def test_only_what_is_asked_for_gets_a_gradient():
    ours, features = layer(2, 4), torch.ones(1, 2, 3, 3, 3, requires_grad=True)
    ours.requires_grad_(requires_grad=False)
    ours(features).sum().backward()
    assert features.grad.any()
    assert ours.weight.grad is None


def test_in_use_and_without_gradients_torch_does_it():
    ours, features = layer(2, 4), torch.ones(2, 2, 4, 4, 4)
    trained = ours(features)
    with torch.no_grad():
        torch.testing.assert_close(ours(features), trained)
    assert not way(ours.eval(), features).startswith(LOOPS)


def test_under_autocast_and_in_float64_torch_does_it():
    ours, features = layer(2, 4), torch.ones(2, 2, 4, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(features).dtype == torch.bfloat16
        assert not way(ours, features).startswith(LOOPS)
    assert not way(ours.double(), features.double()).startswith(LOOPS)


@pytest.mark.parametrize(
    ("inputs", "outputs", "options"),
    [
        (2, 6, {}),
        (2, 4, {"stride": 2}),
        (4, 4, {"groups": 4}),
        (2, 132, {}),
        (132, 4, {}),
        (2, 4, {"kernel": (3, 1, 1)}),
    ],
    ids=["not a multiple of four", "stride", "groups", "many outputs", "many inputs", "another kernel"],
)
def test_what_the_loops_are_not_for(inputs, outputs, options):
    ours, features = layer(inputs, outputs, **options), torch.randn(1, inputs, 4, 4, 4)
    assert not way(ours, features).startswith(LOOPS)


@pytest.mark.parametrize("options", [{"padding": 0}, {"padding": 2, "dilation": 2}], ids=["padding", "dilation"])
def test_a_size_that_is_not_kept_otherwise_is_left_to_torch(options):
    ours = Convolution(2, 4, 3, **options)
    assert not way(ours, torch.randn(1, 2, 5, 5, 5)).startswith(LOOPS)


def test_small_volumes_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 65)
    ours = layer(2, 4)
    assert not way(ours, torch.ones(1, 2, 4, 4, 4)).startswith(LOOPS)
    assert way(ours, torch.ones(1, 2, 4, 4, 5)).startswith(LOOPS)


def test_without_numba_torch_does_it(monkeypatch):
    monkeypatch.setattr(convolution, "HAS_NUMBA", False)
    assert not way(layer(2, 4), torch.ones(1, 2, 4, 4, 4)).startswith(LOOPS)
