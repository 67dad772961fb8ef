import sys

import pytest

from app.errors import SetupError
from evaluation import engines
from evaluation.maintenance.engine_masks import Same


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["engines", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        engines.main()
    return ended.value.code


@pytest.fixture
def scans(tmp_path):
    (tmp_path / "a_0000.nii.gz").touch()
    return tmp_path


@pytest.mark.parametrize(("share", "status"), [(0.9995, 0), (0.998, 1)])
def test_the_least_share_decides(scans, monkeypatch, capsys, share, status):
    shares = {"one": 1.0, "two": share}
    monkeypatch.setattr(engines, "compare_engines", lambda name, *_: iter([("a", Same(shares[name], 0.5))]))
    assert run(monkeypatch, scans, "--systems", "one", "two") == status
    said = capsys.readouterr().out
    assert f"two, a: {share:.4%} of all voxels equal, 50.000% of organs" in said
    assert f"least: {share:.4%} (openvino-float32 and torchscript, 2 masks each)" in said


def test_nothing_to_compare_is_one_line(tmp_path, scans, monkeypatch, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(monkeypatch, empty, "--systems", "viscera") == 2

    def refuse(*_):
        raise SetupError("bundle.json: has no such engine")

    monkeypatch.setattr(engines, "compare_engines", refuse)
    assert run(monkeypatch, scans, "--systems", "viscera") == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{empty}: no scans NAME_0000.nii.gz here",
        "bundle.json: has no such engine",
    ]
