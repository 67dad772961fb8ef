import gzip
import os
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.errors import CaseError
from app.files.read import read, read_header
from app.grid import Box
from app.notice import Notice
from tests.files import body_phantom, lps_affine, save_nifti, texts

VOXELS = 50 * np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)  # x, y, z


def test_a_scan_as_the_challenge_stores_it(tmp_path):
    scan = read(save_nifti(tmp_path / "a_0000.nii.gz", VOXELS))
    assert scan.grid.shape == (4, 3, 2)
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8))
    assert_array_equal(scan.voxels, VOXELS.transpose(2, 1, 0), strict=True)
    assert scan.warnings == ()


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_formats(tmp_path, name, kind):
    assert_array_equal(read(save_nifti(tmp_path / name, VOXELS, kind=kind)).voxels, VOXELS.T)


def test_compression_is_told_by_content(tmp_path):
    plain = save_nifti(tmp_path / "a.nii", VOXELS)
    assert_array_equal(read(plain.rename(tmp_path / "a.nii.gz")).voxels, VOXELS.T)
    packed = save_nifti(tmp_path / "b.nii.gz", VOXELS)
    assert_array_equal(read(packed.rename(tmp_path / "b.nii")).voxels, VOXELS.T)


def test_big_endian(tmp_path):
    image = nib.Nifti1Image(VOXELS, lps_affine(), nib.Nifti1Header(endianness=">"))
    nib.save(image, tmp_path / "a.nii.gz")
    assert_array_equal(read(tmp_path / "a.nii.gz").voxels, VOXELS.T)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_orientation_gives_the_same_body(tmp_path, axes, signs):
    """The body is stored with its axes in any order and direction, the affine says how: the scan looks the same."""
    stored = VOXELS.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    affine = np.eye(4)
    affine[:3, :3] = (lps_affine()[:3, :3])[:, axes] * signs
    scan = read(save_nifti(tmp_path / "a.nii.gz", stored, affine))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert scan.warnings == ()
    labels = (VOXELS.T // 50 + 12).astype(np.uint8)
    assert_array_equal(scan.orientation.to_file(labels), stored // 50 + 12)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_a_box_in_the_files_own_indices(tmp_path, axes, signs):
    stored = VOXELS.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    affine = np.eye(4)
    affine[:3, :3] = (lps_affine()[:3, :3])[:, axes] * signs
    scan = read(save_nifti(tmp_path / "a.nii.gz", stored, affine))
    box = Box((1, 0, 1), (3, 2, 2))
    spans = scan.orientation.box_in_file(box, scan.grid)
    inside = stored[tuple(slice(*span) for span in spans)]
    assert sorted(inside.ravel()) == sorted(scan.voxels[box.slices].ravel())


def test_oblique_axes_go_to_the_nearest(tmp_path):
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = lps_affine()
    affine[:3, :3] = turn @ affine[:3, :3]
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert scan.warnings == ()


def test_steps_say_how_sheared_axes_go_through_the_body(tmp_path):
    affine = lps_affine()
    affine[1, 2] = 0.5  # a gantry tilt, which ITK refuses
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=(1, 0)))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert scan.warnings == ()
    # one voxel along z: 2.5 mm up, and 0.5 mm to the front, which in LPS is back to lower y
    np.testing.assert_allclose(scan.steps, [[2.5, 0, 0], [-0.5, 0.9, 0], [0, 0, 0.8]], atol=1e-6)


def test_no_orientation_at_all(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=(0, 0)))
    assert_array_equal(scan.voxels, VOXELS.T)  # as a CT scanner stores them
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert any("no usable orientation" in warning for warning in texts(scan.warnings))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1e30])
def test_a_useless_sform_gives_way_to_the_qform(tmp_path, value):
    turned = lps_affine() @ np.diag([-1.0, -1.0, 1.0, 1.0])
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS[::-1, ::-1], turned, srow_x=[value] * 4, srow_y=[value] * 4)
    scan = read(path)
    assert_array_equal(scan.voxels, VOXELS.T)
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert any("the qform is used" in warning for warning in texts(scan.warnings))


