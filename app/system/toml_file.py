"""TOML file: a table that may build on another one: `extends = "other"` is `other.toml` beside it, `"../other"` that of
the folder above; fields are replaced.

Systems and recipes are written so: what a variant does not name, it shares with its base.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.errors import SetupError

PLAIN = re.compile(r"(\.\./)*[^/\\]*[^/\\.][^/\\]*")  # a name, and at the most ways up before it


def read_toml(path: Path, hint: str = "") -> dict[str, Any]:
    """The table of `path`, merged over what it extends. SetupError says what is wrong, with `hint` if it is not there.

    Tables are merged field by field, lists are replaced as a whole.
    """
    return _read(path, (), hint)


def _read(path: Path, seen: tuple[Path, ...], hint: str) -> dict[str, Any]:
    if path in seen:
        raise SetupError(f"{path}: field extends goes round in a circle")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: not TOML: {error}") from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or not PLAIN.fullmatch(base):
        raise SetupError(
            f"{path}: field extends must name a file beside this one, or in a folder above it (../), without .toml, "
            f"found {base!r}"
        )
    # the same file by the same name, however a circle reaches it
    file = Path(os.path.normpath(path.parent / f"{base}.toml"))
    if not file.is_file():
        raise SetupError(
            f"{path}: field extends names {file}, which is not there; a base lies beside it, or above (../)"
        )
    return _merged(_read(file, (*seen, path), hint), table)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = _merged(both[name], value) if nested else value
    return both
