import sys

import numpy as np
import pytest

from app.models.engine import Model
from app.run import command_line
from evaluation import crops
from evaluation.crops import Part, Region, is_blind, places, regions_of, summary
from tests.files import lps_affine, save_nifti
from tests.models import LOCALISER, known_models, nothing

SPACING = (4.0, 4.0, 5.0)


def test_regions_by_hand():
    """Of three: 4 voxels of which 3 are right, 2 of another label than the mask's, and one that is too small."""
    mask, labels = np.zeros((2, 8, 4, 4), np.uint8)
    mask[0, 0, :] = 1
    labels[0, 0, :3] = 1
    mask[3, 0, :2], labels[3, 0, :2] = 2, 3
    mask[6, 3, 3] = 1
    assert regions_of(mask, labels, 1.0) == [Region(4, 0.75), Region(2, 0)]
    assert regions_of(mask * 0, labels, 1.0) == []


@pytest.mark.parametrize("seed", range(5))
def test_parts_lie_in_the_scan_and_show_a_body(seed):
    voxels = np.full((80, 60, 50), -1000, np.int16)
    voxels[20:60, 15:45] = 40
    drawn = list(places(voxels, SPACING, 20, np.random.default_rng(seed)))
    assert len(drawn) > 10
    heights = set()
    for where in drawn:
        part = voxels[where]
        assert part.size
        assert (part > -200).mean() >= crops.LEAST_BODY
        heights.add(part.shape[2])
        is_slab = part.shape[:2] == (80, 60)
        low, high = crops.SLAB_MM if is_slab else crops.BOX_MM
        assert part.shape[2] * SPACING[2] <= high
        assert not is_slab or part.shape[2] * SPACING[2] > low - SPACING[2]
    assert len(heights) > 3


def test_of_air_there_are_none():
    assert list(places(np.full((20, 20, 20), -1000, np.int16), SPACING, 5, np.random.default_rng(0))) == []


def test_a_scan_of_one_slice_is_its_own_slab():
    drawn = list(places(np.zeros((20, 20, 1), np.int16), SPACING, 20, np.random.default_rng(0)))
    assert (slice(None), slice(None), slice(0, 8)) in [(x, y, slice(0, 8)) for x, y, _ in drawn]


@pytest.mark.parametrize(
    ("status", "codes", "blind"),
    [("done", ["not-located", "empty"], True), ("done", ["thin"], False), ("failed", [], False)],
)
def test_who_is_blind(status, codes, blind):
    assert is_blind({"status": status, "warnings": [{"code": code} for code in codes]}) == blind


def test_the_sums():
    parts = [
        Part("a", 150, [Region(120, 0.9), Region(60, 0.2)], "check", ""),
        Part("b", 100, [], "check", ""),
        Part("c", 99, [], "check", ""),
        Part("d", 0, [Region(20, 0)], "check", ""),
    ]
    lines = summary(parts).splitlines()
    assert lines[0] == "2 of them with 100 ml of organs or more, 1 of these masks empty"
    assert lines[1:4] == [
        "regions of 20 ml or more: 3, 1 right",
        "regions of 50 ml or more: 2, 1 right",
        "regions of 100 ml or more: 1, 1 right",
    ]


def scan_of_a_body(folder, labels_shape=(48, 48, 40)):
    voxels = np.full((48, 48, 40), -1000, np.int16)
    voxels[6:42, 6:42] = 40
    labels = np.zeros(labels_shape, np.uint8)
    labels[6:42, 6:42] = 1
    save_nifti(folder / "a.nii.gz", labels, lps_affine((4, 4, 5)))
    return save_nifti(folder / "a_0000.nii.gz", voxels, lps_affine((4, 4, 5)))


def test_the_way_of_a_scan(tmp_path, monkeypatch, capsys):
    """With a first network that never sees a thing and a second one that takes tissue for liver, as the labels do."""
    blind = known_models() | {"locate": Model(LOCALISER, nothing)}
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: blind)
    monkeypatch.setattr(sys, "argv", ["crops", str(scan_of_a_body(tmp_path)), "--count", "4"])
    crops.main()
    printed = capsys.readouterr().out
    assert "4 parts, nothing located in 4" in printed
    assert "4 of them with 100 ml of organs or more, 0 of these masks empty" in printed
    assert "regions of 300 ml or more: 4, 4 right" in printed
    assert "check not-located" in printed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda scan: scan.with_name("a.nii.gz").unlink(), "a.nii.gz"),
        (lambda scan: scan_of_a_body(scan.parent, (48, 48, 41)), "has other voxels than its labels"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path, monkeypatch, capsys, change, said):
    scan = scan_of_a_body(tmp_path)
    change(scan)
    monkeypatch.setattr(sys, "argv", ["crops", str(scan)])
    with pytest.raises(SystemExit) as stopped:
        crops.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
