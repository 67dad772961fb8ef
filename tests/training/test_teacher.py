import json
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.shared import SHARED  # noqa: E402
from training import teacher  # noqa: E402
from training.teacher import Teacher  # noqa: E402

CPU = torch.device("cpu")


class Bright(torch.nn.Module):
    """Class 1 where the normalised input is above 0."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return torch.cat([-5 * volume, 5 * volume], 1)


@pytest.fixture
def folder(tmp_path):
    torch.jit.trace(Bright(), torch.zeros(1, 1, 8, 8, 8)).save(str(tmp_path / "teacher.pt"))
    intensity = {"low": -100.0, "high": 100.0, "mean": 0.0, "deviation": 50.0}
    card = {"spacing_mm": [2.0, 1.0, 1.0], "multiple": 8, "intensity": intensity}
    (tmp_path / "teacher.json").write_text(json.dumps(card))
    return tmp_path


def test_probabilities_on_the_grid_that_is_asked_for(folder):
    images = torch.full((2, 1, 4, 6, 10), -1000.0)
    images[:, :, :, :, 5:] = 1000
    got = Teacher(folder, CPU).probabilities(images, (2.0, 2.0, 2.0), (2, 3, 5))
    assert tuple(got.shape) == (2, 2, 2, 3, 5)
    torch.testing.assert_close(got.sum(1), torch.ones(2, 2, 3, 5))
    assert (got[:, 1, ..., :2] < 0.01).all()
    assert (got[:, 1, ..., 3:] > 0.99).all()
    assert not got.is_inference()


@pytest.mark.slow
def test_a_public_network_comes_over_from_onnx(tmp_path, monkeypatch):
    pytest.importorskip("onnx2torch", reason="needs onnx2torch, see training.teacher")
    model = SHARED / "teacher" / "model.onnx"
    if not model.exists():
        pytest.skip(f"no network: {model} is not there")
    arguments = [str(model), str(tmp_path), "--spacing", "1.97", "1.54", "1.54", "--clip", "-971", "291"]
    monkeypatch.setattr(sys, "argv", ["teacher", *arguments, "--mean", "83.8", "--deviation", "144.8"])
    teacher.main()
    got = Teacher(tmp_path, CPU).probabilities(torch.zeros(1, 1, 32, 32, 32), (2.5, 2.5, 2.5), (32, 32, 32))
    assert tuple(got.shape) == (1, 14, 32, 32, 32)
