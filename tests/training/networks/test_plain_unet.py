import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.plain_unet import PlainUNet  # noqa: E402


@pytest.mark.parametrize("stride", [1, 2])
def test_u_net_shapes(stride):
    network = PlainUNet((4, 6, 8), 14, stem_stride=stride, supervised_levels=2)
    fine, coarse = network.levels(torch.zeros(2, 1, 16, 24, 32))
    assert tuple(fine.shape) == (2, 14, 16 // stride, 24 // stride, 32 // stride)
    assert tuple(coarse.shape) == (2, 14, 8 // stride, 12 // stride, 16 // stride)
