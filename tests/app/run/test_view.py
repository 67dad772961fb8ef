from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.errors import CaseError
from app.files.orientation import Orientation
from app.files.read import read
from app.grid import Box
from app.run.view import turned, view_of
from app.system.definition import Posture
from tests.files import lps_affine, save_nifti

VOXELS = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5) - 1000  # x, y, z


def scan(tmp_path, voxels=VOXELS, affine=None):
    return read(save_nifti(tmp_path / "a.nii.gz", voxels, affine if affine is not None else lps_affine((2, 3, 5))))


def tilted(degrees, spacing=(2, 3, 5)):
    """About the body's x."""
    affine = lps_affine(spacing)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3, :3]
    return affine


def test_a_straight_scan_is_seen_as_it_lies(tmp_path):
    one = scan(tmp_path)
    view, notices = view_of(one, Posture())
    assert view.voxels is one.voxels
    assert view.grid == one.grid
    assert notices == []
    labels = one.voxels.astype(np.uint8)
    assert view.labels_in_scan(labels) is labels
    assert view.box_in_scan(Box((0, 1, 2), (1, 2, 3))) == Box((0, 1, 2), (1, 2, 3))


@pytest.mark.parametrize(("degrees", "said"), [(11, []), (13, ["tilted"]), (40, ["tilted"])])
def test_a_tilt_beyond_what_the_system_takes_is_set_upright(tmp_path, degrees, said):
    one = scan(tmp_path, np.full((10, 12, 8), 40, np.int16), tilted(degrees))
    view, notices = view_of(one, Posture(max_tilt_degrees=12))
    assert [notice.code for notice in notices] == said
    assert (view.voxels.shape == one.voxels.shape) == (not said)
    back = view.labels_in_scan((view.voxels > 0).astype(np.uint8))
    assert back.shape == one.voxels.shape
    assert back.mean() > 0.8  # all but its rim, half of it air


def test_a_small_shear_is_said_and_a_large_one_taken_out(tmp_path):
    for shift, code in ((0.2, "sheared"), (2.0, "tilted")):
        affine = lps_affine((2, 3, 5))
        affine[1, 2] = shift
        one = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=(1, 0)))
        view, notices = view_of(one, Posture())
        assert [notice.code for notice in notices] == [code]
        assert (view.voxels is one.voxels) == (code == "sheared")


def test_a_thin_slab_is_made_higher_and_comes_back(tmp_path):
    one = scan(tmp_path)  # 5 slices of 5 mm
    view, notices = view_of(one, Posture(min_height_mm=26, filled_to_mm=45))
    assert [(notice.code, notice.verdict) for notice in notices] == [("thin", "check")]
    assert view.grid.shape == (9, 4, 3)
    assert view.grid.spacing == one.grid.spacing
    assert_array_equal(view.voxels[2:7], one.voxels)
    assert_array_equal(view.voxels[0], one.voxels[0])
    assert_array_equal(view.voxels[-1], one.voxels[-1])
    labels = np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 3), np.uint8)
    assert view.labels_in_scan(labels)[:, 0, 0].tolist() == [2, 3, 4, 5, 6]
    assert view.box_in_scan(Box((0, 0, 0), (9, 4, 3))) == Box((0, 0, 0), (5, 4, 3))
    assert view.box_in_scan(Box((3, 1, 1), (5, 2, 2))) == Box((1, 1, 1), (3, 2, 2))
    assert view.box_in_scan(Box((0, 0, 0), (1, 4, 3))) == Box((0, 0, 0), (1, 4, 3))  # above it: its first slice
    assert view_of(one, Posture(min_height_mm=25, filled_to_mm=45))[1] == []


def test_a_single_slice_may_be_made_higher(tmp_path):
    view, _ = view_of(scan(tmp_path, VOXELS[..., :1]), Posture(min_height_mm=40, filled_to_mm=100))
    assert view.grid.shape[0] in (20, 21)
    assert view.labels_in_scan(np.ones(view.grid.shape, np.uint8)).shape == (1, 4, 3)


