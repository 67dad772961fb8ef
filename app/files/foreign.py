"""Foreign: what a file is that is no NIfTI, by how it begins, and what to do with it."""

DICOM = "a DICOM file; convert its series with dcm2niix"
LOOKED_AT = 512  # bytes
BEFORE_TEXT = b"\xef\xbb\xbf \t\r\n"  # a byte order mark and empty lines, with which a web page may begin
KINDS = (  # where its mark stands, the mark in lower case, what to say
    (0, b"version https://git-lfs", "a Git LFS pointer, not the scan itself; fetch it with `git lfs pull`"),
    (128, b"dicm", DICOM),
    (0, b"<!doctype html", "a web page, perhaps of a login; download the scan again"),
    (0, b"<html", "a web page, perhaps of a login; download the scan again"),
    (0, b"nrrd000", "an NRRD image; save it as .nii.gz, for instance in 3D Slicer"),
    (0, b"objecttype = image", "the text header of a MetaImage; save it as .nii.gz, for instance in 3D Slicer"),
    (0, b"ndims = ", "the text header of a MetaImage; save it as .nii.gz, for instance in 3D Slicer"),
    (0, b"pk\x03\x04", "a zip archive; unpack it"),
    (0, b"\x1f\x8b", "compressed twice; unpack it once with gunzip"),
    (0, b"\x89png", "a PNG picture, which has no HU; export the CT as .nii.gz"),
    (0, b"\xff\xd8\xff", "a JPEG picture, which has no HU; export the CT as .nii.gz"),
)


def kind_of(start: bytes) -> str | None:
    """What a file is and what to do, of its first `LOOKED_AT` bytes; None if it is nothing that is known here.

    >>> kind_of(b"PK\\x03\\x04 and so on")
    'a zip archive; unpack it'
    """
    text = start.lower()
    bare = text.lstrip(BEFORE_TEXT)
    return next((said for at, mark, said in KINDS if text.startswith(mark, at) or bare.startswith(mark, at)), None)
