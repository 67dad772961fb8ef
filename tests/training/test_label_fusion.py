import numpy as np
import pytest
from numpy.testing import assert_array_equal

from training.label_fusion import GROUPS, ORGAN_IDS, Annotated, fuse, group_of

ROWS = [
    pytest.param("1", "0 0 14 0 0 0 0 14", "1 2 14 13 5 1 0 14", id="1: tumours were drawn, no organ"),
    pytest.param("2", "0 2 1 0 0 1 0 0", "0 14 1 14 5 1 14 13", id="2: a liver that only the network sees is none"),
    pytest.param("3", "0 2 0 13 0 1 0 0", "0 14 9 14 5 1 14 0", id="3: nor is a left kidney"),
    pytest.param("4", "14 2 0 13 0 1 0 0", "14 2 9 13 5 1 0 0", id="4: a tumour found beside the drawn ones is none"),
    pytest.param("5", "0 2 9 0 5 1 0 0", "0 14 9 14 5 1 14 13", id="5: the left kidney is what was not drawn"),
    pytest.param("6", "1 2 0 0 5 11 0 13", "1 14 9 14 5 11 14 13", id="6: the gallbladder is what was not drawn"),
    pytest.param("7", "1 2 0 13 5 11 0 0", "1 14 0 14 5 11 14 0", id="7: all organs were drawn"),
    pytest.param("unlabelled", "0 0 0 0 0 0 0 0", "1 14 9 14 5 1 14 13", id="nothing was drawn"),
]


def row(text):
    return np.array([[text.split()]], np.uint8)


TUMOURS, ORGANS = row("0 1 0 1 0 0 1 0"), row("1 2 9 13 5 1 0 13")


@pytest.mark.parametrize(("group", "drawn", "fused"), ROWS)
def test_fusion_of_each_group(group, drawn, fused):
    annotation, tumours, organs = row(drawn), TUMOURS.copy(), ORGANS.copy()
    assert_array_equal(fuse(GROUPS[group], annotation, tumours, organs), row(fused), strict=True)
    for kept, before in ((annotation, row(drawn)), (tumours, TUMOURS), (organs, ORGANS)):
        assert_array_equal(kept, before)


def test_maps_that_are_not_read_may_be_missing():
    assert_array_equal(fuse(GROUPS["4"], row("14 2 0"), None, row("1 1 9")), row("14 2 9"), strict=True)
    assert_array_equal(fuse(GROUPS["7"], row("1 2 0"), row("0 0 1"), None), row("1 2 14"), strict=True)


def test_a_network_that_finds_no_tumour_is_believed():
    assert_array_equal(fuse(GROUPS["7"], row("1 2 0"), row("0 0 0"), None), row("1 2 0"), strict=True)


def test_other_annotations_than_the_challenges_are_said_outright():
    """Spleen and tumours: a found spleen is none, what else is found is taken."""
    annotated = Annotated(frozenset({3}), tumours=True)
    assert_array_equal(fuse(annotated, row("3 0 14 0"), None, row("1 3 3 4")), row("3 0 14 4"), strict=True)


@pytest.mark.parametrize(
    ("group", "annotation", "tumours", "organs", "message"),
    [
        pytest.param("3", "1 0", None, "0 5", "tumours: missing", id="no tumours"),
        pytest.param("3", "1 0", "0 1", None, "organs: missing", id="no organs"),
        pytest.param("3", "1 0", "0 1 0", "0 5", r"tumours: .*\(1, 1, 3\), needs .*\(1, 1, 2\)", id="other shape"),
        pytest.param("3", "1 5", "0 1", "0 5", r"annotation: has the labels \[5\]", id="drawn, though not annotated"),
        pytest.param("3", "1 14", "0 1", "0 5", r"annotation: has the labels \[14\]", id="a tumour of another group"),
        pytest.param("3", "1 0", "0 14", "0 5", r"tumours: has the labels \[14\]", id="a map in place of a mask"),
        pytest.param("3", "1 0", "0 1", "0 14", r"organs: has the labels \[14\]", id="a map with tumours"),
    ],
)
def test_maps_that_cannot_be_fused(group, annotation, tumours, organs, message):
    maps = [None if text is None else row(text) for text in (tumours, organs)]
    with pytest.raises(ValueError, match=message):
        fuse(GROUPS[group], row(annotation), *maps)


def test_maps_of_other_dtypes_are_refused():
    with pytest.raises(ValueError, match="annotation: int64"):
        fuse(GROUPS["7"], row("1 2").astype(np.int64), row("0 0"), None)


@pytest.mark.parametrize("name", list(GROUPS))
def test_a_case_is_of_the_group_whose_labels_it_has(name):
    assert group_of(row("0 " + " ".join(str(label) for label in sorted(GROUPS[name].ids)))) == name


def test_labels_of_no_group_are_refused():
    with pytest.raises(ValueError, match=r"\[1, 2\] are those of no group"):
        group_of(row("0 1 2 0"))


def test_what_was_annotated_in_the_challenges_groups():
    organs = {"2": {1, 2, 3, 4}, "3": {1, 2, 3, 4, 13}, "4": {1, 2, 3, 4, 13}, "7": set(range(1, 14))}
    organs |= {"1": set(), "unlabelled": set(), "5": set(range(1, 13)), "6": set(range(1, 14)) - {9}}
    assert {name: set(group.organs) for name, group in GROUPS.items()} == organs
    assert {name for name, group in GROUPS.items() if group.tumours} == {"1", "4"}
    assert set(range(1, 14)) == ORGAN_IDS
