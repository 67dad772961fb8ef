import json
import shutil
import subprocess

import pytest

from app.errors import SetupError
from app.models.bundle import FILE_NAME, load_bundle
from app.system.definition import WEIGHTS
from training.nnunet.footprint import holds_mb


def with_window(tmp_path, largest):
    """What ships, with windows of one size."""
    folder = tmp_path / "x".join(map(str, largest))
    shutil.copytree(WEIGHTS / "fine", folder)
    table = json.loads((folder / FILE_NAME).read_text())
    table["window"] |= {"largest": largest, "smallest": largest}
    (folder / FILE_NAME).write_text(json.dumps(table))
    return load_bundle(folder)


@pytest.mark.slow
def test_a_larger_window_holds_more(tmp_path):
    small, large = (holds_mb(with_window(tmp_path, [64, side, side]), 1) for side in (64, 160))
    scores = 14 * 64 * (160**2 - 64**2) * 4 / 2**20
    assert 100 < small < large - scores


def test_what_cannot_be_tried_says_why_in_a_line(tmp_path, monkeypatch):
    bundle = with_window(tmp_path, [64, 64, 64])
    (bundle.folder / "model.bin").write_bytes(b"")
    with pytest.raises(SetupError, match=r"fine: cannot be tried: .*SHA-256"):
        holds_mb(bundle, 1)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, -9, "", ""))
    with pytest.raises(SetupError, match="fine: its window needs more memory than there is here"):
        holds_mb(bundle, 1)