def test_no_useful_form_gives_way_to_the_voxel_sizes(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=(1, 0), srow_x=[0] * 4))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert any("no usable orientation" in warning for warning in texts(scan.warnings))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"qoffset_x": np.nan}, id="place unknown"),
        pytest.param({"pixdim": [0, 0.8, 0.9, 2.5, 0, 0, 0, 0]}, id="handedness 0 is 1"),
        pytest.param({"quatern_d": 1.00001}, id="rounded quaternion"),
    ],
)
def test_a_qform_that_nibabel_refuses_is_read_as_others_read_it(tmp_path, fields):
    affine = lps_affine((0.8, 0.9, 2.5))  # half a turn about z: quaternion (0, 0, 0, 1)
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=(0, 1), **fields))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert scan.warnings == ()


def test_forms_that_contradict_each_other_are_said(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS, srow_x=[0.8, 0, 0, 0])  # the sform runs to the right
    assert any("contradict" in warning for warning in texts(read(path).warnings))


def test_a_sheared_voxel_holds_less_than_its_sides_say(tmp_path):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[1, 2] = 0.75  # the third axis is 1.25 mm long
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=(1, 0)))
    assert scan.grid.spacing[0] == pytest.approx(1.25)
    assert scan.voxel_ml == pytest.approx(0.001)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    with pytest.raises(CaseError, match="not a regular file"):
        read(tmp_path / "a.nii.gz")


def test_sizes_that_contradict_the_affine_are_said(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, pixdim=[-1, 1, 1, 1, 0, 0, 0, 0]))
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert any("taken from it" in warning for warning in texts(scan.warnings))


def test_scaled_voxels(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS.astype(np.int16), scaling=(2.0, -3.0))
    assert_array_equal(read(path).voxels, (VOXELS * 2 - 3).T)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_an_intercept_that_means_nothing_is_left_out(tmp_path, slope):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS, scl_slope=2.0, scl_inter=slope or np.nan)
    assert_array_equal(read(path).voxels, 2 * VOXELS.T)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_slope_that_means_nothing_is_left_out(tmp_path, slope):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS, scl_slope=slope, scl_inter=5.0)
    assert_array_equal(read(path).voxels, VOXELS.T)


@pytest.mark.parametrize(("unit", "scale"), [(1, 0.001), (1 + 8, 0.001), (3, 1000.0)])  # 8: seconds, of time
@pytest.mark.parametrize(
    ("codes", "warnings"),
    [
        pytest.param((1, 1), ["not mm; converted"], id="sform and qform"),
        pytest.param((0, 1), ["not mm; converted"], id="qform alone"),
        pytest.param((0, 0), ["no usable orientation", "not mm; converted"], id="no orientation, voxel sizes alone"),
    ],
)
def test_other_units_of_length_are_converted(tmp_path, unit, scale, codes, warnings):
    affine = lps_affine()
    affine[:3] *= scale
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=codes, xyzt_units=unit))
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert scan.voxel_ml == pytest.approx(0.0018)
    assert len(scan.warnings) == len(warnings)
    assert all(part in warning for part, warning in zip(warnings, texts(scan.warnings), strict=True))


@pytest.mark.parametrize("unit", [0, 2, 2 + 8])
@pytest.mark.parametrize("codes", [(1, 1), (0, 0)])
def test_millimetres_and_an_unknown_unit_are_mm(tmp_path, unit, codes):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=codes, xyzt_units=unit))
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert not any("not mm" in warning for warning in texts(scan.warnings))


def test_very_fine_voxels_are_not_singular(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, lps_affine((1e-3, 1e-3, 1e-3))))
    assert_allclose(scan.grid.spacing, (1e-3, 1e-3, 1e-3), rtol=1e-5)
    assert scan.warnings == ()


