import pytest

from app.errors import SetupError
from app.toml_file import read_toml


def test_tables_are_merged_and_lists_replaced(tmp_path):
    (tmp_path / "base.toml").write_text("a = 1\nlist = [1, 2]\n[table]\nx = 1\ny = 2\n")
    (tmp_path / "middle.toml").write_text('extends = "base"\n[table]\ny = 3\n')
    (tmp_path / "top.toml").write_text('extends = "middle"\nlist = [3]\n[table]\nz = 4\n')
    assert read_toml(tmp_path / "top.toml") == {"a": 1, "list": [3], "table": {"x": 1, "y": 3, "z": 4}}


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SetupError, match=r"none\.toml: cannot be read: No such file or directory; try that"):
        read_toml(tmp_path / "none.toml", "; try that")
