import pytest

from app.files.numberings import NUMBERINGS, Numbering
from training.recipe import CHALLENGE_LABELS

OURS = ("background", "liver", "right_kidney", "spleen", "left_kidney")


def test_a_label_is_the_one_of_the_same_organ_or_none():
    theirs = Numbering("theirs", {1: "spleen", 2: "bladder", 4: "left_kidney"}, 5)
    assert theirs.in_place_of(OURS) == {1: 3, 2: 0, 3: 0, 4: 4, 5: 0}


def test_a_numbering_of_nothing_is_of_nothing():
    assert Numbering("theirs", {}, 0).in_place_of(OURS) == {}


@pytest.mark.parametrize(
    ("name", "highest", "ours"),
    [
        ("AMOS22", 15, [3, 2, 13, 9, 10, 1, 11, 5, 6, 4, 7, 8, 12, 0, 0]),
        ("BTCV", 13, [3, 2, 13, 9, 10, 1, 11, 5, 6, 0, 4, 7, 8]),
        ("TotalSegmentator v1", 104, [3, 2, 13, 9, 1, 11, 5, 6, 0, 4, 7, 8, 0]),
        ("TotalSegmentator v2", 117, [3, 2, 13, 9, 1, 11, 4, 7, 8, 0, 0, 0, 0, 0, 10, 0, 0, 0, 12]),
    ],
)
def test_the_numberings_are_those_that_their_makers_publish(name, highest, ours):
    (numbering,) = (each for each in NUMBERINGS if each.name == name)
    places = numbering.in_place_of(CHALLENGE_LABELS)
    assert (numbering.highest, list(places)) == (highest, list(range(1, highest + 1)))
    assert list(places.values())[: len(ours)] == ours


@pytest.mark.parametrize(
    ("name", "first", "organs"),
    [
        ("AMOS22", 14, {14: "bladder", 15: "prostate_or_uterus"}),
        ("TotalSegmentator v1", 18, {42: "esophagus", 56: "duodenum", 104: "bladder"}),
        (
            "TotalSegmentator v2",
            19,
            {19: "duodenum", 21: "bladder", 52: "aorta", 63: "inferior_vena_cava", 64: "portal_and_splenic_vein"},
        ),
    ],
)
def test_what_they_call_by_high_numbers(name, first, organs):
    (numbering,) = (each for each in NUMBERINGS if each.name == name)
    assert {label: organ for label, organ in numbering.organs.items() if label >= first} == organs


@pytest.mark.parametrize("numbering", NUMBERINGS, ids=lambda numbering: numbering.name)
def test_none_has_an_organ_twice(numbering):
    assert len(set(numbering.organs.values())) == len(numbering.organs)