def test_extensions_are_skipped(tmp_path):
    image = nib.Nifti1Image(VOXELS, lps_affine())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello" * 50))
    nib.save(image, tmp_path / "a.nii.gz")
    assert_array_equal(read(tmp_path / "a.nii.gz").voxels, VOXELS.T)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("rank", [4, 5, 6, 7])
def test_one_volume_is_3_d_whatever_its_rank(tmp_path, rank, kind):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS.reshape(2, 3, 4, *[1] * (rank - 3)), kind=kind)
    scan = read(path)
    assert scan.grid.shape == (4, 3, 2)
    assert_array_equal(scan.voxels, VOXELS.T, strict=True)
    assert scan.warnings == ()


@pytest.mark.parametrize("value", [0, -0.9, np.nan, np.inf])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0)])
def test_sizes_that_are_none_are_taken_from_the_sform(tmp_path, value, codes):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=codes, pixdim=[1, 0.8, value, 2.5, 0, 0, 0, 0]))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert scan.warnings == (
        Notice("pixdim", f"voxel sizes 0.8 x {value:.4g} x 2.5 mm are none; taken from the sform"),
    )


def test_sizes_that_are_none_beside_another_unit(tmp_path):
    affine = lps_affine()
    affine[:3] /= 1000
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, xyzt_units=1, pixdim=[0] * 8))
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert [warning.code for warning in scan.warnings] == ["pixdim", "unit"]


NOISE = np.random.default_rng(0).integers(-1000, 1000, (50, 60, 70), np.int16)  # megabytes would take seconds to pack


@pytest.mark.parametrize("voxels", [pytest.param(VOXELS, id="small"), pytest.param(NOISE, id="larger than any buffer")])
@pytest.mark.parametrize("rubbish", [b"x", b"\x1f", bytes(7) + b"x", b"rubbish" * 99, b"\0\x1f\x8b"])
def test_what_lies_behind_the_gzip_data_is_left_out(tmp_path, voxels, rubbish):
    path = save_nifti(tmp_path / "a.nii.gz", voxels)
    whole = path.read_bytes()
    path.write_bytes(whole + rubbish)
    scan = read(path)
    assert_array_equal(scan.voxels, voxels.T)
    text = f"{len(rubbish)} bytes behind the gzip data are no part of them; left out"
    assert scan.warnings == (Notice("trailing-bytes", text),)
    assert read_header(path)["dim"][:4].tolist() == [3, *voxels.shape]


def test_a_file_of_several_gzip_members_is_one(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS)
    content = gzip.decompress(path.read_bytes())
    members = gzip.compress(content[:360]) + gzip.compress(content[360:])
    for behind, codes in ((b"", []), (bytes(99), []), (b"rubbish", ["trailing-bytes"])):
        path.write_bytes(members + behind)
        scan = read(path)
        assert_array_equal(scan.voxels, VOXELS.T)
        assert [warning.code for warning in scan.warnings] == codes


def with_another_sum(path):
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum: every voxel is there
    path.write_bytes(content)
    return path


def truncated(path):
    path.write_bytes(path.read_bytes()[:-20])
    return path


