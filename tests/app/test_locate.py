import numpy as np
import pytest

from app.grid import Box, Grid
from app.locate import locate, organ_box, organ_scores
from tests.models import FINE, LOCALISER, tissue_is_liver

# 8 x 8 x 8 coarse voxels over 16 x 80 x 160 voxels of 10 x 2 x 1 mm: every side 160 mm, a coarse voxel 20 mm, 8 ml
GRID = Grid((16, 80, 160), (10.0, 2.0, 1.0))


def box(labels, min_component_ml=0.0, margin_mm=0.0, min_component_share=1.0):
    amounts = {"min_component_ml": min_component_ml, "min_component_share": min_component_share}
    return organ_box(labels, GRID, **amounts, margin_mm=margin_mm)


def coarse():
    return np.zeros((8, 8, 8), np.uint8)


def test_nothing_found():
    assert box(coarse()) is None


def test_a_box_in_voxels_of_the_scan():
    labels = coarse()
    labels[2, 3, 4] = 1
    labels[5, 3, 6] = 13
    assert box(labels) == Box((4, 30, 80), (12, 40, 140))  # 40..120, 60..80 and 80..140 mm


def test_margin_in_mm_and_clipped_at_the_edge():
    labels = coarse()
    labels[0, 3, 7] = 1
    # z 0..20 mm and 25 more, 45 mm reach into the fifth voxel; y 60..80 -> 35..105; x 140..160 -> 115..160
    assert box(labels, margin_mm=25.0) == Box((0, 17, 115), (5, 53, 160))


def test_small_parts_are_left_out_by_the_volume_of_all_organs_together():
    labels = coarse()
    labels[1, 1, 1:3] = 1
    labels[1, 2, 1] = 2  # touches: one part of three coarse voxels, 24 ml
    labels[6, 6, 6] = 3  # 8 ml
    assert box(labels, min_component_ml=8.0) == Box((2, 10, 20), (14, 70, 140))
    assert box(labels, min_component_ml=8.1) == Box((2, 10, 20), (4, 30, 60))
    assert box(labels, min_component_ml=24.0) == Box((2, 10, 20), (4, 30, 60))
    assert box(labels, min_component_ml=24.1) is None


def test_small_parts_beside_a_part_that_is_small_too_are_kept():
    labels = coarse()
    labels[1, 1, 1:5] = 2  # 32 ml
    labels[6, 6, 6] = 13  # 8 ml, a quarter
    assert box(labels, 20.0, min_component_share=0.25) == Box((2, 10, 20), (14, 70, 140))
    assert box(labels, 20.0, min_component_share=0.26) == Box((2, 10, 20), (4, 20, 100))
    assert box(labels, 33.0, min_component_share=0.0) is None


def test_parts_that_touch_by_an_edge_are_two():
    labels = coarse()
    labels[1, 1, 1] = labels[1, 2, 2] = 1
    assert box(labels, min_component_ml=16.0) is None


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3)])
def test_scans_smaller_than_the_coarse_grid(shape):
    labels = np.ones((8, 8, 8), np.uint8)
    grid = Grid(shape, (3.0, 2.0, 1.0))
    amounts = {"min_component_ml": 0.0, "min_component_share": 0.0}
    assert organ_box(labels, grid, **amounts, margin_mm=10.0) == Box((0, 0, 0), shape)


def test_a_box_that_would_cut_a_small_part_takes_it_in():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1  # 8 coarse voxels, 64 ml: 40..80 mm on each axis
    labels[3, 3, 5:7] = 2  # 2 voxels, 16 ml: 100..140 mm along x, too small to count
    assert box(labels, min_component_ml=20.0) == Box((4, 20, 40), (8, 40, 80))
    # 25 mm more: 15..105 along x, a face through the small part, so that it counts after all: 15..165
    assert box(labels, min_component_ml=20.0, margin_mm=25.0) == Box((1, 7, 15), (11, 53, 160))


def test_a_small_part_wholly_inside_changes_nothing():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1
    labels[3, 3, 5] = 2
    labels[7, 7, 7] = 3  # and one wholly outside
    assert box(labels, min_component_ml=20.0, margin_mm=45.0) == Box((0, 0, 0), (13, 63, 125))


def test_a_face_inside_a_coarse_voxel_cuts_its_part_too():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1  # 40..80 mm
    labels[3, 3, 4] = 0
    labels[3, 3, 5] = 2  # 100..120 mm along x
    # 30 mm more: 10..110 along x, through the middle of the part's only voxel: 10..150
    assert box(labels, min_component_ml=20.0, margin_mm=30.0) == Box((1, 5, 10), (11, 55, 150))


def test_small_parts_that_the_box_passes_by_or_only_touches_are_left_out():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1  # 40..80 mm on each axis
    alone = Box((4, 20, 40), (8, 40, 80))
    for place in ((0, 3, 3), (5, 3, 3), (3, 0, 3), (3, 5, 3), (3, 3, 0), (3, 3, 5), (4, 4, 3), (1, 1, 3), (3, 4, 4)):
        beside = labels.copy()
        beside[place] = 2
        assert box(beside, min_component_ml=20.0) == alone, place


@pytest.mark.parametrize(("first", "part"), [(2, 5), (4, 2)])
def test_a_small_part_that_ends_where_the_box_does_is_whole(first, part):
    """Organs of two coarse voxels and 40 mm around them: the part is one voxel off, its face the box's."""
    labels = coarse()
    labels[first : first + 2, first : first + 2, first : first + 2] = 1
    labels[first, first, part] = 2
    low, high = first * 20 - 40, first * 20 + 80
    expected = Box((low // 10, low // 2, low), (high // 10, high // 2, high))
    assert box(labels, min_component_ml=20.0, margin_mm=40.0) == expected


def test_from_voxels_to_a_box():
    """A block of tissue of z 8..16, y 4..12, x 12..24 voxels in a scan that the coarse grid divides."""
    voxels = np.full((32, 16, 48), -1000, np.int16)
    voxels[8:16, 4:12, 12:24] = 40
    grid = Grid((32, 16, 48), (5.0, 4.0, 3.0))  # 46 ml
    amounts = {"min_component_share": 0.5, "margin_mm": 6.0}
    engine = tissue_is_liver(LOCALISER)
    assert locate(voxels, grid, LOCALISER, engine, min_component_ml=46.0, **amounts) == Box((6, 2, 10), (18, 14, 26))
    assert locate(voxels, grid, LOCALISER, engine, min_component_ml=46.1, **amounts) is None


def test_a_bundle_of_phase_two_cannot_locate():
    with pytest.raises(ValueError, match="bundle fine has no shape; it is a fine"):
        organ_scores(np.zeros((2, 2, 2), np.int16), Grid((2, 2, 2), (1.0, 1.0, 1.0)), FINE, tissue_is_liver(FINE))


def test_a_face_a_hair_inside_a_coarse_voxel_cuts_its_part():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1  # 40..80 mm
    labels[3, 3, 5] = 2  # 100..120 mm along x
    # 20.5 mm more: 19.5..100.5, and in whole voxels 19..101 along x
    assert box(labels, min_component_ml=20.0, margin_mm=20.5) == Box((1, 9, 19), (11, 51, 141))
