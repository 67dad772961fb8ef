"""Schema: tables of a JSON or TOML file into frozen dataclasses. An error names the file and the field.

The dataclasses' annotations are the schema; numbers may be written whole, tuples as lists. Values that the type
cannot rule out (a negative margin) are refused by the dataclass itself with a ValueError. A type with a class method
`from_table(table, file, field)` reads its own. Written here because pydantic and jsonschema cost .06 to .10 s at the
start of every case; this costs nothing measurable.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from app.errors import SetupError

T = TypeVar("T")


def parse(kind: type[T], table: object, file: Path, field: str = "") -> T:
    """`table` as a `kind` (a dataclass of scalars, tuples, mappings and dataclasses); `field` is where it stands.

    Raises SetupError for an unknown, missing, ill-typed or impossible field.
    """
    if not isinstance(table, Mapping):
        raise SetupError(f"{file}: {field or 'the file'} must be a table, found {table!r}")
    known = {entry.name: entry for entry in fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in known:
            raise SetupError(f"{file}: unknown field {_join(field, name)}; known are {', '.join(known)}")
    for name, entry in known.items():
        if name not in table and entry.default is MISSING and entry.default_factory is MISSING:
            raise SetupError(f"{file}: field {_join(field, name)} is missing")
    hints = get_type_hints(kind)
    values = {name: _value(hints[name], table[name], file, _join(field, name)) for name in table}
    try:
        return kind(**values)
    except ValueError as error:
        raise SetupError(f"{file}: {field or 'the file'}: {error}") from error


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """ValueError unless a field's value is known."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, found {value!r}")


def _value(kind: Any, value: object, file: Path, field: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if reads_itself := getattr(kind, "from_table", None):
        return reads_itself(value, file, field)
    if is_dataclass(kind):
        return parse(kind, value, file, field)  # type: ignore[arg-type]
    if origin is types.UnionType:  # X | None: absent means None, so what is there is an X
        return _value(arguments[0], value, file, field)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise SetupError(f"{file}: field {field} needs {len(kinds)} values, found {value!r}")
        return tuple(_value(k, v, file, f"{field}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        return {name: _value(arguments[1], entry, file, _join(field, name)) for name, entry in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise SetupError(f"{file}: field {field} is too large for a number") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise SetupError(f"{file}: field {field} must be a finite number, found {value!r}")
    if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
        return value
    raise SetupError(f"{file}: field {field} must be {_name(kind)}, found {value!r}")


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _name(kind: Any) -> str:
    names = {float: "a number", int: "a whole number", str: "text", bool: "true or false"}
    return names.get(kind, "a list" if get_origin(kind) is tuple else "a table")
