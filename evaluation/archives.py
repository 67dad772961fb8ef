"""Archives: which tags the images in a saved archive take when an engine loads it, read without an engine."""

import json
import lzma
import posixpath
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import SetupError

NO_NAME = "no image with a name in it; write it with docker save NAME"
LARGEST_TABLE = 1 << 20  # bytes
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
ODD = (ValueError, LookupError, TypeError, AttributeError)  # of a table that is not what it should be


def check_tags(archive: Path, file: BinaryIO, wanted: str) -> None:
    """SetupError unless `wanted` is the one tag that an image in the archive, open as `file`, would get when loaded."""
    try:
        tags = sorted(tags_of(file))
    except (*BROKEN, *ODD) as error:
        raise SetupError(f"{archive}: {NO_NAME} ({error})") from error
    if not tags:
        raise SetupError(f"{archive}: {NO_NAME}")
    if tags != [wanted]:
        raise SetupError(
            f"{archive}: holds {', '.join(tags)}, but the organisers run {wanted}, as the file is called, and no other "
            f"image is to be replaced; save it as docker save {wanted} -o {wanted.partition(':')[0]}.tar.gz"
        )


def tags_of(file: BinaryIO) -> set[str]:
    """The tags in a saved archive: of manifest.json and of OCI's index.json, one of which an engine reads.

    Raises OSError, one of BROKEN or of ODD where it cannot be read.
    """
    tags: set[str] = set()
    with tarfile.open(fileobj=file, mode="r|*") as content:
        for member in content:
            name = posixpath.normpath("/" + member.name)
            if name not in ("/manifest.json", "/index.json"):
                continue
            inside = content.extractfile(member) if member.isreg() and member.size <= LARGEST_TABLE else None
            if inside is None:
                raise ValueError(f"{member.name} is no file of its usual size")
            table = json.load(inside)
            tags.update(_manifest_tags(table) if name == "/manifest.json" else _index_tags(table))
    return {tag.removeprefix("docker.io/").removeprefix("library/") for tag in tags}


def _manifest_tags(images: list[dict[str, Any]]) -> list[str]:
    return [tag for image in images for tag in image["RepoTags"] or ()]


def _index_tags(index: dict[str, Any]) -> list[str]:
    marks = [image.get("annotations") or {} for image in index["manifests"]]
    names = [mark.get("io.containerd.image.name") or mark.get("org.opencontainers.image.ref.name") for mark in marks]
    return [name for name in names if name]
