import json
import sys

import pytest

from evaluation import localiser
from tests.shared import SHARED, needs_cases


@needs_cases
@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    for name in ("chaos_3_0000.nii.gz", "chaos_3.nii.gz"):
        (tmp_path / name).symlink_to(SHARED / "data" / "val" / name)
    arguments = [str(tmp_path), "--engine", "openvino-int8", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["localiser", *arguments])
    localiser.main()
    row = json.loads((tmp_path / "out.json").read_text())["openvino-int8"][0]
    assert row["recall"] >= 0.995
    assert row["dice"]["liver"] > 0.8
    assert "chaos_3" in capsys.readouterr().out


def test_no_scans(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["localiser", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        localiser.main()
    assert stopped.value.code == 2
    assert "no scans" in capsys.readouterr().err
