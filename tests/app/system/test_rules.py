import numpy as np
import pytest

from app.grid import Box, Grid
from app.system.rules import LargeParts, LargeRegionsIfUnlocated, OrganBox, Seen

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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_component_ml", -0.1), ("min_component_ml", float("inf")), ("min_component_share", -0.1),
        ("min_component_share", 1.1), ("margin_mm", -0.1), ("margin_mm", float("inf")),
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
