import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")

from torch.nn import functional as F  # noqa: E402

from training.networks.depthwise import depthwise  # noqa: E402


def test_three_voxels_by_hand():
    """1, 2, 3 along x, weights 10, 1, 100: to each voxel ten times its left neighbour, a hundred times its right."""
    volume = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 1, 3)
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, 1, 1] = torch.tensor([10.0, 1.0, 100.0])
    assert depthwise(volume, weight).flatten().tolist() == [201, 312, 23]


@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5, 6), (1, 2, 1, 1, 1), (1, 1, 1, 2, 1), (2, 4, 3, 1, 2), (1, 5, 7, 8, 33)]
)
def test_values_and_gradients_are_those_of_torch(shape):
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(shape, generator=generator, requires_grad=True)
    weight = torch.randn(shape[1], 1, 3, 3, 3, generator=generator, requires_grad=True)
    ours, theirs = depthwise(volume, weight), F.conv3d(volume, weight, padding=1, groups=shape[1])
    torch.testing.assert_close(ours, theirs)
    slope = torch.randn(shape, generator=generator)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (volume, weight), slope), torch.autograd.grad(theirs, (volume, weight), slope),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_only_what_is_asked_for_gets_a_gradient():
    weight = torch.ones(2, 1, 3, 3, 3, requires_grad=True)
    depthwise(torch.ones(1, 2, 3, 3, 3), weight).sum().backward()
    assert weight.grad[0, 0, 1, 1, 1] == 27


def test_a_volume_in_bfloat16_or_another_order_comes_back_as_it_is():
    volume = torch.arange(8.0).reshape(1, 1, 2, 2, 2).bfloat16().transpose(2, 4)
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, 1, 1, 1] = 1
    got = depthwise(volume, weight)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, volume)
