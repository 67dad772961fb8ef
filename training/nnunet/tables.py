"""Tables: JSON files of others, read with care: sizes are limited, names come once, and every value has its type.

A mistake is a SetupError of one line that names file and field.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.errors import SetupError

MOST_BYTES = 64 << 20  # of a plans.json or dataset.json; usual ones have some kilobytes
MOST_SHOWN, MOST_LISTED = 100, 5  # letters of a name in a line, and names


class Table:
    """A table of a JSON file; what is asked for is there and of its type, or a SetupError says so.

    true and false are no numbers, 2.0 is no whole one.
    """

    def __init__(self, values: Mapping[str, Any], file: Path, field: str = "") -> None:
        self.values, self.file, self.field = values, file, field

    def wrong(self, name: str, needed: str) -> SetupError:
        """What to raise where a field is not as needed."""
        found = repr(self.values.get(name)) if name in self.values else "nothing"
        return SetupError(f"{self.file}: field {self._path(name)} must be {needed}, found {shown(found)}")

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def table(self, name: str) -> "Table":
        """A table in this one."""
        value = self.values.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a table")
        return Table(value, self.file, self._path(name))

    def text(self, name: str) -> str:
        """A text."""
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "text")
        return value

    def flag(self, name: str, absent: bool | None = None) -> bool:
        """True or false; `absent` where it is not there."""
        value = self.values.get(name, absent)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str, absent: float | None = None) -> float:
        """A finite number; `absent` where it is not there."""
        value = self.values.get(name, absent)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self.wrong(name, "a finite number")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.values.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def entries(self, name: str) -> list[Any]:
        """A list."""
        value = self.values.get(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list")
        return value

    def wholes(self, name: str, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers from `low` to `high`."""
        values = self.entries(name)
        if not all(type(value) is int and low <= value <= high for value in values):
            raise self.wrong(name, f"a list of whole numbers from {low} to {high}")
        return tuple(values)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.entries(name)
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) != len(values) or not all(map(_is_finite, numbers)):
            raise self.wrong(name, "a list of finite numbers")
        return tuple(map(float, numbers))

    def _path(self, name: str) -> str:
        return f"{self.field}.{shown(name)}" if self.field else shown(name)


def read_table(path: Path) -> Table:
    """The table that a JSON file holds. SetupError where it is missing, too large, no JSON or names a field twice."""
    try:
        if path.exists() and not path.is_file():
            raise SetupError(f"{path}: is no plain file; a trained model of nnU-Net v2 has one")
        if path.stat().st_size > MOST_BYTES:
            raise SetupError(f"{path}: larger than {MOST_BYTES >> 20} MB, which no file of nnU-Net's is")
        table = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_once)
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}; a trained model of nnU-Net v2 has it") from error
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{path}: not JSON as nnU-Net writes it: {shown(str(error))}") from error
    if not isinstance(table, dict):
        raise SetupError(f"{path}: the file must be a table")
    return Table(table, path)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table whose names are different: json by itself takes the last of several."""
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is named twice")
    return table


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def shown(text: str, most: int = MOST_SHOWN) -> str:
    """Words of others as a line has them: short, and nothing in them that a terminal would obey.

    >>> shown("liver\\x1b[2J")
    'liver?[2J'
    """
    text = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return text if len(text) <= most else f"{text[:most]}…"


def listed(texts: Sequence[str]) -> str:
    """The first of them, and how many more there are.

    >>> listed(["liver", "spleen"] + 5 * ["rib"])
    'liver, spleen, rib, rib, rib and 2 more'
    """
    more = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
