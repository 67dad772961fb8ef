from functools import partial

import numpy as np
import pytest

from app.errors import SetupError
from app.grid import Box, Grid
from app.models.bundle import Window
from app.steps.walk import EVERY_WINDOW
from app.system.rules import (
    CLEANING,
    LOCATING,
    MERGING,
    WALKING,
    CentreFirst,
    EveryWindow,
    Fallback,
    LabelRange,
    LargeParts,
    LargeRegionsBox,
    LargeRegionsIfUnlocated,
    MarginBox,
    NearLabel,
    OrganBox,
    Overlay,
    RankedOverlay,
    Seen,
    UntilOrgan,
    Without,
    choose,
)

GRID = Grid((1, 1, 12), (10.0, 10.0, 10.0))  # voxels of 1 ml
NAMES = ("background", "liver", "spleen", "aorta")
SEEN, UNSEEN = Seen(NAMES, located=True), Seen(NAMES, located=False)


def line(*labels):
    return np.array(labels, np.uint8).reshape(1, 1, -1)


def test_large_parts_are_kept_by_their_share_of_the_organs_largest():
    labels = line(1, 1, 1, 1, 0, 1, 0, 2, 0, 1, 1, 0)
    assert LargeParts(0.5)(labels, GRID, SEEN).ravel().tolist() == [1, 1, 1, 1, 0, 0, 0, 2, 0, 1, 1, 0]
    assert LargeParts(1.0)(labels, GRID, UNSEEN).ravel().tolist() == [1, 1, 1, 1, 0, 0, 0, 2, 0, 0, 0, 0]


def test_regions_must_be_large_where_nothing_told_where_to_look():
    """Two organs that touch are one region, of 4 ml; the other has 2."""
    labels = line(1, 1, 2, 2, 0, 0, 3, 3, 0, 0, 0, 0)
    rule = LargeRegionsIfUnlocated(3.0)
    assert rule(labels, GRID, UNSEEN).ravel().tolist() == [1, 1, 2, 2, *[0] * 8]
    assert rule(labels, GRID, SEEN) is labels


def test_an_organ_box_passes_its_settings_on():
    labels = line(0, 0, 0, 1, 1, 0, 0, 0, 0, 2, 0, 0)
    assert OrganBox(2.0, 1.0, 10.0)(labels, GRID, SEEN) == Box((0, 0, 2), (1, 1, 6))
    assert OrganBox(1.0, 0.5, 0.0)(labels, GRID, SEEN) == Box((0, 0, 3), (1, 1, 10))
    assert OrganBox(2.1, 0.5, 0.0)(labels, GRID, SEEN) is None


def test_an_organ_box_may_have_another_margin_along_z():
    labels, grid = np.zeros((3, 1, 3), np.uint8), Grid((3, 1, 3), (10.0, 10.0, 10.0))
    labels[1, 0, 1] = 1
    for margins, expected in (
        ({"margin_mm": 0.0, "margin_z_mm": 10.0}, Box((0, 0, 1), (3, 1, 2))),
        ({"margin_mm": 10.0, "margin_z_mm": 0.0}, Box((1, 0, 0), (2, 1, 3))),
        ({"margin_mm": 10.0}, Box((0, 0, 0), (3, 1, 3))),
    ):
        assert OrganBox(0.0, 0.0, **margins)(labels, grid, SEEN) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_component_ml", -0.1), ("min_component_ml", float("inf")), ("min_component_share", -0.1),
        ("min_component_share", 1.1), ("margin_mm", -0.1), ("margin_mm", float("inf")),
        ("margin_z_mm", -0.1),
    ],
)  # fmt: skip
def test_what_an_organ_box_may_not_be_told(name, value):
    usual = {"min_component_ml": 1.0, "min_component_share": 0.5, "margin_mm": 1.0}
    with pytest.raises(ValueError, match=f"^{name} must be"):
        OrganBox(**{**usual, name: value})


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_what_parts_may_not_be_told(share):
    with pytest.raises(ValueError, match=r"^min_share must be"):
        LargeParts(share)


def test_what_regions_may_not_be_told():
    with pytest.raises(ValueError, match=r"^min_ml must be"):
        LargeRegionsIfUnlocated(-1.0)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_ends_are_allowed(end):
    OrganBox(end, end, end)
    LargeParts(end)
    LargeRegionsIfUnlocated(end)


def test_a_million_is_the_most():
    OrganBox(1e6, 1.0, 1e6)
    for most in ((1e6 + 0.5, 1.0, 1.0), (1.0, 1.0, 1e6 + 0.5)):
        with pytest.raises(ValueError, match="1000000 at most"):
            OrganBox(*most)


