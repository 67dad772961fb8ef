import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: scripts/test --with-torch")
torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from PIL import Image  # noqa: E402

from training import pictures  # noqa: E402


def test_curves_and_slices(tmp_path, monkeypatch):
    (tmp_path / "metrics.csv").write_text(
        "stage,step,name,seconds,loss\n0,20,a,60,2.0\n0,40,a,120,1.0\n1,20,b,180,0.5\n"
    )
    (tmp_path / "evaluations.csv").write_text("stage,step,name,seconds,mean_dice\n0,40,a,120,0.5\n")
    (tmp_path / "slices").mkdir()
    labels = np.eye(12, dtype=np.uint8)
    arrays = {"v.image": np.zeros((12, 12), np.int16), "v.reference": labels, "v.prediction": labels}
    np.savez_compressed(tmp_path / "slices" / "0-a-000040.npz", **arrays)
    monkeypatch.setattr(sys, "argv", ["pictures", str(tmp_path)])
    pictures.main()
    for path in (tmp_path / "curves.png", tmp_path / "slices" / "0-a-000040.png"):
        with Image.open(path) as picture:
            colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert len(np.unique(colours, axis=0)) > 10


def test_a_run_that_has_nothing_yet(tmp_path):
    pictures.draw(tmp_path)
    assert (tmp_path / "curves.png").exists()


@pytest.mark.parametrize("table", ["", "epoch,loss\n1,2\n"])
def test_the_curves_of_something_else_are_not_replaced(tmp_path, monkeypatch, capsys, table):
    (tmp_path / "metrics.csv").write_text(table)
    (tmp_path / "curves.png").write_text("of somebody else")
    monkeypatch.setattr(sys, "argv", ["pictures", str(tmp_path)])
    with pytest.raises(SystemExit):
        pictures.main()
    assert "no metrics.csv of training.train here" in capsys.readouterr().err
    assert (tmp_path / "curves.png").read_text() == "of somebody else"
