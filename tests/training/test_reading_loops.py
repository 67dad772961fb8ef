import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("numba", reason="needs numba: scripts/test --with-torch")

from training import sample  # noqa: E402
from training.reading_loops import interpolate, nearest  # noqa: E402

AIR = -1024.0


def at(image, *points):
    """points: (x, y, z)."""
    out = np.empty(len(points), np.float32)
    interpolate(image, np.array(points, np.float32), AIR, out)
    return out.tolist()


def label_at(labels, *points):
    out = np.empty(len(points), np.uint8)
    nearest(labels, np.array(points, np.float32), out)
    return out.tolist()


def test_two_voxels_by_hand():
    """100 and 300 along x: their centres lie at -0.5 and 0.5, the edge value holds to the outer face."""
    image = np.array([[[100, 300]]], np.int16)
    assert at(image, (-0.5, 0, 0), (0.5, 0, 0), (0, 0, 0), (0.25, 0, 0)) == [100, 300, 200, 250]
    assert at(image, (-1, 0, 0), (1, 0, 0), (1.001, 0, 0), (0, -1.5, 0), (0, 0, 2)) == [100, 300, AIR, AIR, AIR]
    labels = np.array([[[1, 2]]], np.uint8)
    assert label_at(labels, (-1, 0, 0), (-0.01, 0, 0), (0, 0, 0), (0.99, 0, 0)) == [1, 1, 2, 2]
    assert label_at(labels, (-1.01, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, -2)) == [0, 0, 0, 0]


def test_axes_are_told_apart():
    image = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    assert at(image, (0.5, -0.5, -0.5), (-0.5, 0.5, -0.5), (-0.5, -0.5, 0.5), (0, 0, 0)) == [1, 2, 4, 3.5]
    assert label_at(image.astype(np.uint8), (0.5, -0.5, -0.5), (-0.5, 0.5, -0.5), (-0.5, -0.5, 0.5)) == [1, 2, 4]


def test_what_is_no_number_is_outside():
    assert at(np.zeros((1, 1, 1), np.int16), (np.nan, 0, 0)) == [AIR]
    assert label_at(np.ones((1, 1, 1), np.uint8), (np.nan, 0, 0)) == [0]


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 1, 7), (6, 9, 8)])
def test_they_read_what_torch_reads(monkeypatch, shape):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(-1024, 1000, shape, generator=generator, dtype=torch.int16)
    labels = torch.randint(0, 14, shape, generator=generator, dtype=torch.uint8)
    points = torch.rand(1, 10, 11, 12, 3, generator=generator) * 2.4 - 1.2
    faces = [torch.arange(-n - 1, n + 2) / n for n in reversed(shape)]
    points[0, 0] = torch.stack([along[torch.randint(len(along), (11, 12), generator=generator)] for along in faces], -1)
    ours = sample.read_image(image, points), sample.read_labels(labels, points)
    monkeypatch.setattr(sample, "HAS_NUMBA", False)
    torch.testing.assert_close(sample.read_image(image, points), ours[0], rtol=0, atol=0.01)
    assert torch.equal(sample.read_labels(labels, points), ours[1])
