import cc3d
import numpy as np
import pytest

from app.grid import Box, Grid
from app.steps.region import box_of_large_regions, box_with_margin, label_range, organ_box

# 8 x 8 x 8 coarse voxels over 16 x 80 x 160 voxels of 10 x 2 x 1 mm: every side 160 mm, a coarse voxel 20 mm, 8 ml
GRID = Grid((16, 80, 160), (10.0, 2.0, 1.0))


def box(labels, min_component_ml=0.0, margin_mm=0.0, min_component_share=1.0, at_least_mm=(0.0, 0.0, 0.0)):
    amounts = {"min_component_ml": min_component_ml, "min_component_share": min_component_share}
    margins = margin_mm if isinstance(margin_mm, tuple) else (margin_mm,) * 3
    return organ_box(labels, GRID, **amounts, margin_mm=margins, at_least_mm=at_least_mm)


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


def test_a_margin_of_its_own_along_each_axis():
    labels = coarse()
    labels[3, 3, 3] = 1  # 60..80 mm each
    assert box(labels, margin_mm=(20.0, 10.0, 0.0)) == Box((4, 25, 60), (10, 45, 80))


def test_a_box_that_is_too_short_grows_on_both_sides_as_far_as_the_scan_reaches():
    labels = coarse()
    labels[2, 3, 7] = 1  # 40..60, 60..80 and 140..160 mm
    found = box(labels, at_least_mm=(45.0, 16.0, 30.0))
    # z: 5 voxels of 10 mm for 2; y: 20 mm are enough; x: 30 voxels of 1 mm for 20, of which none is beyond the end
    assert found == Box((3, 30, 130), (8, 40, 160))
    assert box(labels, at_least_mm=(1e4, 1e4, 1e4)) == Box((0, 0, 0), GRID.shape)


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
    assert organ_box(labels, grid, **amounts, margin_mm=(10.0,) * 3) == Box((0, 0, 0), shape)


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


def test_a_face_a_hair_inside_a_coarse_voxel_cuts_its_part():
    labels = coarse()
    labels[2:4, 2:4, 2:4] = 1  # 40..80 mm
    labels[3, 3, 5] = 2  # 100..120 mm along x
    # 20.5 mm more: 19.5..100.5, and in whole voxels 19..101 along x
    assert box(labels, min_component_ml=20.0, margin_mm=20.5) == Box((1, 9, 19), (11, 51, 141))


def mm(*shape):
    return Grid(shape, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("lowest", "least", "expected"),
    [
        # 40 slices of 10 mm, seen as 20 of 20 mm; 70 mm below, 150 above
        pytest.param(8, 0, (9, 31), id="160 mm: 90 to 310"),
        pytest.param(2, 0, (0, 19), id="40 mm: the scan begins 30 mm too late"),
        pytest.param(15, 0, (23, 40), id="300 mm: the scan ends 50 mm too early"),
        pytest.param(15, 200, (20, 40), id="at least 200 mm, from the top down"),
        pytest.param(0, 200, (0, 20), id="at least 200 mm, from the bottom up"),
        pytest.param(8, 220, (9, 31), id="as high as it must be"),
        pytest.param(19, 500, (0, 40), id="more than there is"),
    ],
)
def test_a_range_around_the_lowest_voxel_of_a_label(lowest, least, expected):
    labels = np.zeros((20, 3, 4), np.uint8)
    labels[lowest:, 1, 2] = 1
    labels[:, 0, 0] = 2  # others do not count
    grid = Grid((40, 7, 9), (10.0, 1.0, 1.0))
    box = label_range(labels, grid, label=1, below_mm=70, above_mm=150, at_least_mm=least)
    assert box == Box((expected[0], 0, 0), (expected[1], 7, 9))


def test_a_range_of_half_slices_takes_them_whole():
    labels = np.zeros((3, 1, 1), np.uint8)
    labels[1] = 1
    box = label_range(labels, Grid((30, 1, 1), (2.0, 1.0, 1.0)), label=1, below_mm=3, above_mm=5, at_least_mm=0)
    assert box == Box((8, 0, 0), (13, 1, 1))  # 17 to 25 mm


@pytest.mark.parametrize(
    ("lowest", "below_mm"), [pytest.param(0, 5, id="first slice"), pytest.param(2, 0, id="inside")]
)
def test_a_range_of_no_length_is_a_slice(lowest, below_mm):
    labels = np.zeros((4, 1, 1), np.uint8)
    labels[lowest:] = 1
    box = label_range(labels, mm(4, 1, 1), label=1, below_mm=below_mm, above_mm=0, at_least_mm=0)
    assert box == Box((lowest, 0, 0), (lowest + 1, 1, 1))


def test_a_range_of_a_label_that_is_not_there():
    labels = np.full((2, 2, 2), 2, np.uint8)
    assert label_range(labels, mm(2, 2, 2), label=1, below_mm=1, above_mm=1, at_least_mm=0) is None


def test_boxes_of_large_regions():
    """Paper 001's blobs: a block of 8 voxels, a bar of 7, two plates of 4 that touch by an edge only."""
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[0:2, 0:2, 0:2] = 1
    labels[5, 0, 0:7] = 2
    labels[4:6, 4:6, 4] = labels[6, 5:7, 5:7] = 3
    grid = mm(8, 8, 8)
    assert box_of_large_regions(labels, grid, min_voxels=8) == Box((0, 0, 0), (2, 2, 2))
    assert box_of_large_regions(labels, grid, min_voxels=7) == Box((0, 0, 0), (6, 2, 7))
    assert box_of_large_regions(labels, grid, min_voxels=4) == Box((0, 0, 0), (7, 7, 7))
    assert box_of_large_regions(labels, grid, min_voxels=9) == Box((0, 0, 0), (2, 2, 2))  # none: the largest
    assert box_of_large_regions(labels * 0, grid, min_voxels=1) is None