def rewritten(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: truncated(save_nifti(p, np.zeros((40, 40, 40), np.int16))), "gzip", id="truncated gzip"),
        pytest.param(
            lambda p: rewritten(p, gzip.compress(save_nifti(p.with_name("b.nii"), VOXELS).read_bytes()[:-4])),
            "truncated, 44 of 48 bytes",
            id="voxels missing inside a whole gzip",
        ),
        pytest.param(lambda p: with_another_sum(save_nifti(p, VOXELS)), "gzip data are .* damaged", id="wrong sum"),
        pytest.param(
            lambda p: with_another_sum(
                rewritten(
                    p, gzip.compress(save_nifti(p.with_name("b.nii"), VOXELS).read_bytes() + os.urandom(1 << 22), 1)
                )
            ),
            "gzip data are .* damaged",
            id="wrong sum, megabytes behind the last voxel",
        ),
        pytest.param(
            lambda p: rewritten(p, with_another_sum(save_nifti(p, VOXELS)).read_bytes() + b"rubbish"),
            "gzip data are .* damaged",
            id="wrong sum, and rubbish behind it",
        ),
        pytest.param(
            lambda p: rewritten(p, gzip.compress(save_nifti(p.with_name("b.nii"), VOXELS).read_bytes()[:-4]) + b"xxxx"),
            "truncated, 44 of 48 bytes",
            id="voxels missing, and rubbish in their place",
        ),
        pytest.param(
            lambda p: rewritten(p, save_nifti(p, VOXELS).read_bytes() + gzip.compress(b"more")[:-4]),
            "gzip data are .* damaged",
            id="a second member that is cut",
        ),
        pytest.param(
            lambda p: rewritten(p, save_nifti(p, VOXELS).read_bytes() + b"\x1f\x8b\x08" + b"\xff" * 99),
            "gzip data are .* damaged",
            id="a second member that is damaged",
        ),
        pytest.param(lambda p: rewritten(p, b""), "holds 0 bytes", id="empty"),
        pytest.param(
            lambda p: rewritten(p, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
            "not a NIfTI file but a Git LFS pointer, .* `git lfs pull`",
            id="LFS pointer",
        ),
        pytest.param(
            lambda p: rewritten(p, gzip.compress(b"<html>" + bytes(600))), "but a web page", id="a packed web page"
        ),
        pytest.param(lambda p: rewritten(p, b"no scan, only words " * 40), "not a NIfTI file", id="text"),
        pytest.param(lambda p: rewritten(p, gzip.compress(b"words " * 99)), "not a NIfTI file", id="packed text"),
        pytest.param(lambda p: rewritten(p, gzip.compress(b"")[:10] + b"\xff" * 99), "damaged", id="no deflate data"),
        pytest.param(lambda p: rewritten(p, gzip.compress(b"\x5c\x01\x00\x00")), "inside its header", id="no header"),
        pytest.param(
            lambda p: rewritten(p, save_nifti(p.with_name("b.nii"), VOXELS).read_bytes()[:347]),
            "truncated inside its header",
            id="the header's last byte is missing",
        ),
        pytest.param(lambda p: save_nifti(p, VOXELS[0], None), r"2 axes \(3, 4\), needs 3; save it as one", id="2-D"),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, dim=[4, 2, 3, 1, 4, 1, 1, 1]), "needs 3; split", id="slices in time"
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, dim=[4, 2, 3, 4, 0, 1, 1, 1]), "needs 3; save", id="no time point"
        ),
        pytest.param(lambda p: save_nifti(p, np.stack([VOXELS] * 2, -1)), "needs 3; split the time points", id="4-D"),
        pytest.param(lambda p: save_nifti(p, VOXELS, dim=[5, 2, 3, 4, 1, 2, 1, 1]), "needs 3; split", id="5-D"),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, dim=[7, 2, 3, 4, 1, 1, 1, 2]), "7 axes .* needs 3; split", id="7-D"
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, dim=[1, 24, 1, 1, 1, 1, 1, 1]), r"1 axes \(24,\), needs", id="1-D"
        ),
        pytest.param(lambda p: save_nifti(p, VOXELS, dim=[8, 2, 3, 4, 1, 1, 1, 1]), "damaged header, 8 axes", id="8-D"),
        pytest.param(lambda p: save_nifti(p, VOXELS, dim=[0, 2, 3, 4, 1, 1, 1, 1]), "damaged header, 0 axes", id="0-D"),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, codes=(0, 1), pixdim=[1, 1, np.inf, 1, 0, 0, 0, 0]),
            "1 x inf x 1",
            id="inf mm",
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, codes=(0, 1), pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), "spacing 0 x 1", id="zero"
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, codes=(0, 1), pixdim=[1, 1, -2, 1, 0, 0, 0, 0]),
            "spacing 1 x -2",
            id="below",
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, codes=(0, 1), pixdim=[1, 1, 1, np.nan, 0, 0, 0, 0]),
            "nan mm",
            id="NaN spacing",
        ),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, pixdim=[1, 0, 1, 1, 0, 0, 0, 0], srow_x=[0] * 4),
            "spacing 0 x 1",
            id="zero, and a sform that is none either",
        ),
        pytest.param(lambda p: save_nifti(p, VOXELS, dim=[3, 2, 0, 4, 1, 1, 1, 1]), "no voxels", id="no voxels"),
        pytest.param(lambda p: save_nifti(p, VOXELS, dim=[9, 2, 3, 4, 1, 1, 1, 1]), "9 axes", id="damaged rank"),
        pytest.param(lambda p: save_nifti(p, VOXELS, datatype=128), "one number per voxel", id="colours"),
        pytest.param(lambda p: save_nifti(p, VOXELS, datatype=999), "one number per voxel", id="unknown type"),
        pytest.param(lambda p: save_nifti(p, VOXELS, magic=b"ni1"), "single-file", id="half of a pair"),
        pytest.param(lambda p: save_nifti(p, VOXELS, vox_offset=9e8), "said to start", id="offset beyond the end"),
        pytest.param(lambda p: save_nifti(p, VOXELS, vox_offset=np.nan), "said to start", id="offset is no number"),
        pytest.param(lambda p: save_nifti(p, VOXELS, vox_offset=1e30), "said to start", id="offset beyond any file"),
        pytest.param(
            lambda p: save_nifti(p, VOXELS, dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]),
            "do not fit|truncated",
            id="more voxels than any memory",
        ),
        pytest.param(lambda p: p, "^bad.nii.gz: cannot be read: No such file or directory$", id="not there"),
    ],
)
def test_bad_files_give_one_clear_line(tmp_path, make, message):
    path = make(tmp_path / "bad.nii.gz")
    with pytest.raises(CaseError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith("bad.nii.gz: ")
    assert "\n" not in str(caught.value)


def test_a_scan_beyond_the_memory_limit_is_refused_before_it_is_loaded(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS, dim=[3, 2000, 2000, 1000, 1, 1, 1, 1])
    with pytest.raises(CaseError, match=r"need 26\.1 GB, more than the 2 GB"):
        read(path, memory_limit=2 << 30)


@pytest.mark.parametrize(
    ("dtype", "bytes_per_voxel"),
    [
        pytest.param(np.int16, 2 + 2 * 2 + 1, id="two copies of it and the mask"),
        pytest.param(np.float32, 4 + 4 + 2 * 4 + 1, id="converted, two copies of that and the mask"),
        pytest.param(np.uint8, 1 + 4 + 2 * 4 + 1, id="small, but converted as well"),
    ],
)
def test_what_a_scan_needs_in_memory(tmp_path, dtype, bytes_per_voxel):
    path = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), dtype))
    assert read(path, memory_limit=24 * bytes_per_voxel).grid.shape == (4, 3, 2)
    with pytest.raises(CaseError, match=r"a\.nii\.gz: \(2, 3, 4\) voxels need .* raise the memory limit"):
        read(path, memory_limit=24 * bytes_per_voxel - 1)