TALL = Grid((12, 1, 1), (10.0, 10.0, 10.0))  # the same upright


def column(*labels):
    return np.array(labels, np.uint8).reshape(-1, 1, 1)


def test_large_parts_of_some_organs():
    labels = line(1, 1, 0, 1, 0, 2, 2, 0, 2, 0, 0, 0)
    assert LargeParts(1.0, ("spleen",))(labels, GRID, SEEN).ravel().tolist() == [1, 1, 0, 1, 0, 2, 2, *[0] * 5]
    assert LargeParts(1.0, ("spleen",)).named == ("spleen",)
    assert LargeParts(1.0).named == ()


def test_regions_near_a_label_are_measured_in_mm():
    """A plane is 10 mm: a vessel 40 mm from the liver."""
    labels = column(1, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0)
    assert NearLabel("liver", 40.0)(labels, TALL, SEEN).ravel().tolist() == [1, 0, 0, 0, 3, *[0] * 7]
    assert NearLabel("liver", 39.9)(labels, TALL, SEEN).ravel().tolist() == [1, *[0] * 11]
    assert NearLabel("spleen", 50.0)(labels, TALL, SEEN).ravel().tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 0, 2, 0, 0]
    assert NearLabel("liver", 1.0).named == ("liver",)


def test_without_labels_by_name():
    labels = column(1, 2, 3, 0)
    assert Without(("liver", "aorta"))(labels, TALL, SEEN).ravel().tolist() == [0, 2, 0, 0]
    assert Without(("liver", "aorta")).named == ("liver", "aorta")


def test_a_range_around_a_label():
    labels = column(2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0)
    rule = LabelRange("liver", below_mm=20.0, above_mm=30.0, at_least_mm=0.0)
    assert rule(labels, TALL, SEEN) == Box((3, 0, 0), (8, 1, 1))
    assert LabelRange("liver", 0.0, 70.0, 90.0)(labels, TALL, SEEN) == Box((3, 0, 0), (12, 1, 1))
    assert LabelRange("aorta", 0.0, 0.0, 0.0)(labels, TALL, SEEN) is None
    assert rule.named == ("liver",)


def test_boxes_of_large_regions_and_with_margins():
    labels = column(1, 0, 2, 2, 2, 0, 0, 0, 3, 3, 0, 0)
    assert LargeRegionsBox(2)(labels, TALL, SEEN) == Box((2, 0, 0), (10, 1, 1))
    assert LargeRegionsBox(3)(labels, TALL, SEEN) == Box((2, 0, 0), (5, 1, 1))
    assert LargeRegionsBox(3, TALL.spacing[0])(labels, TALL, SEEN) == Box((1, 0, 0), (6, 1, 1))
    assert MarginBox(20.0)(labels * (labels == 2), TALL, SEEN) == Box((0, 0, 0), (6, 1, 1))
    assert LargeRegionsBox(2).named == MarginBox(0.0).named == ()


class Looks:
    """A network that knows the labels; which windows were looked at, and which taken."""

    def __init__(self, labels, shape):
        self.labels, self.shape, self.looked, self.taken = labels, shape, [], []

    def look(self, corner):
        self.looked.append(corner)
        part = self.labels[tuple(slice(a, a + n) for a, n in zip(corner, self.shape, strict=True))]
        return (part == np.arange(4)[:, None, None, None]).astype(np.float32)

    def take(self):
        self.taken.append(self.looked[-1])


def gone(walk, labels, window):
    """What a walk looks at and takes, along z."""
    plan = walk.plan(labels.shape, window)
    network = Looks(labels, plan.shape)
    walk.go(plan, network.look, network.take)
    return [[z for z, _, _ in corners] for corners in (network.looked, network.taken)]


TWO_HIGH = Window((2, 1, 1), (2, 1, 1), 1, 1.0)


def test_every_window():
    assert EveryWindow()(TALL, SEEN) is EVERY_WINDOW
    assert EveryWindow().named == ()


def test_until_an_organ_is_measured_in_ml_of_the_models_grid():
    """Voxels of 1 ml on one grid, of 0.5 ml on another."""
    labels = column(1, 0, 3, 3, 1, 1, 1, 1)
    rule = UntilOrgan("liver", 1.5)
    assert gone(rule(TALL, SEEN), labels, TWO_HIGH) == [[0, 2, 4], [4]]
    assert gone(UntilOrgan("liver", 1.0)(TALL, SEEN), labels, TWO_HIGH) == [[0], [0]]
    half = Grid((8, 1, 1), (5.0, 10.0, 10.0))
    assert gone(rule(half, SEEN), labels, TWO_HIGH) == [[0, 2, 4, 6], []]
    assert not rule(TALL, SEEN).whole
    assert rule.named == ("liver",)


