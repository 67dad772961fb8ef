import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")

from torch.nn import functional as F  # noqa: E402

from training.networks.depthwise_loops import SIDES, depthwise  # noqa: E402


def test_three_voxels_by_hand():
    """1, 2, 3 along x, weights 10, 1, 100: to each voxel ten times its left neighbour, a hundred times its right."""
    volume = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 1, 3)
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, 1, 1] = torch.tensor([10.0, 1.0, 100.0])
    assert depthwise(volume, weight).flatten().tolist() == [201, 312, 23]


def test_a_bias_and_a_corner_by_hand():
    """One voxel of 2 in a row of 4, at its end; side 7 reaches it from 3 away, with a weight of 1 to 7 along x."""
    volume = torch.tensor([0.0, 0, 0, 2]).reshape(1, 1, 1, 1, 4)
    weight = torch.zeros(1, 1, 7, 7, 7)
    weight[0, 0, 3, 3] = torch.arange(1.0, 8)
    assert depthwise(volume, weight, torch.tensor([10.0])).flatten().tolist() == [24, 22, 20, 18]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 4, 5, 6), (1, 2, 1, 1, 1), (1, 1, 1, 2, 1), (2, 4, 3, 1, 2), (1, 5, 7, 8, 33), (1, 1, 2, 24, 30)],
)
def test_values_and_gradients_are_those_of_torch(shape, side):
    generator = torch.Generator().manual_seed(1)
    volume = torch.randn(shape, generator=generator, requires_grad=True)
    weight = torch.randn(shape[1], 1, side, side, side, generator=generator, requires_grad=True)
    bias = torch.randn(shape[1], generator=generator, requires_grad=True)
    ours = depthwise(volume, weight, bias)
    theirs = F.conv3d(volume, weight, bias, padding=side // 2, groups=shape[1])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    slope, asked = torch.randn(shape, generator=generator), (volume, weight, bias)
    torch.testing.assert_close(
        torch.autograd.grad(ours, asked, slope), torch.autograd.grad(theirs, asked, slope), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("side", "dtype"), [(9, torch.float32), (1, torch.float32), (3, torch.float64)])
def test_what_the_loops_are_not_written_for_is_refused(side, dtype):
    with pytest.raises(ValueError, match=r"sides of \(3, 5, 7\) and volumes of"):
        depthwise(torch.zeros(1, 1, 2, 2, 2, dtype=dtype), torch.zeros(1, 1, side, side, side))


def test_bfloat16_is_rounded_as_torch_rounds_it():
    """Ties to even, subnormal numbers, and what rounds up to infinity."""
    wanted = torch.tensor([0x3F808000, 0x3F818000, 0x3F80FFFF, 0x00008001, 0x7F7FFFFF], dtype=torch.int32)
    values = wanted.view(torch.float32)
    ones, nothing = torch.ones(1, 1, 1, 1, 1).bfloat16(), torch.zeros(len(values), 1, 3, 3, 3)
    got = depthwise(ones.expand(1, len(values), 1, 1, 1), nothing, values)
    assert torch.equal(got.flatten(), values.bfloat16())


def test_in_bfloat16_gradients_are_those_of_float32_rounded():
    torch.manual_seed(0)
    volume, slope = torch.randn(1, 4, 6, 7, 9).bfloat16(), torch.randn(1, 4, 6, 7, 9).bfloat16()
    weight = torch.randn(4, 1, 3, 3, 3)
    of_volume, of_weight = gradients(volume, weight, slope)
    exact, exact_weight = gradients(volume.float(), weight, slope.float())
    assert torch.equal(of_volume, exact.bfloat16())
    assert torch.equal(of_weight, exact_weight)


def gradients(volume, weight, slope):
    asked = volume.requires_grad_(), weight.clone().requires_grad_()
    return torch.autograd.grad(depthwise(*asked), asked, slope)


def test_a_volume_that_wants_no_gradient():
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
