from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.testing import assert_allclose, assert_array_equal

from app.alignment import placed
from app.grid import Grid, grid_from_first_voxel, grid_of_shape
from app.models.bundle import Resampling
from app.steps.resample import resample, use_threads


def line(values, dtype=np.int16):
    return np.array(values, dtype).reshape(1, 1, -1)


def test_same_grid_gives_the_same_values():
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    grid = Grid((2, 3, 4), (3.0, 2.0, 1.0))
    assert_array_equal(resample(voxels, grid, grid), voxels.astype(np.float32), strict=True)


@pytest.mark.parametrize(
    ("values", "size", "expected"),
    [
        pytest.param([7], 3, [7, 7, 7], id="one voxel fills all"),
        pytest.param([0, 8], 4, [0, 2, 6, 8], id="twice as fine: edge, quarter, three quarters, edge"),
        pytest.param([0, 3, 6], 2, [0.75, 5.25], id="1.5 times as coarse: at 0.25 and 1.75 voxels"),
        pytest.param([0, 2, 4, 6], 2, [1, 5], id="twice as coarse: means of pairs"),
        # means of pairs 1, 5 at 0.5 and 2.5 voxels, the fifth voxel is left over; wanted at 0.75 and 3.25
        pytest.param([0, 2, 4, 6, 8], 2, [1.5, 5], id="2.5 times as coarse: means of pairs, then linear"),
        # means of three 1, 4, 7 at 1.5, 4.5 and 7.5 voxels, two are left over; wanted at 1.833, 5.5 and 9.167, and the
        # last of these lies beyond all that was averaged, which ends at 9
        pytest.param(range(11), 3, [4 / 3, 5, 7], id="11 into 3: beyond the last mean the edge holds"),
        pytest.param([1, 2, 4, 5], 1, [3], id="all into one"),
    ],
)
def test_values_along_one_axis(values, size, expected):
    source = Grid((1, 1, len(values)), (1.0, 1.0, 2.0))
    for axis in range(3):
        order = [0, 1, 2]
        order[axis], order[2] = order[2], order[axis]
        voxels = line(values).transpose(order)
        grid = Grid(voxels.shape, tuple(np.array(source.spacing)[order]))
        target = [1, 1, 1]
        target[axis] = size
        got = resample(voxels, grid, grid_of_shape(grid, tuple(target)))
        assert got.dtype == np.float32
        assert_allclose(got.ravel(), expected, atol=1e-5)


def test_axes_are_not_mixed_up():
    z, y, x = np.meshgrid(np.arange(4), np.arange(6), np.arange(8), indexing="ij")
    voxels = (100 * z + 10 * y + x).astype(np.float32)
    source = Grid((4, 6, 8), (5.0, 1.0, 2.0))
    got = resample(voxels, source, grid_of_shape(source, (2, 3, 4)))
    # each target voxel is the mean of 2 x 2 x 2: indices 0.5, 2.5, ...
    expected = (
        100 * np.array([0.5, 2.5])[:, None, None]
        + 10 * np.array([0.5, 2.5, 4.5])[None, :, None]
        + np.array([0.5, 2.5, 4.5, 6.5])[None, None, :]
    )
    assert_allclose(got, expected)


def test_a_flipped_view_is_resampled_as_it_looks_and_left_alone():
    voxels = line([0, 2, 4, 6])
    voxels.flags.writeable = False
    grid = Grid((1, 1, 4), (1.0, 1.0, 1.0))
    assert_allclose(resample(voxels[:, :, ::-1], grid, grid_of_shape(grid, (1, 1, 2))).ravel(), [5, 1])


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="on a grid of"):
        resample(line([1, 2]), Grid((1, 1, 3), (1.0, 1.0, 1.0)), Grid((1, 1, 1), (1.0, 1.0, 3.0)))


def test_the_head_end_of_a_scan_of_1338_slices():
    """128 planes of 10.45 slices: means of ten, 133 of them; the last eight slices go into none, and the last plane
    lies at 1332.8 slices, beyond the last mean, which it takes."""
    voxels = np.arange(1338, dtype=np.int16).reshape(-1, 1, 1)
    grid = Grid((1338, 1, 1), (0.7, 1.0, 1.0))
    target = grid_of_shape(grid, (128, 1, 1))
    planes = resample(voxels, grid, target).ravel()
    assert planes[-1] == pytest.approx(1325, abs=0.51)  # the mean of 1320..1329 is 1324.5, or 1325 as whole HU
    assert np.diff(planes)[:-1] == pytest.approx(10.45, abs=0.6)
    voxels[1330:] = 3000
    assert_array_equal(resample(voxels, grid, target).ravel(), planes)
    voxels[1329:] = 3000
    assert resample(voxels, grid, target).ravel()[-1] > planes[-1] + 100


