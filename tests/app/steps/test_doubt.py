import numpy as np
import pytest

from app.grid import Box, Grid, whole
from app.steps.doubt import agreement, arrangement, lead

GRID = Grid((8, 8, 8), (1.0, 1.0, 1.0))


def blocks(*spans, shape=(8, 8, 8)):
    """Labels: from corner to corner, by label."""
    labels = np.zeros(shape, np.uint8)
    for label, (low, high) in enumerate(spans, 1):
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return labels


def test_the_lead_is_that_of_the_label_over_the_best_other():
    scores = np.zeros((3, 6, 6, 6), np.float32)
    scores[0], scores[1], scores[2] = 1, 4, 2
    labels = np.ones((6, 6, 6), np.uint8)
    assert lead(scores, labels) == 2
    labels[:] = 2  # as after cleaning, where a label need not win
    assert lead(scores, labels) == -2
    assert scores[1, 0, 0, 0] == 4  # only read


def test_the_lead_is_a_mean_over_organs_alone():
    scores = np.zeros((2, 6, 6, 6), np.float32)
    scores[0] = 100
    scores[0, :3], scores[1, :3] = 0, 5
    labels = blocks(((0, 0, 0), (3, 6, 6)), shape=(6, 6, 6))
    assert lead(scores, labels) == 5


def test_without_an_organ_nothing_leads():
    assert lead(np.zeros((3, 4, 4, 4), np.float32), np.zeros((4, 4, 4), np.uint8)) == 0


@pytest.mark.parametrize("shape", [(8, 8, 8), (4, 4, 4), (16, 8, 24)])
def test_the_same_at_another_resolution_agrees(shape):
    coarse = blocks(((0, 0, 0), (4, 8, 8)), ((4, 0, 0), (8, 4, 8)))
    index = [np.arange(n) * 8 // n for n in shape]
    assert agreement(coarse, coarse[np.ix_(*index)], whole(GRID), GRID) == 1


def test_half_of_an_organ_and_another_name():
    first, then = blocks(((0, 0, 0), (4, 8, 8))), blocks(((0, 0, 0), (2, 8, 8)))
    assert agreement(first, then, whole(GRID), GRID) == pytest.approx(2 * 128 / (256 + 128))
    assert agreement(first, np.where(first, 2, 0).astype(np.uint8), whole(GRID), GRID) == 0


def test_a_box_is_compared_where_it_lies_and_what_is_beyond_it_counts():
    first = blocks(((2, 2, 2), (6, 6, 6)))
    box = Box((2, 2, 2), (6, 6, 6))
    assert agreement(first, np.ones((8, 8, 8), np.uint8), box, GRID) == 1
    first[0, 0, 0] = 1
    assert agreement(first, np.ones((8, 8, 8), np.uint8), box, GRID) == pytest.approx(2 * 64 / (65 + 64))


def test_nothing_agrees_with_nothing_and_not_with_something():
    empty = np.zeros((8, 8, 8), np.uint8)
    assert agreement(empty, empty, whole(GRID), GRID) == 1
    assert agreement(empty, blocks(((0, 0, 0), (4, 4, 4))), whole(GRID), GRID) == 0


def test_organs_lie_where_relations_say():
    labels = blocks(((0, 0, 0), (6, 6, 6)), ((6, 6, 6), (12, 12, 12)), shape=(12, 12, 12))
    assert arrangement(labels, [(1, 2, 0), (1, 2, 1), (1, 2, 2)]) == 1
    assert arrangement(labels, [(2, 1, 0), (1, 2, 1)]) == 0.5
    assert arrangement(labels[::-1], [(1, 2, 0), (1, 2, 1)]) == 0.5


@pytest.mark.parametrize("relations", [[], [(1, 3, 0)], [(3, 4, 0)]])
def test_organs_that_are_not_there_are_not_asked_about(relations):
    assert arrangement(blocks(((0, 0, 0), (8, 8, 8))), relations) == 1


def test_a_speck_lies_nowhere():
    """A voxel that is looked at, below the liver, of which a relation says that it is above."""
    labels = blocks(((0, 0, 0), (6, 6, 6)), ((6, 6, 6), (7, 7, 7)), shape=(8, 8, 8))
    assert arrangement(labels, [(2, 1, 0)]) == 1