@pytest.mark.parametrize(("factor", "said"), [(1.009, False), (1.011, True), (0.991, False), (0.989, True)])
def test_voxel_sizes_may_be_off_by_a_hundredth(tmp_path, factor, said):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, pixdim=[-1, 0.8, 0.9, 2.5 / factor, 0, 0, 0, 0]))
    assert any("differ from the affine's" in warning for warning in texts(scan.warnings)) == said


def test_voxels_may_begin_right_behind_the_header(tmp_path):
    content = save_nifti(tmp_path / "b.nii", VOXELS, vox_offset=348).read_bytes()
    (tmp_path / "a.nii").write_bytes(content[:348] + content[352:])
    assert_array_equal(read(tmp_path / "a.nii").voxels, VOXELS.T)


def test_one_voxel_is_a_scan(tmp_path):
    assert read(save_nifti(tmp_path / "a.nii.gz", np.full((1, 1, 1), -500, np.int16))).voxels.tolist() == [[[-500]]]


def test_a_header_is_read_whatever_it_says(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", np.stack([VOXELS] * 2, -1), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])
    assert read_header(path)["dim"][:5].tolist() == [4, 2, 3, 4, 2]
    with pytest.raises(CaseError, match="not a NIfTI file"):
        read_header(rewritten(tmp_path / "b.nii", b"words " * 99))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_quaternion_that_is_no_number_is_no_orientation(tmp_path, value):
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=(0, 1), quatern_c=value))
    assert_array_equal(scan.voxels, VOXELS.T)
    assert [warning[:36] for warning in texts(scan.warnings)] == ["the header has no usable orientation"]


