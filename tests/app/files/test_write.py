import errno
import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from numpy.testing import assert_array_equal

from app.errors import CaseError
from app.files.read import read, read_header
from app.files.write import can_rename, check_target, is_replaceable, write
from tests.files import lps_affine, save_nifti

PROJECT = Path(__file__).parents[3]


def written(tmp_path, source, value=3):
    scan = read(source)
    mask = np.full(scan.grid.shape, value, np.uint8)
    write(mask, tmp_path / "mask.nii.gz", scan.header, scan.orientation)
    return nib.load(tmp_path / "mask.nii.gz")


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 1), (0, 0), (4, 2)])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_the_header_leaves_as_it_came(tmp_path, codes, kind):
    affine = lps_affine()
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.float32), affine, codes=codes, kind=kind)
    ours, theirs = written(tmp_path, source), nib.load(source)
    assert type(ours) is type(theirs)
    assert ours.shape == (2, 3, 4)
    assert ours.get_data_dtype() == np.uint8
    assert_array_equal(ours.affine, theirs.affine)
    for form in ("sform", "qform"):
        (a, code_a), (b, code_b) = (getattr(i.header, f"get_{form}")(coded=True) for i in (ours, theirs))
        assert code_a == code_b
        assert (a is None and b is None) or (a == b).all()
    assert_array_equal(ours.header["pixdim"], theirs.header["pixdim"])
    assert ours.header["xyzt_units"] == theirs.header["xyzt_units"]
    assert_array_equal(np.asarray(ours.dataobj), np.full((2, 3, 4), 3, np.uint8), strict=True)


@pytest.mark.parametrize("rank", [4, 5, 7])
def test_a_mask_has_the_rank_of_its_file(tmp_path, rank):
    shape = (2, 3, 4, *[1] * (rank - 3))
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros(shape, np.int16))
    mask = written(tmp_path, source)
    assert_array_equal(np.asarray(mask.dataobj), np.full(shape, 3, np.uint8), strict=True)
    assert_array_equal(mask.header["dim"], nib.load(source).header["dim"])
    assert_array_equal(read(tmp_path / "mask.nii.gz").voxels, np.full((4, 3, 2), 3, np.int16))


@pytest.mark.parametrize("value", [0, -0.9, np.nan])
def test_sizes_that_are_none_leave_as_they_came(tmp_path, value):
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16), pixdim=[1, 0.8, value, 2.5, 0, 0, 0, 0])
    mask = written(tmp_path, source)
    assert_array_equal(mask.affine, lps_affine().astype(np.float32))
    sizes = read_header(tmp_path / "mask.nii.gz")["pixdim"][1:4]  # nibabel would have put them right
    assert_array_equal(sizes, np.array([0.8, value, 2.5], np.float32))


def test_a_range_for_display_is_of_hu_and_goes(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16), cal_min=-160, cal_max=240)
    header = written(tmp_path, source).header
    assert (header["cal_min"], header["cal_max"]) == (0, 0)
    assert (read(source).header["cal_min"], read(source).header["cal_max"]) == (-160, 240)  # only read


def test_scaling_and_byte_order_of_the_scan_do_not_touch_the_labels(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(np.full((2, 3, 4), -500, np.int16), lps_affine(), header)
    image.header.set_slope_inter(2.0, 10.0)
    nib.save(image, tmp_path / "a.nii")
    assert_array_equal(written(tmp_path, tmp_path / "a.nii").get_fdata(), np.full((2, 3, 4), 3.0))


def test_voxels_go_where_they_belong_in_a_flipped_file(tmp_path):
    affine = np.diag([1.0, 1.0, -1.0, 1.0])  # RAI: x, y and z run against LPS
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 2, 3), np.int16), affine)
    scan = read(source)
    mask = np.zeros((3, 2, 2), np.uint8)
    mask[0, 0, 0] = 5  # lowest, foremost, rightmost
    write(mask, tmp_path / "m.nii.gz", scan.header, scan.orientation)
    got = np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj)
    assert np.argwhere(got == 5).tolist() == [[1, 1, 2]]


def test_every_voxel_goes_to_its_place(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    mask = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)  # z, y, x
    write(mask, tmp_path / "m.nii.gz", scan.header, scan.orientation)
    assert_array_equal(np.asarray(nib.load(tmp_path / "m.nii.gz").dataobj), mask.transpose(2, 1, 0))


def test_a_mask_has_no_extensions_whatever_its_scan_has(tmp_path):
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), lps_affine())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"hello" * 50))
    nib.save(image, tmp_path / "a.nii.gz")
    mask = written(tmp_path, tmp_path / "a.nii.gz")
    assert_array_equal(np.asarray(mask.dataobj), np.full((2, 3, 4), 3, np.uint8))
    assert not mask.header.extensions
    assert len(gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())) == 352 + 24


