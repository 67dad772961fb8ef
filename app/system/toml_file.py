"""TOML file: a table that may build on another one: `extends = "other"` is `other.toml` beside it, fields replaced.

Systems and recipes are written so: what a variant does not name, it shares with its base.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.errors import SetupError


def read_toml(path: Path, hint: str = "") -> dict[str, Any]:
    """The table of `path`, merged over what it extends. SetupError says what is wrong, with `hint` if it is not there.

    Tables are merged field by field, lists are replaced as a whole.
    """
    return _read(path, (), hint)


def _read(path: Path, seen: tuple[Path, ...], hint: str) -> dict[str, Any]:
    if path in seen:
        raise SetupError(f"{path}: field extends goes round in a circle")
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: not TOML: {error}") from error
    base = table.pop("extends", None)
    if base is None:
        return table
    if not isinstance(base, str) or base != Path(base).name:
        raise SetupError(f"{path}: field extends must name a file beside this one, without .toml, found {base!r}")
    return _merged(_read(path.with_name(f"{base}.toml"), (*seen, path), hint), table)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(both.get(name), Mapping)
        both[name] = _merged(both[name], value) if nested else value
    return both
