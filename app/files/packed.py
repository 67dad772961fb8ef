"""Packed: a file's own bytes, unpacked where they are gzip, which is told by content and not by name.

Whatever lies behind the last whole member of a gzip file (padding of a tape, a note that a server added) may be left
out; a member that is damaged or cut may not.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from pathlib import Path
from typing import BinaryIO, cast

from isal import igzip
from isal.isal_zlib import IsalError

MAGIC = b"\x1f\x8b"
ERRORS = (EOFError, IsalError, BadGzipFile)  # what igzip has against a file; which one says little of what is wrong
WITH_GZIP_HEADER = 31  # zlib's wbits: the member's sum and length are checked
CHUNK = 1 << 16  # bytes; a thousand times as many may come out of them


@contextmanager
def unpacked(path: Path, packed_bytes: int | None = None) -> Iterator[BinaryIO]:
    """A stream of what is in the file. packed_bytes: where the gzip ends that is read; None is the file's end.

    OSError where the file cannot be opened; reading raises OSError and `ERRORS`.
    """
    with path.open("rb") as file:
        is_packed = file.read(len(MAGIC)) == MAGIC
        file.seek(0)
        if not is_packed:
            yield file
            return
        source = file if packed_bytes is None else _Beginning(file, packed_bytes)
        with igzip.open(source, "rb") as content:
            yield cast(BinaryIO, content)


def whole_members(path: Path) -> int | None:
    """Bytes of the whole gzip members that a file begins with; None if there is none, or one behind them is damaged.

    Whole is a member whose sum and length are right. What begins like a member is one. OSError where it cannot be read.
    """
    end = 0
    with path.open("rb") as file:
        while file.read(len(MAGIC)) == MAGIC:
            file.seek(end)
            size = _member_bytes(file)
            if size is None:
                return None
            end += size
            file.seek(end)
    return end or None


def _member_bytes(file: BinaryIO) -> int | None:
    """Of the member that begins here; None if it is damaged or cut."""
    start, unpacking = file.tell(), zlib.decompressobj(WITH_GZIP_HEADER)
    while not unpacking.eof:
        chunk = file.read(CHUNK)
        try:
            unpacking.decompress(chunk)
        except zlib.error:
            return None
        if not chunk:
            return None
    return file.tell() - len(unpacking.unused_data) - start


class _Beginning(io.RawIOBase):
    """The first bytes of a file, which whoever opened it closes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._file.read(min(self._left, len(buffer)))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)