def test_nothing_is_left_when_the_target_cannot_be_written(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    target = tmp_path / "out" / "a.nii.gz"
    target.mkdir(parents=True)  # a folder where the mask should be
    with pytest.raises(CaseError, match=r"a\.nii\.gz: cannot be written: Is a directory"):
        write(np.zeros((4, 3, 2), np.uint8), target, scan.header, scan.orientation, overwrite=True)
    assert [path.name for path in target.parent.iterdir()] == ["a.nii.gz"]


def test_an_older_mask_is_replaced_and_equal_masks_are_equal_files(tmp_path):
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16))
    written(tmp_path, source, value=1)
    first = (tmp_path / "mask.nii.gz").read_bytes()
    assert first[4:8] == bytes(4)  # gzip's time: no second of its making
    assert first[10:].startswith(b"viscera mask ")  # and not the name of the partial file, which is random
    written(tmp_path, source, value=2)
    written(tmp_path, source, value=1)
    assert (tmp_path / "mask.nii.gz").read_bytes() == first
    assert gzip.decompress(first)[352:] == bytes([1]) * 24


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt(), OSError("disk full")])
def test_nothing_is_left_when_writing_is_stopped_halfway(tmp_path, monkeypatch, stop):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    target = tmp_path / "out" / "a.nii.gz"
    target.parent.mkdir()
    write(np.zeros((4, 3, 2), np.uint8), target, scan.header, scan.orientation)
    before = target.read_bytes()

    def stopped(*_):
        assert len(list(target.parent.iterdir())) == 2  # it was being written beside the older mask
        raise stop

    monkeypatch.setattr("app.files.write.os.replace", stopped)
    with pytest.raises(CaseError if isinstance(stop, OSError) else type(stop)):
        write(np.ones((4, 3, 2), np.uint8), target, scan.header, scan.orientation)
    assert list(target.parent.iterdir()) == [target]
    assert target.read_bytes() == before


def no_renaming(*_):
    raise OSError(errno.ENOTSUP, "Operation not supported")


def test_renaming_is_tried_and_leaves_nothing(tmp_path, monkeypatch):
    assert can_rename(tmp_path)
    monkeypatch.setattr("app.files.write.os.replace", no_renaming)
    assert not can_rename(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        can_rename(tmp_path / "nowhere")


def test_where_nothing_can_be_renamed_a_mask_is_the_same(tmp_path, monkeypatch):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    mask, beside, target = np.ones((4, 3, 2), np.uint8), tmp_path / "beside.nii.gz", tmp_path / "out" / "a.nii.gz"
    target.parent.mkdir()
    write(mask, beside, scan.header, scan.orientation)
    monkeypatch.setattr("app.files.write.os.replace", no_renaming)
    with pytest.raises(CaseError, match="Operation not supported"):
        write(mask, target, scan.header, scan.orientation)
    for value in (2, 1):
        write(mask * value, target, scan.header, scan.orientation, renames=False)
    assert target.read_bytes() == beside.read_bytes()
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("stop", [SystemExit(143), KeyboardInterrupt(), OSError("disk full")])
def test_a_mask_that_is_half_written_in_its_place_is_removed(tmp_path, monkeypatch, stop):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    target = tmp_path / "out" / "a.nii.gz"
    target.parent.mkdir()

    def stopped(_):
        assert target.exists()
        raise stop

    monkeypatch.setattr("app.files.write._mask_header", stopped)
    with pytest.raises(CaseError if isinstance(stop, OSError) else type(stop)):
        write(np.ones((4, 3, 2), np.uint8), target, scan.header, scan.orientation, renames=False)
    assert list(target.parent.iterdir()) == []


def test_without_renaming_what_is_anothers_stays_too(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    mask, target, elsewhere = np.ones((4, 3, 2), np.uint8), tmp_path / "mask.nii.gz", tmp_path / "elsewhere.nii.gz"
    elsewhere.write_text("of somebody")
    target.symlink_to(elsewhere)
    with pytest.raises(CaseError, match="was not written by viscera"):
        write(mask, target, scan.header, scan.orientation, renames=False)
    write(mask, target, scan.header, scan.orientation, renames=False, overwrite=True)
    assert elsewhere.read_text() == "of somebody"  # the link was overwritten, not what it leads to
    assert is_replaceable(target)
    target.unlink()
    target.mkdir()
    with pytest.raises(CaseError, match="cannot be written: Is a directory"):
        write(mask, target, scan.header, scan.orientation, renames=False, overwrite=True)


def test_a_mask_says_who_wrote_it_and_not_in_its_header(tmp_path):
    source = save_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.int16), descrip=b"CT of a hospital")
    assert bytes(written(tmp_path, source).header["descrip"]).rstrip(b"\0") == b"CT of a hospital"
    assert is_replaceable(tmp_path / "mask.nii.gz")
    assert not is_replaceable(source)


