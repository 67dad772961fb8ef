"""Archives: which tags the images in a saved archive take when an engine loads it, read without an engine.

Whatever an engine could read in another way than this (a table under a link, a field in other letters) is refused.
"""

import bz2
import json
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip
from isal.isal_zlib import IsalError

from app.errors import SetupError

NO_NAME = "no image with a name in it; write it with docker save NAME"
LARGEST_TABLE = 1 << 20  # bytes
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, cast("type[Exception]", IsalError))
ODD = (ValueError, LookupError, TypeError, AttributeError, RecursionError)  # of a table that is not what it should be
OPENERS: dict[bytes, Callable[[BinaryIO], Any]] = {  # by how a file begins
    b"\x1f\x8b": igzip.open,
    b"BZ": bz2.open,
    b"\xfd7": lzma.open,
}


def check_tags(archive: Path, file: BinaryIO, wanted: str) -> None:
    """SetupError unless `wanted` is the one tag that an image in the archive, open as `file`, would get when loaded."""
    try:
        tags = sorted(tags_of(file))
    except (*BROKEN, *ODD) as error:
        raise SetupError(f"{archive}: {NO_NAME} ({' '.join(str(error).split())})") from error
    if not tags:
        raise SetupError(f"{archive}: {NO_NAME}")
    if tags != [wanted]:
        found = " ".join(", ".join(tags).split())
        raise SetupError(
            f"{archive}: holds {found}, but the organisers run {wanted}, as the file is called, and no other "
            f"image is to be replaced; save it as docker save {wanted} -o {wanted.partition(':')[0]}.tar.gz"
        )


def tags_of(file: BinaryIO) -> set[str]:
    """The tags in a saved archive: of manifest.json, OCI's index.json and the old repositories, one of which is read.

    Raises OSError, one of BROKEN or of ODD where it cannot be read.
    """
    tags: set[str] = set()
    links: set[str] = set()
    start = file.read(2)
    file.seek(0)
    # tarfile's own decompression stops at the end of a file's first stream, an engine's does not
    plain = OPENERS[start](file) if start in OPENERS else file
    with tarfile.open(fileobj=plain, mode="r|") as content:
        for member in content:
            name = posixpath.normpath("/" + member.name)
            if not links.isdisjoint(_folders(name)):
                raise ValueError(f"{member.name} lies beyond a link")
            if not (member.isreg() or member.isdir()):
                links.add(name)
            if name not in TABLES:
                continue
            inside = content.extractfile(member) if member.isreg() and member.size <= LARGEST_TABLE else None
            if inside is None:
                raise ValueError(f"{member.name} is no file of its usual size")
            tags.update(TABLES[name](json.load(inside, object_pairs_hook=_unequivocal)))
    return {tag.removeprefix("docker.io/").removeprefix("library/") for tag in tags}


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(2, len(parts))]


def _unequivocal(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """An engine takes a field in whatever letters, and of two the last. ValueError where there is such a one."""
    table = dict(fields)
    odd = [name for name in table if FIELDS.get(name.casefold(), name) != name]
    if odd or len(table) < len(fields):
        raise ValueError(f"a table has {odd[0] if odd else 'a field twice'}")
    return table


def _manifest_tags(images: list[dict[str, Any]]) -> list[str]:
    return [tag for image in images for tag in image["RepoTags"] or ()]


def _index_tags(index: dict[str, Any]) -> list[str]:
    marks = [image.get("annotations") or {} for image in index["manifests"]]
    names = [mark.get("io.containerd.image.name") or mark.get("org.opencontainers.image.ref.name") for mark in marks]
    return [name for name in names if name]


def _repository_tags(repositories: dict[str, dict[str, Any]]) -> list[str]:
    return [f"{name}:{tag}" for name, tags in repositories.items() for tag in tags]


TABLES: dict[str, Callable[[Any], list[str]]] = {
    "/manifest.json": _manifest_tags,
    "/index.json": _index_tags,
    "/repositories": _repository_tags,
}
FIELDS = {name.casefold(): name for name in ("RepoTags", "manifests", "annotations")}