@pytest.mark.parametrize("posture", [Posture(min_height_mm=26, filled_to_mm=500), Posture(max_tilt_degrees=5)])
def test_what_would_not_fit_is_not_made(tmp_path, posture):
    one = scan(tmp_path, affine=tilted(8))
    view_of(one, posture, memory_limit=1 << 20)
    with pytest.raises(CaseError, match=r"a\.nii\.gz: .* raise the memory limit"):
        view_of(one, posture, memory_limit=100)


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
@pytest.mark.parametrize("flipped", [(False, False, True), (True, True, False)])
def test_a_turned_view_comes_back(tmp_path, axes, flipped):
    one = scan(tmp_path)
    view = turned(view_of(one, Posture())[0], Orientation(axes, flipped))
    assert view.grid.spacing == tuple(one.grid.spacing[axis] for axis in axes)
    assert view.voxels.shape == view.grid.shape
    labels = (view.voxels + 1000).astype(np.uint8)
    assert_array_equal(view.labels_in_scan(labels), (one.voxels + 1000).astype(np.uint8))
    box = Box((0, 1, 0), (1, 2, 2))
    inside = np.zeros(view.grid.shape, np.uint8)
    inside[box.slices] = 1
    expected = np.zeros(one.grid.shape, np.uint8)
    expected[view.box_in_scan(box).slices] = 1
    assert_array_equal(view.labels_in_scan(inside), expected)


def test_padding_is_not_seen_and_the_mask_has_its_place(tmp_path):
    voxels = np.random.default_rng(0).normal(40, 20, (40, 40, 20)).astype(np.int16)
    padded = np.pad(voxels, ((6, 4), (5, 5), (3, 2)))
    one = scan(tmp_path, padded)
    view, notices = view_of(one, Posture())
    assert [notice.code for notice in notices] == ["surroundings"]
    assert (view.voxels == voxels.T).mean() > 0.99  # all but voxels of 0 at the rim
    assert view.grid.shape == (20, 40, 40)
    assert_array_equal(
        view.labels_in_scan(np.ones((20, 40, 40), np.uint8)), np.pad(np.ones_like(voxels), ((6, 4), (5, 5), (3, 2))).T
    )
    assert view.box_in_scan(Box((0, 0, 0), (1, 1, 1))) == Box((3, 5, 6), (4, 6, 7))


def test_a_scan_too_flat_for_its_spacing_is_said_and_left(tmp_path):
    one = scan(tmp_path, affine=lps_affine((2, 3, 0.001)))
    view, notices = view_of(one, Posture(min_height_mm=40, filled_to_mm=128), memory_limit=1 << 20)
    assert [(notice.code, notice.verdict) for notice in notices] == [("flat", "check")]
    assert view.voxels is one.voxels


def test_a_slab_may_be_turned_after_it_was_made_higher(tmp_path):
    one = scan(tmp_path)
    higher, _ = view_of(one, replace(Posture(), min_height_mm=26, filled_to_mm=45))
    view = turned(higher, Orientation((0, 1, 2), (True, False, False)))
    labels = (view.voxels + 1000).astype(np.uint8)
    assert_array_equal(view.labels_in_scan(labels), (one.voxels + 1000).astype(np.uint8))


def test_as_it_is_nothing_is_done_to_a_scan(tmp_path):
    """Tilted, padded with zeros and a thin slab."""
    voxels = np.zeros((30, 30, 3), np.int16)
    voxels[5:25, 5:25] = np.random.default_rng(0).integers(-1000, 1000, (20, 20, 3))
    one = scan(tmp_path, voxels, tilted(40))
    assert view_of(one, Posture())[1] != []
    view, notices = view_of(one, Posture(as_it_is=True))
    assert (view.grid, notices) == (one.grid, [])
    assert view.voxels is one.voxels
    labels = np.ones(one.grid.shape, np.uint8)
    assert view.labels_in_scan(labels) is labels
