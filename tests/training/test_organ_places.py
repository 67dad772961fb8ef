from dataclasses import replace

import numpy as np
import pytest

from tests.training.labelled_bodies import labelled_body
from training.organ_places import Way, mirrored, mirrored_line, place_notes, ways

SPACING = (10.0, 10.0, 10.0)  # mm: 1 ml a voxel, each looked at


def row(*values):
    """Twelve voxels of each value along x."""
    return np.repeat(np.array([[values]]), 12, axis=1)


SCAN = row(50, 60, -100, -900)  # two of tissue at the patient's right, then fat, then lung
LIVER = row(1, 1, 0, 0).astype(np.uint8)


def by_direction(found):
    return {way.mirrored: (way.soft, way.air) for way in found}


def test_shares_of_every_way():
    found = ways(SCAN, LIVER, SPACING)
    right, wrong = (1.0, 0.0), (0.0, 0.5)
    assert found[0].mirrored == (False, False, False)
    assert by_direction(found) == {
        (z, y, x): wrong if x else right for z in (False, True) for y in (False, True) for x in (False, True)
    }


def test_each_axis_has_its_name():
    """An organ in one corner of 2 x 2 x 2 blocks of 2 x 2 x 2 voxels: every way puts it into another block."""
    scan, labels = np.full((4, 4, 4), -500), np.zeros((4, 4, 4), np.uint8)
    scan[:2, :2, :2], labels[:2, :2, :2] = 40, 2
    spacing = (20.0, 20.0, 20.0)
    assert mirrored(ways(scan, labels, spacing)) is None
    for axis, direction in enumerate(("head to foot", "front to back", "left to right")):
        found = ways(scan, np.flip(labels, axis), spacing)
        right = mirrored(found)
        assert right.mirrored == tuple(each == axis for each in range(3))
        assert mirrored_line(found[0], right) == (
            f"label and scan are mirrored {direction} against each other: of the solid organs' voxels 0% are soft "
            "tissue and 100% air, mirrored back 100% and 0%"
        )


def test_what_looks_the_same_in_two_ways_is_not_said_to_be_mirrored():
    assert mirrored(ways(SCAN, LIVER[..., ::-1], SPACING)) is None  # mirrored along z or y too, it would fit as well


@pytest.mark.parametrize(
    ("best", "second", "is_clear"),
    [(1.0, 0.9, True), (0.92, 0.5, True), (0.89, 0.2, False), (1.0, 0.95, False)],
)
def test_when_it_is_clear(best, second, is_clear):
    as_it_is = Way((False, False, False), second, 0.0)
    right = Way((False, True, False), best, 0.0)
    assert mirrored([as_it_is, right]) == (right if is_clear else None)
    assert mirrored([replace(right, mirrored=(False,) * 3), as_it_is]) is None


@pytest.mark.parametrize(
    ("labels", "spacing"),
    [
        pytest.param(np.zeros((1, 12, 4), np.uint8), SPACING, id="empty"),
        pytest.param(np.full((1, 12, 4), 11, np.uint8), SPACING, id="stomach only, which may hold air"),
        pytest.param(np.full((1, 12, 4), 14, np.uint8), SPACING, id="a lesion only"),
        pytest.param(LIVER, (10.0, 2.0, 2.0), id="24 voxels of 0.04 ml"),
    ],
)
def test_nothing_is_said_without_solid_organs(labels, spacing):
    found = ways(SCAN, labels, spacing)
    assert found == []
    assert mirrored(found) is None
    assert list(place_notes(SCAN, labels, found)) == []


def test_nothing_is_said_of_what_lies_between_the_voxels_looked_at():
    labels = np.zeros((1, 1200, 4), np.uint8)
    labels[..., 1] = 1  # every fourth voxel along x is looked at, from the first
    assert ways(np.zeros((1, 1200, 4), np.int16), labels, (50.0, 3.0, 0.75)) == []


def test_one_voxel_and_one_slice():
    assert len(ways(np.full((1, 1, 1), 40), np.ones((1, 1, 1), np.uint8), (30.0, 30.0, 30.0))) == 8
    assert len(ways(np.full((1, 9, 9), 40), np.ones((1, 9, 9), np.uint8), (5.0, 9.0, 9.0))) == 8


def test_the_edges_of_soft_tissue_and_of_air():
    """Of six voxels along z two are soft tissue, both of its edges, and one is air, the first below them."""
    scan = np.array([-30, 300, -31, 301, -300, -301]).reshape(6, 1, 1)
    (first, *_) = ways(scan, np.ones((6, 1, 1), np.uint8), (30.0, 30.0, 30.0))
    assert (first.soft, first.air) == (pytest.approx(2 / 6), pytest.approx(1 / 6))


def test_ten_millilitres_are_enough_and_255_is_no_organ():
    labels = np.array([[[1] * 10 + [255]]], np.uint8)
    assert len(ways(np.zeros((1, 1, 11)), labels, SPACING)) == 8
    assert ways(np.zeros((1, 1, 11)), np.where(labels == 1, labels, 1)[..., :9], SPACING) == []


def notes(labels):
    return list(place_notes(SCAN, labels, ways(SCAN, labels, SPACING)))


def test_what_lies_right_is_not_remarked_on():
    assert notes(LIVER) == []


def test_air_in_an_organ_is_named_with_its_share():
    """Of 26 voxels of spleen 2 lie in the lung; the liver has none, and nor has, by rule, the stomach."""
    labels = row(3, 3, 0, 11).astype(np.uint8)
    labels[0, :2, 3] = 3
    labels[0, :6, 0] = 1
    assert notes(labels) == ["air (below -300 HU) inside solid organs: spleen 10%"]


def test_a_mask_of_another_scan_is_asked_about():
    assert notes(row(0, 1, 1, 0).astype(np.uint8)) == [
        "only 50% of the solid organs' voxels are soft tissue (-30 to 300 HU), and no mirroring makes it clearly more; "
        "is the label of this scan?"
    ]


def test_neither_array_is_changed():
    voxels, labels = labelled_body()
    before = voxels.copy(), labels.copy()
    list(place_notes(voxels, labels, ways(voxels, labels, (5.0, 5.0, 5.0))))
    assert (voxels == before[0]).all()
    assert (labels == before[1]).all()
