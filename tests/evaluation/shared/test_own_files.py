import os

import pytest

from app.errors import SetupError
from evaluation.shared.own_files import own_folder, refuse_foreign


@pytest.mark.parametrize(
    ("first", "beside", "foreign"),
    [
        pytest.param(None, None, None, id="nothing there"),
        pytest.param("", None, None, id="empty"),
        pytest.param("a,b\n1,2\n", None, None, id="ours"),
        pytest.param("a,b\n1,2\n", "summary", None, id="ours, and what is beside it"),
        pytest.param("a;b\n1;2\n", None, "a.csv", id="another's"),
        pytest.param("x" * 4096 + "a,b", None, "a.csv", id="the mark is not at the start"),
        pytest.param(None, "summary", "a.txt", id="another's beside it"),
        pytest.param("", "summary", "a.txt", id="another's beside an empty one"),
        pytest.param(None, "", None, id="an empty one beside it"),
    ],
)
def test_whose_a_file_is(tmp_path, first, beside, foreign):
    paths = tmp_path / "a.csv", tmp_path / "a.txt"
    for path, content in zip(paths, (first, beside), strict=True):
        if content is not None:
            path.write_text(content)
    if foreign is None:
        refuse_foreign(paths[0], "a,b", paths[1])
        return
    with pytest.raises(SetupError, match=rf"/{foreign}: exists and is not of this command"):
        refuse_foreign(paths[0], "a,b", paths[1])


def test_a_link_beside_what_is_ours_is_another_s(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "truth").write_text("of somebody else")
    (tmp_path / "a.txt").symlink_to("truth")
    with pytest.raises(SetupError, match=r"/a\.txt: exists and is not of this command"):
        refuse_foreign(tmp_path / "a.csv", "a,b", tmp_path / "a.txt")


def test_folders_and_links_to_nowhere_are_another_s_and_a_pipe_loses_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "link"):
        with pytest.raises(SetupError, match="exists"):
            refuse_foreign(tmp_path / name, "a,b")
    os.mkfifo(tmp_path / "pipe")
    refuse_foreign(tmp_path / "pipe", "a,b")


def test_a_folder_is_ours_if_we_made_it(tmp_path):
    for _ in range(2):
        own_folder(tmp_path / "new" / "masks")
    (tmp_path / "link").symlink_to("new/masks")
    for folder in (tmp_path / "new", tmp_path / "link"):
        with pytest.raises(SetupError, match=rf"{folder.name}: exists and is not of this command"):
            own_folder(folder)
