import numpy as np

from app.steps.volumes import organ_volumes
from evaluation.shared.protocol import ORGANS


def test_organ_volumes():
    mask = np.array([[[0, 1, 1]], [[0, 0, 0]], [[13, 13, 13]]], np.uint8)
    volumes = organ_volumes(mask, 0.5, ORGANS)
    assert volumes["liver"] == 1.0
    assert volumes["left_kidney"] == 1.5
    assert sum(volumes.values()) == 2.5
