from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.errors import SetupError
from app.schema import parse

FILE = Path("f.toml")


@dataclass(frozen=True, slots=True)
class Inner:
    size: int

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("size must not be 13")


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    share: float
    flag: bool = False
    numbers: tuple[int, ...] = ()
    pair: tuple[float, str] = (0.0, "")
    table: dict[str, int] = field(default_factory=dict)
    maybe: Inner | None = None
    anything: Any = None

    def __post_init__(self) -> None:
        if self.name == "":
            raise ValueError("name must not be empty")


def test_what_is_left_out_has_its_default():
    assert parse(Outer, {"name": "a", "share": 0.5}, FILE) == Outer("a", 0.5)


def test_every_kind_of_value():
    table = {
        "name": "a", "share": 1, "flag": True, "numbers": [1, 2, 3], "pair": [2, "b"], "table": {"x": 1},
        "maybe": {"size": 3}, "anything": [None, {"y": float("inf")}],
    }  # fmt: skip
    got = parse(Outer, table, FILE)
    assert got == Outer(
        "a", 1.0, True, (1, 2, 3), (2.0, "b"), {"x": 1}, Inner(3), [None, {"y": float("inf")}]
    )  # fmt: skip
    assert (type(got.share), type(got.pair[0])) == (float, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"name": 3}, "field name must be text, found 3", id="a number for text"),
        pytest.param({"share": "1"}, "field share must be a number, found '1'", id="text for a number"),
        pytest.param({"share": True}, "field share must be a number, found True", id="true for a number"),
        pytest.param({"share": 10**400}, "field share is too large for a number", id="beyond any float"),
        pytest.param({"share": float("inf")}, "field share must be a finite number, found inf", id="endless"),
        pytest.param({"share": float("nan")}, "field share must be a finite number, found nan", id="no number"),
        pytest.param({"flag": 1}, "field flag must be true or false, found 1", id="a number for true"),
        pytest.param({"numbers": 3}, "field numbers must be a list, found 3", id="a number for a list"),
        pytest.param({"numbers": [1, "x"]}, "field numbers[1] must be a whole number, found 'x'", id="in a list"),
        pytest.param({"numbers": [1, 2.0]}, "field numbers[1] must be a whole number, found 2.0", id="not whole"),
        pytest.param({"pair": [1.0]}, "field pair needs 2 values, found [1.0]", id="one of two"),
        pytest.param({"pair": [1.0, "a", 1]}, "field pair needs 2 values, found [1.0, 'a', 1]", id="three of two"),
        pytest.param({"table": []}, "field table must be a table, found []", id="a list for a table"),
        pytest.param({"table": {"x": "1"}}, "field table.x must be a whole number, found '1'", id="in a table"),
        pytest.param({"maybe": 3}, "maybe must be a table, found 3", id="a number for fields"),
        pytest.param({"maybe": {}}, "field maybe.size is missing", id="missing inside"),
        pytest.param(
            {"maybe": {"size": True}}, "field maybe.size must be a whole number, found True", id="true inside"
        ),
        pytest.param({"maybe": {"size": 1, "x": 1}}, "unknown field maybe.x; known are size", id="unknown inside"),
        pytest.param({"maybe": {"size": 13}}, "maybe: size must not be 13", id="refused by its class"),
        pytest.param({"name": ""}, "the file: name must not be empty", id="refused by the outermost class"),
        pytest.param(
            {"colour": 1},
            "unknown field colour; known are name, share, flag, numbers, pair, table, maybe, anything",
            id="unknown",
        ),
    ],
)
def test_what_is_wrong_is_said_with_file_and_field(change, message):
    with pytest.raises(SetupError) as caught:
        parse(Outer, {"name": "a", "share": 0.5} | change, FILE)
    assert str(caught.value) == f"f.toml: {message}"


class Told:
    """Reads its own table."""

    @classmethod
    def from_table(cls, table, file, field):
        return table, file, field


@dataclass(frozen=True, slots=True)
class Reader:
    parts: tuple[Told, ...]


def test_a_type_that_reads_its_own_table_is_told_where_it_stands():
    assert parse(Reader, {"parts": ["a", {"b": 1}]}, FILE, "x") == Reader(
        (("a", FILE, "x.parts[0]"), ({"b": 1}, FILE, "x.parts[1]"))
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param([], "the file must be a table, found []", id="a list for the file"),
        pytest.param({"share": 0.5}, "field name is missing", id="the first is missing"),
        pytest.param({"name": "a"}, "field share is missing", id="the second is missing"),
    ],
)
def test_a_file_as_a_whole(table, message):
    with pytest.raises(SetupError) as caught:
        parse(Outer, table, FILE)
    assert str(caught.value) == f"f.toml: {message}"
