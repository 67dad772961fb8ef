import numpy as np
import pytest
from numpy.testing import assert_allclose

from app.models.bundle import Bundle, Intensity, Window
from app.steps.segment import segment
from tests.models import LOCALISER
from training.recipe import CHALLENGE_LABELS


def bundle(step=0.5):
    return Bundle(
        name="test",
        role="fine",
        axes="zyx",
        labels=CHALLENGE_LABELS,
        intensity=Intensity(-100, 100, 0, 100),
        files={"openvino-float32": {"model.xml": "", "model.bin": ""}},
        training={},
        accuracy={},
        spacing_mm=(1.0, 1.0, 1.0),
        window=Window((16, 16, 16), (16, 16, 16), 16, step),
    )


class EveryClassTimes:
    """Score of class c at a voxel is c times its value, so the right answer is known wherever windows lie."""

    def __init__(self):
        self.seen = []

    def __call__(self, volume):
        self.seen.append(volume.copy())
        return np.arange(14, dtype=np.float32)[:, None, None, None] * volume


@pytest.mark.parametrize(
    ("shape", "windows"),
    [
        pytest.param((1, 1, 1), 1, id="one voxel"),
        pytest.param((16, 16, 16), 1, id="just one window"),
        pytest.param((40, 16, 5), 4, id="larger along z only"),
        pytest.param((17, 20, 23), 8, id="a little larger everywhere"),
    ],
)
def test_overlapping_windows_agree_with_the_whole(shape, windows):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    engine = EveryClassTimes()
    scores = segment(volume, bundle(), engine)
    assert scores.shape == (14, *shape)
    assert scores.dtype == np.float32
    assert len(engine.seen) == windows
    assert_allclose(scores, np.arange(14)[:, None, None, None] * volume, rtol=1e-5, atol=1e-6)


def test_windows_count_alike_where_they_overlap():
    """Two windows of 16 along x, at 0 and 4, answering 1 and 3: the twelve voxels they share get 2."""
    answers = iter([1.0, 3.0])
    scores = segment(
        np.zeros((16, 16, 20), np.float32), bundle(), lambda v: np.full((14, *v.shape), next(answers), np.float32)
    )
    assert_allclose(scores[0, 0, 0], [1] * 4 + [2] * 12 + [3] * 4)


def test_missing_voxels_are_air():
    engine = EveryClassTimes()
    segment(np.ones((1, 1, 2), np.float32), bundle(), engine)
    assert engine.seen[0].shape == (16, 16, 16)
    assert engine.seen[0][0, 0, :3].tolist() == [1, 1, -1]  # -1024 HU, clipped to -100, divided by 100


def test_the_scores_of_one_window_do_not_share_the_engines_buffer():
    buffer = np.zeros((14, 16, 16, 16), np.float32)
    scores = segment(np.zeros((16, 16, 16), np.float32), bundle(), lambda _: buffer)
    buffer += 1
    assert not scores.any()


def test_without_a_window_all_is_seen_at_once_and_the_scores_are_the_engines_own():
    """Of any size, also coarser than the volume."""
    buffer = np.zeros((14, 2, 2, 3), np.float32)
    assert segment(np.zeros((4, 4, 6), np.float32), LOCALISER, lambda _: buffer) is buffer
