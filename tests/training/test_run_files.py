import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.run_files import append_row, forget_rows_after, has_row, is_table, read_past  # noqa: E402

HEADER = ["stage", "step", "loss"]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "metrics.csv"
    for row in ([0, 20, 0.5], [0, 40, 0.4], [1, 20, 0.3]):
        append_row(path, HEADER, row)
    return path


def test_rows_follow_one_header(table):
    assert table.read_text().splitlines() == ["stage,step,loss", "0,20,0.5", "0,40,0.4", "1,20,0.3"]


def test_a_row_is_found_by_its_place(table):
    assert has_row(table, (0, 40))
    assert not has_row(table, (1, 40))
    assert not has_row(table.with_name("nothing.csv"), (0, 40))


@pytest.mark.parametrize(
    ("content", "ours"),
    [
        pytest.param(None, True, id="not there"),
        pytest.param("", True, id="empty"),
        pytest.param("stage,step,name,seconds,loss\n0,20,coarse,1,0.5\n", True, id="of a run"),
        pytest.param("stage,step,loss\n", False, id="of something else"),
    ],
)
def test_whose_a_table_is(tmp_path, content, ours):
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)
    assert is_table(tmp_path / "metrics.csv") == ours


def test_what_comes_after_the_checkpoint_is_forgotten(table):
    forget_rows_after(table, (0, 40))
    assert table.read_text().splitlines() == ["stage,step,loss", "0,20,0.5", "0,40,0.4"]
    append_row(table, HEADER, [0, 60, 0.2])
    assert table.read_text().splitlines()[-1] == "0,60,0.2"


def test_half_a_row_is_forgotten_too(table):
    table.write_text(table.read_text() + "0,4")
    forget_rows_after(table, (1, 20))
    assert table.read_text().splitlines()[-1] == "1,20,0.3"


def test_no_table_and_an_empty_one(tmp_path):
    path = tmp_path / "metrics.csv"
    forget_rows_after(path, (0, 0))
    assert not path.exists()
    path.touch()
    forget_rows_after(path, (0, 0))
    append_row(path, HEADER, [0, 20, 0.5])
    assert path.read_text().splitlines() == ["stage,step,loss", "0,20,0.5"]


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run of training.train here, neither checkpoint.pt nor history.pt"):
        read_past(tmp_path)
