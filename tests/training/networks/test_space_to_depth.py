import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training import recipe  # noqa: E402
from training.networks.half_resolution import HalfResolutionUNet  # noqa: E402
from training.networks.quarter_resolution import QuarterResolutionUNet  # noqa: E402
from training.networks.space_to_depth import NORMS, Doubling, depth_to_space, space_to_depth  # noqa: E402


def test_no_voxel_is_lost_on_the_way_to_depth_and_back():
    volume = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    deep = space_to_depth(volume)
    assert tuple(deep.shape) == (2, 24, 2, 3, 4)
    assert deep[0, :8, 0, 0, 0].tolist() == [0, 1, 8, 9, 48, 49, 56, 57]  # a block of 2 x 2 x 2, x fastest
    assert torch.equal(depth_to_space(deep), volume)


def test_doubling_is_a_transposed_convolution():
    torch.manual_seed(0)
    layer, features = Doubling(3, 5), torch.randn(2, 3, 2, 3, 4, requires_grad=True)
    ours, theirs = layer.train()(features), torch.nn.functional.conv_transpose3d(features, layer.weight, layer.bias, 2)
    torch.testing.assert_close(ours, theirs)
    assert not ours.grad_fn.name().startswith("Convolution")
    written_out = layer.eval()(features)
    assert written_out.grad_fn.name().startswith("Convolution")
    torch.testing.assert_close(written_out, theirs)
    assert layer.train()(features, [5, 7, 9]).shape[2:] == (5, 7, 9)  # as torch's own may be asked
    slope, asked = torch.randn_like(theirs), (features, *layer.parameters())
    torch.testing.assert_close(torch.autograd.grad(ours, asked, slope), torch.autograd.grad(theirs, asked, slope))


def test_every_norm_that_a_recipe_may_name_is_built():
    assert tuple(NORMS) == recipe.NORMS


BOTH = pytest.mark.parametrize("kind", [HalfResolutionUNet, QuarterResolutionUNet])


@BOTH
@pytest.mark.parametrize("supervised", [1, 2, 3])
def test_heads_are_as_many_as_levels_are_supervised(kind, supervised):
    network = kind((4, 6, 8), 5, supervised_levels=supervised)
    assert len(network.levels(torch.zeros(1, 1, 32, 32, 32))) == supervised
    assert len(network.heads) == supervised - 1
    assert network.ends == [network.down[0][0][0], *network.heads, network.score]


@BOTH
@pytest.mark.parametrize("norm", NORMS)
def test_every_weight_gets_a_gradient(kind, norm):
    torch.manual_seed(0)
    network = kind((4, 6, 8), 5, supervised_levels=3, norm=norm).train()
    sum(scores.square().mean() for scores in network.levels(torch.randn(1, 1, 32, 32, 32))).backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        (HalfResolutionUNet, {}),
        (HalfResolutionUNet, {"norm": "instance", "fixed_levels": 2}),
        (QuarterResolutionUNet, {}),
    ],
)
def test_in_use_the_norms_are_part_of_the_convolutions(kind, choice):
    openvino = pytest.importorskip("openvino")
    network = kind((4, 6), 3, supervised_levels=1, **choice)
    volume = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network.train()(volume)  # so that the running statistics are not those of nothing
    model = openvino.convert_model(network.eval(), example_input=volume)
    assert not {operation.get_type_name() for operation in model.get_ops()} & {"MVN", "BatchNormInference"}
    with torch.inference_mode():
        theirs = network(volume)
    np.testing.assert_allclose(openvino_scores(network, volume), theirs, atol=1e-4)


@BOTH
@pytest.mark.slow
def test_with_instance_norm_it_is_in_openvino_what_it_is_in_torch(kind):
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = kind((4, 6), 3, supervised_levels=1, norm="instance").eval()
    volume = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        np.testing.assert_allclose(openvino_scores(network, volume), network(volume), atol=1e-4)