def test_threads_are_as_many_as_were_asked_for():
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        use_threads(3)
        assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    finally:
        use_threads(before)


PLAIN = Resampling(averages=False)
ALIGNED = Resampling(averages=False, alignment="corners")
NEAREST = Resampling(averages=False, interpolation="nearest")
CUBIC = Resampling(averages=False, interpolation="cubic")
TEN = [0, 10, 20, 30]


def along_each_axis(values, size, how):
    """The values along an axis, resampled to a size; the same along all of them."""
    found = []
    for axis in range(3):
        shape, target, spacing = [1, 1, 1], [1, 1, 1], [1.0, 1.0, 1.0]
        shape[axis], target[axis], spacing[axis] = len(values), size, 0.7
        grid = Grid(tuple(shape), tuple(spacing))
        voxels = np.array(values, np.float32).reshape(shape)
        found.append(resample(voxels, grid, grid_of_shape(grid, tuple(target)), how).ravel())
    assert_allclose(found[1], found[0], atol=1e-5)
    assert_allclose(found[2], found[0], atol=1e-5)
    return found[0]


@pytest.mark.parametrize(
    ("values", "size", "how", "expected"),
    [
        pytest.param(TEN, 2, PLAIN, [5, 25], id="paper 004, to 2"),
        pytest.param(TEN, 3, PLAIN, [1.6667, 15, 28.3333], id="to 3"),
        pytest.param(TEN, 8, PLAIN, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30], id="to 8"),
        pytest.param([0, 0, 10, 0], 1, PLAIN, [5], id="no average: 2.5 would be it"),
        pytest.param([0, 0, 10, 0], 8, PLAIN, [0, 0, 0, 2.5, 7.5, 7.5, 2.5, 0], id="linear keeps within"),
        pytest.param(range(10), 4, PLAIN, [0.75, 3.25, 5.75, 8.25], id="paper 001, a ramp"),
        pytest.param(TEN, 2, ALIGNED, [0, 30], id="corners, to 2"),
        pytest.param(TEN, 3, ALIGNED, [0, 15, 30], id="corners, to 3"),
        pytest.param(TEN, 8, ALIGNED, np.arange(8) * 30 / 7, id="corners, to 8"),
        pytest.param(TEN, 1, ALIGNED, [0], id="corners, to one: the first"),
        pytest.param([7], 3, ALIGNED, [7, 7, 7], id="corners, of one"),
        pytest.param(
            [0, 3], 8, ALIGNED, [0, 0.4286, 0.8571, 1.2857, 1.7143, 2.1429, 2.5714, 3], id="paper 003's fourfold head"
        ),
        pytest.param([0, 10, 20, 30, 40], 2, NEAREST, [10, 30], id="nearest, to 0.75 and 3.25"),
        pytest.param([1, 2, 3], 5, NEAREST, [1, 1, 2, 3, 3], id="nearest centre"),
        pytest.param(
            [0, 0, 10, 0], 8, CUBIC, [0.33, -0.68, -1.23, 2.69, 8.81, 8.81, 2.69, -1.23], id="cubic overshoots"
        ),
        pytest.param([5], 3, CUBIC, [5, 5, 5], id="cubic, of one"),
    ],
)  # fmt: skip
def test_published_examples_along_each_axis(values, size, how, expected):
    assert_allclose(along_each_axis(values, size, how), expected, atol=5e-3)


def test_a_cubic_line_is_a_line_between_its_ends():
    """And flattens towards them, since the edge is repeated beyond."""
    got = along_each_axis(range(40), 80, CUBIC)
    assert_allclose(got[20:60], np.arange(20, 60) / 2 - 0.25, atol=1e-3)
    assert_allclose(got[::-1], 39 - got, atol=1e-4)


def test_from_the_first_centre_on():
    """Paper 001: 7 voxels of 0.7 mm at 1.5 mm; the last of four lies beyond the last centre and takes its value."""
    for axis in range(3):
        shape, spacing, target = [1, 1, 1], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]
        shape[axis], spacing[axis], target[axis] = 7, 0.7, 1.5
        source = Grid(tuple(shape), tuple(spacing))
        how = Resampling(averages=False, alignment="first-voxel")
        voxels = np.arange(7, dtype=np.int16).reshape(shape)
        got = resample(voxels, source, grid_from_first_voxel(source, tuple(target)), how)
        assert_allclose(got.ravel(), [0, 2.143, 4.286, 6], atol=5e-4)


