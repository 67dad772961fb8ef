import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training.networks import build_network  # noqa: E402
from training.networks.quarter_resolution import QuarterResolutionUNet  # noqa: E402
from training.networks.space_to_depth import NORMS, depth_to_space  # noqa: E402
from training.recipe import Network  # noqa: E402


def test_scores_are_at_half_the_resolution_and_halve_by_level():
    network = QuarterResolutionUNet((4, 6, 8), 5, supervised_levels=3).train()
    levels = network.levels(torch.randn(2, 1, 32, 48, 64))
    assert [tuple(scores.shape) for scores in levels] == [(2, 5, 16, 24, 32), (2, 5, 8, 12, 16), (2, 5, 4, 6, 8)]
    assert tuple(network.eval()(torch.zeros(1, 1, 16, 16, 16)).shape) == (1, 5, 8, 8, 8)


def test_every_voxel_reaches_the_first_convolution():
    """A voxel anywhere in a block of 4 x 4 x 4 is a channel of its own there."""
    network = QuarterResolutionUNet((4, 6), 3, supervised_levels=1).eval()
    seen = []
    network.down[0][0][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    volume = torch.arange(8.0**3).reshape(1, 1, 8, 8, 8)
    network(volume)
    assert tuple(seen[0].shape) == (1, 64, 2, 2, 2)
    assert sorted(seen[0][0, :, 0, 0, 0].tolist()) == sorted(volume[0, 0, :4, :4, :4].flatten().tolist())
    assert torch.equal(depth_to_space(depth_to_space(seen[0])), volume)


@pytest.mark.parametrize("supervised", [1, 2, 3])
def test_heads_are_as_many_as_levels_are_supervised(supervised):
    network = QuarterResolutionUNet((4, 6, 8), 5, supervised_levels=supervised)
    assert len(network.levels(torch.zeros(1, 1, 32, 32, 32))) == supervised
    assert len(network.heads) == supervised - 1
    assert network.ends == [network.down[0][0][0], *network.heads, network.score]


@pytest.mark.parametrize("norm", NORMS)
def test_every_weight_gets_a_gradient(norm):
    torch.manual_seed(0)
    network = QuarterResolutionUNet((4, 6, 8), 5, supervised_levels=3, norm=norm).train()
    sum(scores.square().mean() for scores in network.levels(torch.randn(1, 1, 32, 32, 32))).backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]


@pytest.mark.slow
def test_in_use_the_norms_are_part_of_the_convolutions():
    openvino = pytest.importorskip("openvino")
    network = QuarterResolutionUNet((4, 6), 3, supervised_levels=1)
    volume = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network.train()(volume)  # so that the running statistics are not those of nothing
    model = openvino.convert_model(network.eval(), example_input=volume)
    assert not {operation.get_type_name() for operation in model.get_ops()} & {"MVN", "BatchNormInference"}
    with torch.inference_mode():
        theirs = network(volume)
    np.testing.assert_allclose(openvino_scores(network, volume), theirs, atol=1e-4)


@pytest.mark.slow
def test_with_instance_norm_it_is_in_openvino_what_it_is_in_torch():
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    network = QuarterResolutionUNet((4, 6), 3, supervised_levels=1, norm="instance").eval()
    volume = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        np.testing.assert_allclose(openvino_scores(network, volume), network(volume), atol=1e-4)


def test_a_recipe_builds_it():
    network = build_network(Network("quarter-resolution", (4, 6), 4, 2, norm="instance"), 5)
    assert isinstance(network, QuarterResolutionUNet)
    assert len(network.levels(torch.zeros(1, 1, 16, 16, 16))) == 2
    assert sum(isinstance(module, torch.nn.InstanceNorm3d) for module in network.modules()) == 6
