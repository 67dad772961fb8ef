import pytest

from app.files.foreign import LOOKED_AT, kind_of


@pytest.mark.parametrize(
    ("start", "said"),
    [
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull", id="LFS"),
        pytest.param(bytes(128) + b"DICM\x02\0", "dcm2niix", id="DICOM"),
        pytest.param(b"<!DOCTYPE html><html>", "web page", id="HTML"),
        pytest.param(b"\xef\xbb\xbf\n\n <HTML lang=en>", "web page", id="HTML behind a byte order mark and lines"),
        pytest.param(b"NRRD0005\n# Complete", "NRRD", id="NRRD"),
        pytest.param(b"ObjectType = Image\nNDims = 3", "MetaImage", id="MetaImage"),
        pytest.param(b"NDims = 3\nDimSize", "MetaImage", id="MetaImage without its first line"),
        pytest.param(b"PK\x03\x04\x14", "zip archive; unpack it", id="zip"),
        pytest.param(b"\x1f\x8b\x08", "compressed twice", id="gzip in gzip"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "PNG", id="PNG"),
        pytest.param(b"\xff\xd8\xff\xe0", "JPEG", id="JPEG"),
    ],
)
def test_what_a_file_is(start, said):
    assert said in kind_of(start)
    assert said in kind_of(start.ljust(LOOKED_AT, b"\0"))
    assert "\n" not in kind_of(start)


@pytest.mark.parametrize("start", [b"", b"words", bytes(LOOKED_AT), bytes(127) + b"DICM", b"version 2", b" NRRD"[:4]])
def test_what_is_not_known(start):
    assert kind_of(start) is None
