from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.files.numberings import NUMBERINGS
from tests.training.labelled_bodies import labelled_body, numbered_as
from training.organ_volumes import (
    ADULT_ML,
    OURS,
    Measured,
    impossible_volumes,
    measure,
    misfit,
    numbering_line,
    other_numbering,
    renumbered,
)
from training.recipe import CHALLENGE_LABELS

ONE_SLICE = np.array([[[0, 0, 0], [0, 5, 0], [0, 0, 0]]], np.uint8)
SMALL = "liver of 120 ml, below any body's (300 ml), and not at the scan's edge"
AMOS_ML = {1: 265.0, 2: 150.0, 3: 150.0, 6: 1151.0}


def uncut(ml):
    return Measured(ml, frozenset())


def test_volumes_and_what_the_edge_cuts():
    labels = np.zeros((3, 3, 4), np.uint8)
    labels[1, 1, 1:3] = 1  # inside
    labels[0, 1, 1] = 3  # at the lowest slice
    labels[1, 1, 3] = 14  # at the left
    assert measure(labels, 0.5) == Measured({1: 1.0, 3: 0.5, 14: 0.5}, frozenset({3, 14}))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(np.zeros((2, 2, 2), np.uint8), Measured({}, frozenset()), id="empty"),
        pytest.param(np.zeros((0, 2, 2), np.uint8), Measured({}, frozenset()), id="no voxels"),
        pytest.param(np.full((1, 1, 1), 2, np.uint8), Measured({2: 2.0}, frozenset({2})), id="one voxel"),
        pytest.param(ONE_SLICE, Measured({5: 2.0}, frozenset({5})), id="one slice"),
    ],
)
def test_corners(labels, expected):
    measured = measure(labels, 2.0)
    assert measured == expected
    assert other_numbering(measured) is None


def test_every_organ_that_a_numbering_names_has_its_range_in_order():
    organs = {organ for numbering in (*NUMBERINGS, OURS) for organ in numbering.organs.values()}
    assert organs == ADULT_ML.keys()
    for known in ADULT_ML.values():
        assert 0 <= known.smallest < known.low < known.high < known.largest


@pytest.mark.parametrize(
    ("ml", "cut", "lines"),
    [
        pytest.param({1: 1500.0, 9: 0.08}, (), [], id="a liver, a few voxels of gallbladder"),
        pytest.param({1: 120.0}, (), [SMALL], id="small"),
        pytest.param({1: 120.0}, (1,), [], id="small, for the edge cuts it"),
        pytest.param({5: 1200.0}, (5,), ["aorta of 1200 ml, above any body's (1000 ml)"], id="large, cut or not"),
        pytest.param({14: 9000.0}, (), [], id="no organ of ours"),
        pytest.param({}, (), [], id="empty"),
    ],
)
def test_volumes_that_no_body_has(ml, cut, lines):
    assert list(impossible_volumes(Measured(ml, frozenset(cut)))) == lines


def test_a_misfit_is_the_logarithm_of_how_far_beyond():
    ml = {1: 3000 * np.e, 3: 60 / np.e**2, 2: 100.0, 4: 1.0, 99: 5.0}
    assert misfit(Measured(ml, frozenset({4})), OURS) == pytest.approx({1: 1.0, 3: 2.0, 2: 0.0, 4: 0.0})


def test_a_spleen_as_1_and_a_liver_as_6_are_another_numbering():
    """What both name alike is told by both; nothing of what tells them apart is there."""
    measured = uncut(AMOS_ML)
    other = other_numbering(measured)
    assert other.names == ("AMOS22", "BTCV")
    assert other.new_labels == {1: 3, 2: 2, 3: 13, 6: 1}
    assert other.telling == ((6, "inferior_vena_cava", "liver"), (1, "liver", "spleen"))
    assert numbering_line(other, measured) == (
        "numbered as in AMOS22 or BTCV: label 6 of 1151 ml is liver and no inferior_vena_cava, "
        "label 1 of 265 ml is spleen and no liver; renumber 1 to 3, 3 to 13, 6 to 1"
    )