def test_a_box_around_two_voxels_without_a_margin():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2, 3, 4] = labels[5, 3, 6] = 1
    assert box_of_large_regions(labels, mm(8, 8, 8), min_voxels=1) == Box((2, 3, 4), (6, 4, 7))


def test_a_margin_of_whole_voxels_around_large_regions_ends_with_the_scan():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2, 3, 4] = labels[5, 3, 6] = 1
    grid = Grid((8, 8, 8), (1.0, 2.0, 4.0))
    assert box_of_large_regions(labels, grid, min_voxels=1, margin_mm=4.5) == Box((0, 1, 3), (8, 6, 8))
    assert box_of_large_regions(labels, grid, min_voxels=1, margin_mm=0.9) == Box((2, 3, 4), (6, 4, 7))


@pytest.mark.parametrize(
    ("size", "first", "last", "expected"),
    [(300, 10, 100, (24, 235)), (55, 10, 100, (5, 43)), (512, 30, 100, (120, 400)), (128, 30, 100, (30, 100))],
)
def test_a_range_of_the_coarse_grid_on_the_scans_own(size, first, last, expected):
    """Paper 001: [10, 100) of 128 is [24, 235) of 300 slices."""
    for axis in range(3):
        shape, grid_shape = [1, 1, 1], [1, 1, 1]
        shape[axis], grid_shape[axis] = 128, size
        labels = np.zeros(shape, np.uint8)
        labels.reshape(-1)[first:last] = 1
        box = box_of_large_regions(labels, mm(*grid_shape), min_voxels=1)
        assert (box.start[axis], box.stop[axis]) == expected


def test_regions_are_counted_as_often_as_they_would_be_read():
    """Of 4 voxels enlarged to 10 the scan reads 0, 0, 0, 1, 1, 2, 2, 2, 3, 3; of 2 to 4 each twice, of 3 to 2 two."""
    labels = np.zeros((4, 2, 3), np.uint8)
    labels[1, 0, 0] = 1  # 2 x 2 x 1 voxels of the scan
    labels[2, 1, 1] = 1  # 3 x 2 x 1, by an edge only
    labels[3, 0, 2] = 1  # is not read at all
    grid = mm(10, 4, 2)
    assert box_of_large_regions(labels, grid, min_voxels=6) == Box((5, 2, 1), (8, 4, 2))
    assert box_of_large_regions(labels, grid, min_voxels=4) == Box((3, 0, 0), (8, 4, 2))
    assert box_of_large_regions(labels, grid, min_voxels=7) == Box((5, 2, 1), (8, 4, 2))


def test_large_regions_are_those_of_the_labels_enlarged():
    """Against the plain way: enlarge, label, count, box."""
    rng = np.random.default_rng(5)
    for _ in range(60):
        shape, fine = rng.integers(1, 7, 3), tuple(int(n) for n in rng.integers(1, 14, 3))
        labels = (rng.random(shape) < 0.4).astype(np.uint8)
        reads = [np.arange(n) * size // n for n, size in zip(fine, shape, strict=True)]
        enlarged = labels[np.ix_(*reads)]
        regions, count = cc3d.connected_components(enlarged, connectivity=6, return_N=True)
        sizes = [np.count_nonzero(regions == part) for part in range(1, count + 1)]
        least = int(rng.integers(1, 30))
        kept = [part for part, size in enumerate(sizes, 1) if size >= min(least, max(sizes))]
        got = box_of_large_regions(labels, mm(*fine), min_voxels=least)
        if not kept:
            assert got is None
            continue
        voxels = np.argwhere(np.isin(regions, kept))
        assert got == Box(tuple(voxels.min(0).tolist()), tuple((voxels.max(0) + 1).tolist()))


def test_a_box_with_a_margin_in_whole_voxels():
    """Paper 003's example: 20 mm are 8, 25 and 25 voxels, below; above one fewer."""
    labels = np.zeros((100, 512, 512), np.uint8)
    labels[30:60, 100, 5] = labels[30:60, 299, 480] = 1
    got = box_with_margin(labels, Grid(labels.shape, (2.5, 0.8, 0.8)), margin_mm=20)
    assert got == Box((22, 75, 0), (67, 324, 505))


def test_a_margin_of_less_than_a_voxel_is_none():
    """25 mm between slices: slice 7 alone, where the paper's code has nothing at all."""
    labels = np.zeros((20, 1, 1), np.uint8)
    labels[7] = 1
    for margin_mm, stop in ((20, 8), (0, 8), (25, 8), (50, 9)):
        got = box_with_margin(labels, Grid((20, 1, 1), (25.0, 25.0, 25.0)), margin_mm=margin_mm)
        assert got == Box((7 - margin_mm // 25, 0, 0), (stop, 1, 1))


def test_a_margin_around_a_coarser_map():
    """Of 3 voxels enlarged to 5 the scan reads 0, 0, 1, 1, 2."""
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 2, 0] = 1
    assert box_with_margin(labels, mm(5, 5, 5), margin_mm=0) == Box((2, 4, 0), (4, 5, 2))
    assert box_with_margin(labels, mm(5, 5, 5), margin_mm=1) == Box((1, 3, 0), (4, 5, 2))
    assert box_with_margin(labels * 0, mm(5, 5, 5), margin_mm=1) is None


def test_a_margin_around_what_the_scan_is_too_small_to_show():
    labels = np.zeros((4, 1, 1), np.uint8)
    labels[3] = 1
    assert box_with_margin(labels, mm(2, 1, 1), margin_mm=1) is None
