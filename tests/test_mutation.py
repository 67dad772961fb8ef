"""The faults that `tests.mutation` puts into app, and which of them a run takes."""

import pytest

from tests.mutants import mutants
from tests.mutation import chosen, files_to_run, imported, read_results


def changes(source):
    return [mutant.name.removeprefix("m: ") for mutant in mutants("m", source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("a < b", ["`a < b` -> `a <= b`"], id="an edge"),
        pytest.param("a == b", ["`a == b` -> `a != b`"], id="the opposite"),
        pytest.param("a < b <= c", ["`a < b <= c` -> `a <= b <= c`", "`a < b <= c` -> `a < b < c`"], id="each of two"),
        pytest.param("a + b", ["`a + b` -> `a - b`"], id="arithmetic"),
        pytest.param("a -= b", ["`a -= b` -> `a += b`", "`a -= b` -> `pass`"], id="in place"),
        pytest.param("a = 3", ["`a = 3` -> `a = 4`"], id="a number"),
        pytest.param("a = True", ["`a = True` -> `a = False`"], id="a truth"),
        pytest.param("a and b", ["`a and b` -> `a or b`"], id="and"),
        pytest.param("a = not b", ["`a = not b` -> `a = b`"], id="not"),
        pytest.param("a = -b", ["`a = -b` -> `a = b`"], id="minus"),
        pytest.param("f(a)", ["`f(a)` -> `pass`"], id="a call"),
        pytest.param("a.b = c", ["`a.b = c` -> `pass`"], id="an attribute"),
        pytest.param("a[b] = c", ["`a[b] = c` -> `pass`"], id="an element"),
        pytest.param("f = g(b=c, d=e)", ["`f = g(b=c, d=e)` -> `f = g(d=e)`",
                                         "`f = g(b=c, d=e)` -> `f = g(b=c)`"], id="a keyword"),
        pytest.param("a = b if c else d", ["`a = b if c else d` -> `a = b if True else d`",
                                           "`a = b if c else d` -> `a = b if False else d`"], id="a condition"),
        pytest.param("a = [b for b in c if d]", ["`a = [b for b in c if d]` -> `a = [b for b in c]`"], id="a filter"),
    ],
)  # fmt: skip
def test_each_fault(source, expected):
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        pytest.param('"""Words: 1 + 1."""', id="a docstring"),
        pytest.param('a = f"{b + 1}"', id="words for a person"),
        pytest.param("raise ValueError(a + 1)", id="an error's words"),
        pytest.param("def f(a: Array[1]) -> Array[1]: pass", id="annotations"),
        pytest.param("Shape: TypeAlias = Tuple[1]", id="a type"),
        pytest.param("@dataclass(frozen=True)\nclass A: pass", id="a decorator"),
        pytest.param("a = zip(b, c, strict=True)", id="a guard of zip"),
        pytest.param("if __name__ == '__main__':\n    f(1)", id="what only runs as a program"),
        pytest.param("def f():\n    return None", id="nothing returned already"),
    ],
)
def test_what_is_left_out(source):
    assert changes(source) == []


def test_a_mutant_is_the_whole_module_with_one_fault_and_names_where_it_is():
    source = "class A:\n\n    def f(self, a):\n        if a > 1:\n            return a\n        return 2\n"
    found = mutants("m", source)
    assert [(mutant.name, mutant.line) for mutant in found] == [
        ("m.A.f: `if a > 1:` -> `if True:`", 4),
        ("m.A.f: `if a > 1:` -> `if False:`", 4),
        ("m.A.f: `if a > 1:` -> `if a >= 1:`", 4),
        ("m.A.f: `if a > 1:` -> `if a > 2:`", 4),
        ("m.A.f: `return a` -> `return None`", 5),
        ("m.A.f: `return 2` -> `return 3`", 6),
    ]
    assert found[2].source.splitlines() == [
        "class A:", "", "    def f(self, a):", "        if a >= 1:", "            return a", "        return 2",
    ]  # fmt: skip


def test_the_same_fault_twice_has_two_names():
    assert changes("f(1)\nf(1)")[1::2] == ["`f(1)` -> `f(2)`", "`f(1)` -> `f(2)` (2)"]


def test_a_share_is_the_same_each_time_and_grows_with_the_share():
    some, more = ({mutant.name for _, mutant in chosen(["clean"], share, 1)} for share in (0.3, 0.6))
    assert some < more < {mutant.name for _, mutant in chosen(["clean"], 1.0, 1)}
    assert some == {mutant.name for _, mutant in chosen(["clean"], 0.3, 1)}
    assert some != {mutant.name for _, mutant in chosen(["clean"], 0.3, 2)}


def test_the_mirror_comes_first_and_only_what_imports_the_module_follows():
    mirror, others = files_to_run("write")
    assert mirror == ["app/files/write.py", "tests/app/files/test_write.py"]
    assert others[:2] == ["tests/app/run/test_pipeline.py", "tests/app/run/test_command_line.py"]
    assert not {"tests/app/files/test_write.py", "tests/app/test_grid.py"} & set(others)
    assert imported("crop") == {"crop", "grid", "types"}
    assert "resources" in imported("command_line")  # from app.run import resources


def test_of_an_earlier_run_the_last_row_counts(tmp_path):
    assert read_results(tmp_path / "none.csv") == {}
    (tmp_path / "r.csv").write_text("name,line,result,seconds\na,1,survived,1\nb,1,killed,1\na,1,killed,1\n")
    assert {name: row["result"] for name, row in read_results(tmp_path / "r.csv").items()} == dict.fromkeys(
        "ab", "killed"
    )
