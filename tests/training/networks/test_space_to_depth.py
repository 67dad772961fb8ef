import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training import recipe  # noqa: E402
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