@pytest.mark.parametrize(
    ("ml", "cut"),
    [
        pytest.param({1: 1500.0, 2: 150.0, 3: 250.0, 13: 150.0}, (), id="ours"),
        pytest.param({1: 1500.0, 3: 60.0, 4: 9.0, 11: 26.0}, (3, 4, 11), id="ours, the end of a chest"),
        pytest.param({1: 400.0, 3: 2500.0}, (), id="a small liver beside a large spleen"),
        pytest.param({1: 30.0}, (), id="one label that may be anything"),
        pytest.param({1: 1500.0, 14: 20.0}, (), id="ours, with a lesion"),
        pytest.param({1: 600.0, 7: 50.0}, (), id="two that fit another a little better: 1.4"),
        pytest.param({200: 20.0}, (), id="nobody's"),
        pytest.param({1: 9e4, 2: 9e4, 7: 9e4}, (), id="volumes of no numbering at all"),
    ],
)
def test_what_fits_ours_or_no_other_far_better_is_left(ml, cut):
    assert other_numbering(Measured(ml, frozenset(cut))) is None


def test_numberings_that_fit_as_well_and_mean_other_organs_are_named_last():
    """Label 10 may be a pancreas or a large portal vein, and no other label tells the two apart."""
    measured = Measured({1: 265.0, 6: 1500.0, 7: 250.0, 10: 50.0}, frozenset())
    other = other_numbering(measured)
    assert (other.names, other.or_else) == (("AMOS22",), ("BTCV",))
    assert numbering_line(other, measured).endswith("; renumber 1 to 3, 6 to 1, 7 to 11, 10 to 4; or else as in BTCV")


def test_a_label_that_a_numbering_lacks_rules_it_out():
    assert other_numbering(uncut(AMOS_ML | {14: 200.0})).names == ("AMOS22",)


@pytest.mark.parametrize(
    ("cut", "names"),
    [
        pytest.param((), (("BTCV",), ("AMOS22",)), id="15 ml are little for a pancreas"),
        pytest.param(
            (10,), (("AMOS22",), ("BTCV",)), id="not for what the edge leaves of one: as good, and named first"
        ),
    ],
)
def test_how_far_off_the_middle_a_volume_is_counts_where_it_is_whole(cut, names):
    other = other_numbering(Measured({1: 265.0, 6: 1500.0, 7: 250.0, 10: 15.0}, frozenset(cut)))
    assert (other.names, other.or_else) == names


def test_small_volumes_keep_two_digits():
    measured = Measured({1: 265.0, 6: 1500.0, 12: 4.25}, frozenset())
    assert "label 12 of 4.2 ml is left_adrenal_gland and no duodenum" in numbering_line(
        replace(other_numbering(measured), telling=((12, "duodenum", "left_adrenal_gland"),)), measured
    )


@pytest.mark.parametrize("name", [numbering.name for numbering in NUMBERINGS])
def test_every_numbering_is_told_by_the_volumes_of_a_whole_body_and_undone(name):
    _, labels = labelled_body()
    theirs = numbered_as(labels, name)
    other = other_numbering(measure(theirs, 0.125))
    assert other.names == (name,)
    known = np.where(np.isin(labels, list(other.new_labels.values())), labels, 0)  # BTCV has no duodenum
    assert np.count_nonzero(known != labels) == (384 if name == "BTCV" else 0)
    assert_array_equal(renumbered(theirs, other.new_labels), known, strict=True)


def test_renumbering_leaves_the_mask_and_what_is_not_named():
    labels = np.array([[[0, 1, 255]]], np.uint8)
    assert_array_equal(renumbered(labels, {1: 0}), np.array([[[0, 0, 255]]], np.uint8), strict=True)
    assert labels.tolist() == [[[0, 1, 255]]]


def test_ours_is_ours():
    assert tuple(OURS.organs.values()) == CHALLENGE_LABELS[1:]
    assert OURS.in_place_of(CHALLENGE_LABELS) == {label: label for label in range(1, 14)}
