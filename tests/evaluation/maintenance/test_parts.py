from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from app.files.read import read
from evaluation.maintenance.parts import BOX_MM, LEAST_BODY, SLAB_MM, Region, as_sample, parts, regions_of
from tests.evaluation.maintenance.example_case import case

BODY = (slice(None), slice(10, 50), slice(20, 80))


def body(shape=(50, 60, 100), organ=BODY):
    return case(shape=shape, organ=organ, spacing=(5.0, 4.0, 3.0))


@pytest.mark.parametrize("seed", range(3))
def test_parts_are_slabs_and_boxes_of_the_scan(seed):
    whole = body()
    drawn = parts(whole, 40, np.random.default_rng(seed))
    slabs = [part for part in drawn if part.grid.shape[1:] == (60, 100)]
    boxes = [part for part in drawn if part.grid.shape[1:] != (60, 100)]
    assert len(slabs) > 10
    assert len(boxes) > 10
    for part in slabs:
        assert SLAB_MM[0] <= part.grid.extent[0] <= SLAB_MM[1] + 5
    for part in boxes:
        assert all(35 <= mm <= BOX_MM[1] + 2 * side for mm, side in zip(part.grid.extent, (5, 4, 3), strict=True))
    assert len({part.name for part in drawn}) == len(drawn)
    for part in drawn:
        assert (part.labels == (part.voxels > 0)).all()  # both cut alike
        assert part.grid.spacing == whole.grid.spacing


def test_of_what_is_nearly_all_air_nothing_is_taken():
    narrow = body(organ=(slice(None), slice(22, 40), slice(40, 64)))  # 7 % of a slab, all of some boxes in plane
    drawn = parts(narrow, 40, np.random.default_rng(0))
    assert 0 < len(drawn) < 40
    assert all((part.voxels > -200).mean() >= LEAST_BODY for part in drawn)
    assert not any(part.grid.shape[1:] == (60, 100) for part in drawn)
    air = body(organ=(slice(0), slice(0), slice(0)))
    assert parts(air, 10, np.random.default_rng(0)) == []


def test_slabs_are_of_all_heights_and_reach_both_ends():
    whole = body()
    numbered = replace(whole, labels=np.arange(50, dtype=np.uint8)[:, None, None] + np.zeros_like(whole.labels))
    slabs = [part for part in parts(numbered, 200, np.random.default_rng(0)) if part.grid.shape[1:] == (60, 100)]
    assert {part.grid.shape[0] for part in slabs} == set(range(9, 23))  # 44 to 110 mm in slices of 5
    assert (min(part.labels[0, 0, 0] for part in slabs), max(part.labels[-1, 0, 0] for part in slabs)) == (0, 49)
    low = parts(body(shape=(3, 60, 100)), 20, np.random.default_rng(0))
    assert {part.grid.shape[0] for part in low if part.grid.shape[1:] == (60, 100)} == {3}


def test_a_part_is_read_as_it_was_written(tmp_path):
    part = parts(body(), 1, np.random.default_rng(0))[0]
    voxels = part.voxels + np.arange(part.voxels.size).reshape(part.voxels.shape).astype(np.int16) % 7
    path = tmp_path / "a_0000.nii.gz"
    as_sample(type(part)(part.name, voxels, part.labels, part.grid)).write(path)
    scan = read(path)
    assert (scan.voxels == voxels).all()
    assert scan.grid.spacing == pytest.approx(part.grid.spacing)
    assert np.asarray(nib.nifti1.load(path).dataobj).shape == voxels.shape[::-1]


def test_regions_by_hand():
    """4 voxels of which 3 are right; 2 organs side by side, one of them named wrongly; one that touches by an edge."""
    mask, labels = np.zeros((2, 8, 4, 4), np.uint8)
    mask[0, 0, :] = 1
    labels[0, 0, :3] = 1
    mask[3, 0, :2] = 2, 5
    labels[3, 0, :2] = 2, 3
    mask[4, 1, 0] = labels[4, 1, 0] = 2
    assert regions_of(mask, labels, 0.5) == [Region(2, 0.75), Region(1, 0.5), Region(0.5, 1)]
    assert regions_of(mask * 0, labels, 0.5) == []