@pytest.mark.parametrize("program", ["nibabel", "SimpleITK", "gzip"])
def test_a_mask_that_another_program_stored_again_is_no_longer_ours(tmp_path, program):
    """Somebody corrected it by hand; what the header says of its origin goes along in most programs."""
    written(tmp_path, save_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.int16)))
    mask = tmp_path / "mask.nii.gz"
    if program == "nibabel":
        image = nib.load(mask)
        corrected = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        nib.save(corrected, mask)
    elif program == "SimpleITK":
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(mask)), str(mask))
    else:
        mask.write_bytes(gzip.compress(gzip.decompress(mask.read_bytes())))
    assert not is_replaceable(mask)


@pytest.mark.parametrize(
    ("content", "replaceable"),
    [
        pytest.param(b"", True, id="an empty file"),
        pytest.param(b"viscera mask 0.1.0", False, id="words"),
        pytest.param(gzip.compress(b"viscera mask 0.1.0"), False, id="compressed words"),
        pytest.param(
            b"\x1f\x8b\x08\x08time\0\x03viscera mask 0.1.0\0", False, id="stored again by gzip, under our name"
        ),
        pytest.param(b"\x1f\x8b\x08\x08\0\0\0\0\0\xffother mask 0.1.0\0", False, id="another's name"),
        pytest.param(b"\x1f\x8b\x08 and no more", False, id="damaged"),
    ],
)
def test_what_may_be_replaced(tmp_path, content, replaceable):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    assert is_replaceable(path) == replaceable
    check_target(path, overwrite=True)


def test_a_link_to_nowhere_is_somebody_elses_and_nothing_at_all_is_free(tmp_path):
    path = tmp_path / "a.nii.gz"
    check_target(path, overwrite=False)
    path.symlink_to("nowhere")
    with pytest.raises(CaseError, match="was not written by viscera"):
        check_target(path, overwrite=False)


def test_what_came_first_while_the_case_was_worked_on_stays(tmp_path):
    scan = read(save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16)))
    target = tmp_path / "out" / "a.nii.gz"
    target.parent.mkdir()
    check_target(target, overwrite=False)
    target.write_text("of another program")
    with pytest.raises(CaseError, match="was not written by viscera"):
        write(np.zeros((4, 3, 2), np.uint8), target, scan.header, scan.orientation)
    assert [path.read_text() for path in target.parent.iterdir()] == ["of another program"]


WRITER = """
import sys
from pathlib import Path
import numpy as np
from app.files import write
from app.files.read import read

replace = write.os.replace

def wait_and_replace(*paths):
    print("whole", flush=True)
    sys.stdin.readline()
    replace(*paths)

write.os.replace = wait_and_replace
scan, value = read(Path(sys.argv[1])), int(sys.argv[3])
write.write(np.full(scan.grid.shape, value, np.uint8), Path(sys.argv[2]), scan.header, scan.orientation)
"""


def test_two_processes_that_write_one_mask_at_the_same_time(tmp_path):
    """As two containers on one folder do: both are done before either puts its mask into place."""
    source = save_nifti(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.int16))
    target = tmp_path / "out" / "a.nii.gz"
    target.parent.mkdir()
    commands = [[sys.executable, "-c", WRITER, str(source), str(target), str(value)] for value in (1, 2)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen(command, cwd=PROJECT, **pipes) for command in commands]
    assert [writer.stdout.readline() for writer in writers] == ["whole\n", "whole\n"]
    assert len(list(target.parent.iterdir())) == 2
    for writer, value in zip(writers, (1, 2), strict=True):
        assert writer.communicate("go on\n")[1] == ""
        assert writer.returncode == 0
        assert_array_equal(np.asarray(nib.load(target).dataobj), np.full((2, 3, 4), value, np.uint8))
    assert list(target.parent.iterdir()) == [target]


def test_a_pipe_is_somebody_elses_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.nii.gz")
    assert not is_replaceable(tmp_path / "a.nii.gz")


def test_what_cannot_be_read_is_not_ours_to_replace(tmp_path, monkeypatch):
    (tmp_path / "a.nii.gz").write_text("of somebody")

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(Path, "open", refused)
    assert not is_replaceable(tmp_path / "a.nii.gz")