@pytest.mark.parametrize("alignment", ["half-pixel", "corners", "first-voxel"])
def test_axes_are_not_mixed_up_however_they_are_aligned(alignment):
    """A ramp along each axis says where each voxel was read. What lies beyond the outermost centre of one axis is still
    interpolated along the others: ITK by itself takes the nearest voxel there.
    """
    source = Grid((5, 8, 6), (3.0, 1.0, 2.0))
    spacing = (2.0, 1.5, 2.5)
    target = grid_from_first_voxel(source, spacing) if alignment == "first-voxel" else grid_of_shape(source, (9, 4, 5))
    how = Resampling(averages=False, alignment=alignment)
    z, y, x = np.meshgrid(*(np.arange(n) for n in source.shape), indexing="ij")
    got = resample((100 * z + 10 * y + x).astype(np.float32), source, target, how)
    reads = [
        (first + step * np.arange(n)).clip(0, size - 1)
        for (first, step), n, size in zip(placed(source, target, alignment), target.shape, source.shape, strict=True)
    ]
    z, y, x = np.meshgrid(*reads, indexing="ij")
    assert_allclose(got, 100 * z + 10 * y + x, atol=1e-3)


def test_without_averages_blocks_are_skipped_over():
    voxels = np.array([0, 9, 0, 0, 9, 0], np.int16)
    assert_allclose(along_each_axis(voxels, 2, Resampling()), [3, 3])
    assert_allclose(along_each_axis(voxels, 2, PLAIN), [9, 9])


APART = Resampling(averages=False, separates_axis_above=3.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("count", "taken"),
    [
        pytest.param(1, [2], id="one: of the two in the middle the later"),
        pytest.param(3, [0, 2, 3], id="coarser: at 0.17, 1.5 and 2.83"),
        pytest.param(4, [0, 1, 2, 3], id="the same"),
        pytest.param(8, [0, 0, 1, 1, 2, 2, 3, 3], id="finer"),
    ],
)
def test_planes_apart_are_taken_as_they_are(axis, count, taken):
    """Four planes of 3 x 5 voxels across each axis: interpolated in the plane, and nothing between planes."""
    planes = np.random.default_rng(0).integers(-1000, 1000, (4, 3, 5)).astype(np.int16)
    order = [[0, 1, 2], [1, 0, 2], [1, 2, 0]][axis]  # of the planes' axes, as the volume has them
    for how in (APART, replace(APART, interpolation="cubic"), replace(APART, interpolation="nearest")):
        alone = Grid((1, 3, 5), (1.0, 2.0, 1.0))
        free = replace(how, separates_axis_above=None)
        each = [resample(plane[None], alone, Grid((1, 6, 4), (1.0, 1.0, 1.25)), free)[0] for plane in planes]
        expected = np.stack([each[index] for index in taken])
        source = Grid(planes.transpose(order).shape, tuple(np.array([6.0, 2.0, 1.0])[order]))
        target = Grid(expected.transpose(order).shape, tuple(np.array([24 / count, 1.0, 1.25])[order]))
        got = resample(planes.transpose(order), source, target, how, apart=axis)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        assert_allclose(got, expected.transpose(order), atol=1e-3)


def test_what_a_spline_overshoots_is_cut_to_the_values_of_the_volume_or_of_the_plane():
    """A step to 10 in one plane and to 20 in the other."""
    voxels = np.zeros((2, 1, 8), np.float32)
    voxels[0, 0, 4:], voxels[1, 0, 4:] = 10, 20
    source, target = Grid((2, 1, 8), (4.0, 1.0, 1.0)), Grid((2, 1, 16), (4.0, 1.0, 0.5))
    free = resample(voxels, source, target, replace(APART, interpolation="cubic"))
    assert free[0].max() > 10.5
    assert free.min() < -1
    kept = replace(APART, interpolation="cubic", keeps_range=True)
    assert_allclose(resample(voxels, source, target, kept), free.clip(0, 20), atol=1e-5)
    by_plane = resample(voxels, source, target, kept, apart=0)
    assert_allclose(by_plane, np.stack([free[0].clip(0, 10), free[1].clip(0, 20)]), atol=1e-5)


def test_a_spline_may_be_of_averages_and_begin_at_the_first_voxel():
    """Pairs of a ramp are averaged first, whose values lie half a voxel further on; and at 0, 1.5, 3, ... of it."""
    ramp = np.arange(80, dtype=np.float32).reshape(1, 1, -1)
    source = Grid((1, 1, 80), (1.0, 1.0, 1.0))
    got = resample(ramp, source, grid_of_shape(source, (1, 1, 40)), Resampling(interpolation="cubic")).ravel()
    assert_allclose(got[8:-8], np.arange(40)[8:-8] * 2 + 0.5, atol=1e-3)
    how = Resampling(averages=False, alignment="first-voxel", interpolation="cubic")
    got = resample(ramp, source, grid_from_first_voxel(source, (1.0, 1.0, 1.5)), how).ravel()
    assert_allclose(got[8:-10], 1.5 * np.arange(len(got))[8:-10], atol=1e-3)
