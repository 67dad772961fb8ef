import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.numberings import NUMBERINGS
from evaluation.scores.relabelling import ORGANS, Relabelling, better_labels, overlaps, relabelling_line


def mask(*labels):
    """Ten voxels of each label, in a column along y and two slices."""
    return np.repeat(np.array(labels, np.uint8), 5).reshape(1, -1, 1).repeat(2, axis=2)


def found(truth, prediction):
    return better_labels(overlaps(truth, prediction))


def test_voxels_are_counted_by_pair():
    counted = overlaps(mask(0, 1, 3), mask(0, 3, 255))
    assert counted.shape == (256, 256)
    assert (counted[0, 0], counted[3, 1], counted[255, 3], counted.sum()) == (10, 10, 10, 30)


def test_voxels_are_counted_alike_in_every_order_and_masks_stay():
    random = np.random.default_rng(0)
    truth, prediction = random.integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    before = truth.copy(), prediction.copy()
    counted = overlaps(np.asfortranarray(truth), prediction)
    plain = np.zeros((256, 256), int)
    np.add.at(plain, (prediction, truth), 1)
    assert_array_equal(counted, plain)
    assert_array_equal(truth, before[0])
    assert_array_equal(prediction, before[1])


def test_labels_that_mean_other_organs():
    """A spleen called 1, a liver called 6, a right kidney that is right: a third of the DSC that could be."""
    assert found(mask(0, 3, 1, 2), mask(0, 1, 6, 2)) == Relabelling({1: 3, 6: 1}, pytest.approx(1 / 3), 1.0)


def test_two_kidneys_exchanged():
    """Of five organs two score nothing."""
    truth, prediction = mask(0, 1, 2, 3, 4, 13), mask(0, 1, 13, 3, 4, 2)
    assert found(truth, prediction) == Relabelling({2: 13, 13: 2}, pytest.approx(0.6), 1.0)


@pytest.mark.parametrize(
    ("truth", "prediction"),
    [
        pytest.param(mask(0, 1, 2), mask(0, 1, 2), id="all right"),
        pytest.param(mask(0, 0, 0), mask(0, 1, 2), id="nothing in the truth"),
        pytest.param(mask(0, 1, 2), mask(0, 0, 0), id="nothing predicted"),
        pytest.param(np.zeros((0, 3, 2), np.uint8), np.zeros((0, 3, 2), np.uint8), id="no voxels"),
        pytest.param(mask(0, 0, 1), mask(2, 0, 0), id="elsewhere"),
        pytest.param(mask(0, 14, 77), mask(0, 1, 2), id="none of the organs in the truth"),
        pytest.param(mask(0, 2, 13), mask(0, 2, 2), id="both kidneys in one label"),
        pytest.param(mask(0, *range(1, 14)), mask(0, *range(1, 12), 0, 12), id="one of thirteen: 0.08"),
        pytest.param(mask(1, 1, 2, 2, 0, 0, 0, 0), np.full_like(mask(*range(8)), 3), id="a label that is everywhere"),
    ],
)
def test_nothing_to_say(truth, prediction):
    assert found(truth, prediction) is None


def test_one_voxel():
    one = np.ones((1, 1, 1), np.uint8)
    assert found(one, 9 * one) == Relabelling({9: 1}, 0.0, 1.0)


def test_labels_beyond_the_organs_are_looked_at_too():
    assert found(mask(0, 5, 1), mask(0, 52, 5)).pairs == {52: 5, 5: 1}


@pytest.mark.parametrize("numbering", NUMBERINGS, ids=lambda numbering: numbering.name)
def test_whose_numbering_it_is_whichever_of_the_two_has_it(numbering):
    label_of = {organ: label for label, organ in numbering.organs.items()}
    truth = mask(0, *(label for label, organ in ORGANS.items() if organ in label_of))
    theirs = mask(0, *(label_of[organ] for organ in ORGANS.values() if organ in label_of))
    assert relabelling_line(found(truth, theirs)).endswith(f"; is the prediction numbered as {numbering.name}?")
    if not np.isin(theirs, range(14)).all():
        theirs = np.where(theirs > 13, 0, theirs).astype(np.uint8)
    assert relabelling_line(found(theirs, truth)).endswith(f"; is the truth numbered as {numbering.name}?")


def test_lines():
    assert relabelling_line(Relabelling({1: 3, 6: 1}, 0.048, 0.93)) == (
        "mean DSC would be 0.93 instead of 0.05 if labels meant other organs: 1 fits the truth's 3 (spleen), "
        "6 fits the truth's 1 (liver); is the prediction numbered as AMOS22 or BTCV?"
    )
    assert relabelling_line(Relabelling({2: 13, 13: 2}, 0.6, 1.0)).endswith("13 fits the truth's 2 (right_kidney)")