def test_the_middle_first_is_measured_in_ml_and_knows_tubes_by_name():
    labels = np.zeros((2, 4, 4), np.uint8)  # nine windows, at 0, 1 and 2
    labels[0, 1, 1] = 3
    window = Window((2, 2, 2), (2, 2, 2), 1, 1.0)

    def looked(min_ml, tubes, face_voxels):
        walk = CentreFirst(min_ml, tubes, face_voxels)(TALL, SEEN)
        assert not walk.whole
        plan = walk.plan(labels.shape, window)
        network = Looks(labels, plan.shape)
        walk.go(plan, network.look, network.take)
        return len(network.looked), len(network.taken)

    assert looked(1.1, (), 0) == (1, 0)
    assert looked(1.0, ("liver", "spleen"), 0) == (9, 9)
    assert looked(1.0, ("aorta",), 0) == (2, 2)
    assert looked(1.0, ("aorta",), 1) == (1, 1)
    assert CentreFirst(1.0, ("aorta", "liver"), 0).named == ("aorta", "liver")


def test_merges_by_name():
    first, second = line(1, 1, 0, 3), line(2, 3, 3, 0)
    assert Overlay(("spleen", "aorta"))([first, second], SEEN).ravel().tolist() == [2, 3, 3, 3]
    assert Fallback("aorta")([first, second], SEEN).ravel().tolist() == [1, 3, 3, 0]
    assert RankedOverlay("aorta")([first, second], SEEN).ravel().tolist() == [1, 3, 3, 3]
    assert Overlay(("spleen",)).named == ("spleen",)
    assert Fallback("aorta").named == RankedOverlay("aorta").named == ("aorta",)
    assert (Overlay.maps, Fallback.maps, RankedOverlay.maps) == (None, 2, 2)


def test_names_are_ids():
    assert SEEN.ids(("aorta", "liver")) == [3, 1]
    assert SEEN.ids(()) == []


@pytest.mark.parametrize("known", [LOCATING, CLEANING, WALKING, MERGING])
def test_a_rule_is_chosen_by_its_name(known, tmp_path):
    for name in known:
        with pytest.raises(SetupError, match=f"^{tmp_path}: unknown field here.odd; known are"):
            choose(known, {"rule": name, "odd": 1}, tmp_path, "here")
    for table, message in (
        ("word", "field here must be a table, found 'word'"),
        ({"rule": "odd"}, "field here.rule must be one of .*, found 'odd'"),
        ({"rule": []}, "field here.rule must be one of"),
        ({}, "field here.rule must be one of .*, found None"),
    ):
        with pytest.raises(SetupError, match=message):
            choose(known, table, tmp_path, "here")


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (partial(LabelRange, "liver", above_mm=1.0, at_least_mm=1.0), "below_mm"),
        (partial(LabelRange, "liver", below_mm=1.0, at_least_mm=1.0), "above_mm"),
        (partial(LabelRange, "liver", below_mm=1.0, above_mm=1.0), "at_least_mm"),
        (MarginBox, "margin_mm"),
        (partial(NearLabel, "liver"), "max_mm"),
        (partial(UntilOrgan, "liver"), "min_ml"),
        (partial(CentreFirst, tubes=(), face_voxels=1), "min_ml"),
    ],
)
def test_what_rules_may_be_told(rule, name):
    for allowed in (0, 1_000_000):
        assert getattr(rule(**{name: allowed}), name) == allowed
    for wrong in (-1, 1_000_001):
        with pytest.raises(ValueError, match=f"^{name} must be zero or more, 1000000 at most, found {wrong}"):
            rule(**{name: wrong})


@pytest.mark.parametrize(
    ("rule", "name"),
    [(LargeRegionsBox, "min_voxels"), (partial(CentreFirst, min_ml=1.0, tubes=()), "face_voxels")],
)
def test_voxels_may_be_more_than_a_body_has_millimetres(rule, name):
    for allowed in (0, 10**12):
        assert getattr(rule(**{name: allowed}), name) == allowed
    for wrong in (-1, 10**12 + 1):
        with pytest.raises(ValueError, match=f"^{name} must be zero or more, 1000000000000 at most, found {wrong}"):
            rule(**{name: wrong})
