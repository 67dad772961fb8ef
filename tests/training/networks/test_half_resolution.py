import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.half_resolution import HalfResolutionUNet, InBlocks  # noqa: E402
from training.networks.space_to_depth import depth_to_space  # noqa: E402
from training.transplant import fitted  # noqa: E402


def test_scores_are_as_fine_as_the_input_and_halve_by_level():
    network = HalfResolutionUNet((4, 6, 8), 5, supervised_levels=3).train()
    levels = network.levels(torch.randn(1, 1, 16, 24, 32))
    assert [tuple(scores.shape) for scores in levels] == [(1, 5, 16, 24, 32), (1, 5, 8, 12, 16), (1, 5, 4, 6, 8)]
    assert tuple(network.eval()(torch.zeros(2, 1, 8, 8, 8)).shape) == (2, 5, 8, 8, 8)


def test_blocks_are_the_scores_before_the_last_step():
    network = HalfResolutionUNet((4, 6), 5, supervised_levels=1).eval()
    volume = torch.randn(1, 1, 8, 8, 12)
    assert tuple(InBlocks(network)(volume).shape) == (1, 40, 4, 4, 6)
    assert torch.equal(depth_to_space(InBlocks(network)(volume)), network(volume))


def test_what_a_window_shows_elsewhere_changes_nothing_far_away():
    """In use no statistics are taken: scores at one end do not depend on what is at the other."""
    torch.manual_seed(0)
    network = HalfResolutionUNet((4, 6), 3, supervised_levels=1)
    network.train()(torch.randn(1, 1, 16, 16, 16))
    volume = torch.randn(1, 1, 16, 16, 96)
    other = volume.clone()
    other[..., 80:] = 100
    with torch.inference_mode():
        before, after = network.eval()(volume), network.eval()(other)
    torch.testing.assert_close(before[..., :16], after[..., :16])
    assert not torch.equal(before[..., 80:], after[..., 80:])


def test_with_instance_norm_each_window_is_its_own_scale():
    torch.manual_seed(0)
    network = HalfResolutionUNet((4, 6), 3, supervised_levels=1, norm="instance").eval()
    volume = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(network(volume), network(3 * volume), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("fixed_levels", "expected"),
    [
        (0, set()),
        (1, {"down.0", "merge.1"}),
        (2, {"down.0", "down.1", "merge.0", "merge.1"}),
        (3, {"down.0", "down.1", "down.2", "merge.0", "merge.1"}),
    ],
)
def test_norms_of_the_finest_levels_may_be_fixed(fixed_levels, expected):
    network = HalfResolutionUNet((4, 6, 8), 3, supervised_levels=1, norm="instance", fixed_levels=fixed_levels)
    fixed = {".".join(name.split(".")[:2]) for name in network.state_dict() if name.endswith(".variance")}
    assert fixed == expected


def test_a_network_of_instance_norm_begins_with_the_weights_of_one_of_batch_renorm():
    torch.manual_seed(0)
    renormed = HalfResolutionUNet((4, 6), 3, supervised_levels=1)
    other = HalfResolutionUNet((4, 6), 3, supervised_levels=1, norm="instance")
    assert fitted(renormed.state_dict(), other).keys() == other.state_dict().keys()
