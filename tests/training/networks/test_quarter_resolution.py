import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks import build_network  # noqa: E402
from training.networks.quarter_resolution import QuarterResolutionUNet  # noqa: E402
from training.networks.space_to_depth import depth_to_space  # noqa: E402
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


def test_a_recipe_builds_it():
    network = build_network(Network("quarter-resolution", (4, 6), 4, 2, norm="instance"), 5)
    assert isinstance(network, QuarterResolutionUNet)
    assert len(network.levels(torch.zeros(1, 1, 16, 16, 16))) == 2
    assert sum(isinstance(module, torch.nn.InstanceNorm3d) for module in network.modules()) == 6