def test_a_sform_beyond_all_numbers_gives_way_to_the_qform(tmp_path):
    rows = {name: [1e200] * 4 for name in ("srow_x", "srow_y", "srow_z")}  # NIfTI-2 has room for them
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, kind=nib.Nifti2Image, **rows))
    assert_allclose(scan.grid.spacing, (2.5, 0.9, 0.8), rtol=1e-6)
    assert any("the qform is used" in warning for warning in texts(scan.warnings))


def test_oblique_voxels_of_very_unlike_sides_are_not_singular(tmp_path):
    turn = np.array([[1, -1, 0], [1, 1, 0], [0, 0, 2**0.5]]) / 2**0.5
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([100.0, 0.01, 1.0])
    scan = read(save_nifti(tmp_path / "a.nii.gz", VOXELS, affine, codes=(1, 0), pixdim=[1, 100, 0.01, 1, 0, 0, 0, 0]))
    assert sorted(scan.grid.spacing) == pytest.approx([0.01, 1, 100], rel=1e-5)
    assert scan.warnings == ()


def test_as_it_is_values_are_those_stored_and_sizes_those_of_the_header(tmp_path):
    """Unsigned storage, about an axis turned by a bit; the header's sizes are 32 bits of what the affine rounds."""
    raw = (body_phantom((20, 20, 20)) + 1024).astype(np.uint16)
    affine = lps_affine((0.7, 0.9, 2.5))
    affine[:3, :3] = affine[:3, :3] @ [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
    sizes = np.array([0.78, 0.836, 2.5], np.float32)  # within a hundredth of the affine's
    path = save_nifti(tmp_path / "a.nii.gz", raw, affine, codes=(1, 0), pixdim=[1, *sizes, 0, 0, 0, 0])
    plain, stored = read(path), read(path, as_it_is=True)
    assert plain.voxels.min() < 0
    assert sorted(stored.voxels.ravel().tolist()) == sorted(raw.ravel().tolist())
    assert stored.grid.spacing == tuple(float(size) for size in sizes[::-1])
    assert plain.grid.spacing != stored.grid.spacing
    assert_allclose(plain.grid.spacing, stored.grid.spacing, rtol=0.01)
    assert "offset" in {notice.code for notice in plain.warnings}
    assert "offset" not in {notice.code for notice in stored.warnings}


def test_as_it_is_sizes_that_are_none_are_the_affines(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOXELS, codes=(1, 0), pixdim=[1, 0, 3, 3, 0, 0, 0, 0])
    assert_allclose(read(path, as_it_is=True).grid.spacing, (2.5, 0.9, 0.8))
