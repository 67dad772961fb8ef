import pytest

from app.errors import SetupError
from app.system.toml_file import read_toml


def test_tables_are_merged_and_lists_replaced(tmp_path):
    (tmp_path / "base.toml").write_text("a = 1\nlist = [1, 2]\n[table]\nx = 1\ny = 2\n")
    (tmp_path / "middle.toml").write_text('extends = "base"\n[table]\ny = 3\n')
    (tmp_path / "top.toml").write_text('extends = "middle"\nlist = [3]\n[table]\nz = 4\n')
    assert read_toml(tmp_path / "top.toml") == {"a": 1, "list": [3], "table": {"x": 1, "y": 3, "z": 4}}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SetupError, match=r"none\.toml: cannot be read: No such file or directory; try that"):
        read_toml(tmp_path / "none.toml", "; try that")


def test_a_base_that_is_not_there_is_said_of_the_file_that_names_it(tmp_path):
    (tmp_path / "top.toml").write_text('extends = "none"')
    with pytest.raises(SetupError, match=r"top\.toml: field extends names .*none\.toml, which is not there"):
        read_toml(tmp_path / "top.toml", "; try that")


def test_a_table_takes_the_place_of_a_value_and_the_other_way_round(tmp_path):
    (tmp_path / "base.toml").write_text("a = 1\n[b]\nx = 1\n")
    (tmp_path / "top.toml").write_text('extends = "base"\nb = 2\n[a]\ny = 3\n')
    assert read_toml(tmp_path / "top.toml") == {"a": {"y": 3}, "b": 2}


def test_a_circle_of_two_is_a_circle(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b"')
    (tmp_path / "b.toml").write_text('extends = "a"')
    with pytest.raises(SetupError, match=r"a\.toml: field extends goes round in a circle"):
        read_toml(tmp_path / "a.toml")


def test_a_base_may_lie_in_a_folder_above(tmp_path):
    inner = tmp_path / "papers" / "first"
    inner.mkdir(parents=True)
    (tmp_path / "base.toml").write_text("a = 1\nb = 1\n")
    (tmp_path / "papers" / "middle.toml").write_text('extends = "../base"\nb = 2\n')
    (inner / "top.toml").write_text('extends = "../middle"\nc = 3\n')
    assert read_toml(inner / "top.toml") == {"a": 1, "b": 2, "c": 3}
    (inner / "far.toml").write_text('extends = "../../base"\n')
    assert read_toml(inner / "far.toml") == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    "base", ["/etc/base", "papers/base", "../papers/base", "./base", "..", "../..", "", r"..\\base"]
)
def test_a_base_elsewhere_is_refused(tmp_path, base):
    (tmp_path / "top.toml").write_text(f'extends = "{base}"')
    with pytest.raises(SetupError, match="field extends must name a file beside this one, or in a folder above it"):
        read_toml(tmp_path / "top.toml")


def test_a_circle_through_folders_is_a_circle(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inner.toml").write_text('extends = "../outer"')
    (tmp_path / "outer.toml").write_text('extends = "outer"')
    with pytest.raises(SetupError, match=r"outer\.toml: field extends goes round in a circle"):
        read_toml(tmp_path / "a" / ".." / "a" / "inner.toml")
