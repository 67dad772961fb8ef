import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app import types  # noqa: E402
from training.volumes import AIR, InMemory, drawing_weights, make_volume, organ_free  # noqa: E402


def test_air_is_what_app_takes_for_it():
    assert AIR == types.AIR


def test_organ_points_lie_in_their_organ():
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[1:3, 2:4, 1] = 3
    volume = make_volume("a", "A", labels.astype(np.int16), labels, (60.0, 50.0, 40.0), 14, np.random.default_rng(0))
    assert [len(points) for points in volume.organ_points] == [0, 0, 4] + [0] * 10
    index = ((volume.organ_points[2].numpy() + 1) / 2 * labels.shape).astype(int)
    assert (labels[tuple(index.T)] == 3).all()


@pytest.mark.parametrize(
    ("slices", "height", "expected"),
    [
        (slice(5, 8), 100.0, ((-1.0, 0.0),)),  # 50 mm below, 20 above
        (slice(5, 6), 100.0, ((-1.0, 0.0), (0.2, 1.0))),
        (slice(0, 10), 100.0, ()),
        (slice(0, 0), 100.0, ((-1.0, 1.0),)),  # no organ at all
        (slice(0, 0), 30.0, ()),
    ],
)
def test_what_lies_beyond_the_labels(slices, height, expected):
    labels = np.zeros((10, 2, 2), np.uint8)
    labels[slices] = 1
    np.testing.assert_allclose(np.array(organ_free(labels, height)), np.array(expected), atol=1e-9)


def test_a_patient_with_two_phases_counts_less_than_two():
    assert drawing_weights(["A", "A", "B"]) == pytest.approx(np.array([2**-0.5, 2**-0.5, 1]) / (2**0.5 + 1))


def test_in_memory():
    labels = np.zeros((2, 2, 2), np.uint8)
    volume = make_volume("a", "A", labels.astype(np.int16), labels, (100.0, 2.0, 2.0), 14, np.random.default_rng(0))
    volumes = InMemory([volume])
    assert (volumes.names, volumes.patients, volumes.has_organ_free) == (["a"], ["A"], [True])
    assert volumes[0] is volume
