import re
import sys

import numpy as np
import pytest

from app.models.engine import Model
from app.run import command_line
from evaluation import crops
from evaluation.crops import Row, is_blind, summary, text
from evaluation.maintenance.parts import Region
from tests.files import lps_affine, save_nifti
from tests.models import LOCALISER, known_models, nothing

BLIND = {"locate": Model(LOCALISER, nothing)}


@pytest.mark.parametrize(("codes", "blind"), [(["thin", "not-located", "empty"], True), (["thin"], False), ([], False)])
def test_who_is_blind(codes, blind):
    assert is_blind({"warnings": [{"code": code} for code in codes]}) == blind


def test_the_sums():
    rows = [
        Row("a", 150, [Region(120, 0.9), Region(60, 0.2)], "check"),
        Row("b", 100, [], "check"),
        Row("c", 99, [], "check"),
        Row("d", 0, [Region(20, 0.69), Region(1, 1)], "check"),
    ]
    lines = summary(rows).splitlines()
    assert lines[0] == "2 of these have 100 ml of organs or more, and 1 an empty mask for them"
    assert lines[1:4] == [
        "regions of 20 ml or more: 3, 1 of them right",
        "regions of 50 ml or more: 2, 1 of them right",
        "regions of 100 ml or more: 1, 1 of them right",
    ]
    assert text(rows[3]).split() == ["d", "0", "ml", "of", "organs;", "found", "20", "ml", "(0.69", "right);", "check"]
    assert "found nothing" in text(rows[1])


def scan_of_a_body(folder, labels_shape=(40, 50, 30)):
    """Tissue, which the made-up networks take for liver as its labels do, and bone, for spleen, which they do not."""
    voxels, labels = np.full((40, 50, 30), -1000, np.int16), np.zeros(labels_shape, np.uint8)
    liver, spleen = (slice(4, 20), slice(6, 44), slice(3, 27)), (slice(24, 36), slice(10, 30), slice(8, 22))
    voxels[liver], voxels[spleen] = 40, 1500
    labels[liver], labels[spleen] = 1, 2
    save_nifti(folder / "a.nii.gz", labels, lps_affine((4, 3, 5)))
    return save_nifti(folder / "a_0000.nii.gz", voxels, lps_affine((4, 3, 5)))


def run(monkeypatch, capsys, scan, *options, models=()):
    monkeypatch.setattr(command_line, "load_models", lambda *_, **__: known_models() | dict(models))
    monkeypatch.setattr(sys, "argv", ["crops", str(scan), *options])
    with pytest.raises(SystemExit) as stopped:
        crops.main()
    return stopped.value.code, capsys.readouterr()


def test_the_way_of_a_scan(tmp_path, monkeypatch, capsys):
    status, printed = run(monkeypatch, capsys, scan_of_a_body(tmp_path), "--count", "12", models=BLIND)
    assert status == 0
    rows = [line for line in printed.out.splitlines() if "ml of organs; found" in line]
    assert f"{len(rows)} parts, 0 of them failed, nothing located in {len(rows)}" in printed.out
    assert 5 < len(rows) <= 12
    assert any("(1.00 right)" in row for row in rows)  # of parts of the liver
    assert not all("(1.00 right)" in row for row in rows)
    assert all("not-located" in row for row in rows)


def test_parts_that_are_located_are_counted_alone(tmp_path, monkeypatch, capsys):
    status, printed = run(monkeypatch, capsys, scan_of_a_body(tmp_path), "--count", "12")
    cut, blind = map(int, re.findall(r"(\d+) parts, .* nothing located in (\d+)", printed.out)[0])
    assert status == 0
    assert blind < cut / 2
    assert printed.out.count("ml of organs; found") == blind


def test_a_scan_of_air_has_no_parts(tmp_path, monkeypatch, capsys):
    for name in ("a", "a_0000"):
        save_nifti(tmp_path / f"{name}.nii.gz", np.full((9, 8, 7), -1000 * (name != "a"), np.int16), lps_affine())
    status, printed = run(monkeypatch, capsys, tmp_path / "a_0000.nii.gz")
    assert (status, "0 parts, 0 of them failed, nothing located in 0" in printed.out) == (0, True)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        pytest.param(lambda scan: scan.with_name("a.nii.gz").unlink(), (), "a.nii.gz", id="no labels"),
        pytest.param(lambda scan: scan_of_a_body(scan.parent, (40, 50, 31)), (), "the mask's shape", id="another grid"),
        pytest.param(lambda scan: scan.write_bytes(b"\x1f\x8b cut"), (), "a_0000.nii.gz", id="damaged"),
        pytest.param(lambda _: None, ("--system", "nobody"), "nobody", id="no such system"),
        pytest.param(lambda _: None, ("--count", "0"), "--count must be 1 or more", id="none"),
        pytest.param(lambda _: None, ("--seed", "-1"), "--seed 0 or more", id="seed"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path, monkeypatch, capsys, change, options, said):
    scan = scan_of_a_body(tmp_path)
    change(scan)
    status, printed = run(monkeypatch, capsys, scan, *options)
    assert (status, said in printed.err) == (2, True)
