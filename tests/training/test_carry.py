import sys

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import write_recipe  # noqa: E402
from training import carry  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.train import Run  # noqa: E402


@pytest.fixture
def run(tmp_path):
    run = Run(load_recipe(write_recipe(tmp_path)), tmp_path / "run", torch.device("cpu"))
    run.stage, run.step, run.seconds = 1, 3, 60.0
    run.history = [{"run": "run", "name": "coarse", "steps": 20, "seconds": 60.0, "scans": ["a"], "patients": ["A"]}]
    run.save()
    (run.out / "metrics.csv").write_text("stage\n")
    (run.out / "slices").mkdir()
    (run.out / "slices" / "0-coarse-000010.npz").write_bytes(b"0")
    return run


def go(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["carry", *map(str, arguments)])
    carry.main()


def test_weights_travel_as_float16_in_small_parts(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(carry, "PART_BYTES", 5000)
    go(monkeypatch, "away", run.out, tmp_path / "away")
    parts = list((tmp_path / "away").glob("averaged.pt.*"))
    assert len(parts) > 1
    assert max(path.stat().st_size for path in parts) <= 5000
    assert not list((tmp_path / "away").glob("checkpoint*"))
    go(monkeypatch, "home", tmp_path / "away", tmp_path / "home")
    assert "files, the largest" in capsys.readouterr().out
    before = torch.load(run.out / "averaged.pt", weights_only=True)
    after = torch.load(tmp_path / "home" / "averaged.pt", weights_only=True)
    for name, value in before.items():
        assert torch.equal(after[name], value.half().float())
    assert (tmp_path / "home" / "metrics.csv").read_text() == "stage\n"
    assert not [*(tmp_path / "away").rglob("*.npz"), *(tmp_path / "home").rglob("*.npz")]
    fresh = Run(run.recipe, tmp_path / "fresh", torch.device("cpu"))
    fresh.start_from(tmp_path / "home" / "averaged.pt")
    assert fresh.started_from == "home/averaged.pt"
    assert fresh.history == run.history
    without = Run(run.recipe, tmp_path / "home", torch.device("cpu"))
    with pytest.raises(ValueError, match="has weights and no checkpoint"):
        without.resume()


def test_with_the_optimiser_the_run_goes_on(run, tmp_path, monkeypatch):
    go(monkeypatch, "away", run.out, tmp_path / "away", "--optimiser")
    go(monkeypatch, "home", tmp_path / "away", tmp_path / "home")
    again = Run(run.recipe, tmp_path / "home", torch.device("cpu"))
    again.resume()
    assert (again.stage, again.step, again.seconds) == (1, 3, 60.0)
    for ours, theirs in zip(again.network.parameters(), run.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_part_that_was_lost_is_noticed(run, tmp_path, monkeypatch):
    monkeypatch.setattr(carry, "PART_BYTES", 5000)
    carry.away(run.out, tmp_path / "away", optimiser=False)
    sorted((tmp_path / "away").glob("averaged.pt.*"))[-1].unlink()
    with pytest.raises(ValueError, match=r"averaged\.pt is not whole"):
        carry.home(tmp_path / "away", tmp_path / "home")
