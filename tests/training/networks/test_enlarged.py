from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.networks.exported import openvino_scores  # noqa: E402
from training.networks.enlarged import Enlarged  # noqa: E402
from training.networks.nnunet import ISOTROPIC, NNUNet, shortened  # noqa: E402

NARROW = replace(ISOTROPIC, channels=(2, 4, 8, 8, 10, 10))


def test_scores_are_enlarged_between_the_corners():
    """[0, 3] four times as many: 3 / 7 from one to the next."""
    network = Enlarged(torch.nn.MaxPool3d((1, 1, 4)))
    got = network(torch.tensor([0.0, 0, 0, 0, 3, 3, 3, 3]).reshape(1, 1, 1, 1, 8))
    expected = [0, 0.4286, 0.8571, 1.2857, 1.7143, 2.1429, 2.5714, 3]
    torch.testing.assert_close(got.flatten(), torch.tensor(expected), atol=1e-4, rtol=0)


def test_the_coarse_model_of_003_gives_scores_as_fine_as_its_input():
    with torch.device("meta"):
        short = NNUNet(ISOTROPIC, 14, supervised_levels=1, finest_level=2)
        volume = torch.zeros(1, 1, 64, 160, 224)
        assert tuple(short(volume).shape) == (1, 14, 16, 40, 56)
        assert tuple(Enlarged(short)(volume).shape) == (1, 14, 64, 160, 224)


@pytest.mark.slow
def test_openvino_gives_the_same_scores():
    torch.manual_seed(0)
    network = Enlarged(shortened(NNUNet(NARROW, 14, supervised_levels=4), 2)).eval()
    volume = torch.randn(1, 1, 32, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(openvino_scores(network, volume), network(volume), atol=1e-3, rtol=0)
