import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import write_recipe  # noqa: E402
from training import average as module  # noqa: E402
from training.average import average, mean  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.run_files import read_past, read_saved  # noqa: E402
from training.train import Run  # noqa: E402

STAGES = [
    {
        **{"run": run, "name": "fine", "steps": steps, "seconds": 60.0, "scans": ["a1"], "patients": ["A"]},
        **{"without_above": [], "without_below": [], "reference_masks": "phantoms"},
    }
    for run, steps in (("first", 100), ("second", 20))
]
LATER = STAGES[1] | {"run": "third", "patients": ["A", "B"]}


def test_the_mean_of_three():
    """And of what a norm counts in whole numbers, the first one's."""
    states = [{"weight": torch.tensor([a, 1.0]), "batches": torch.tensor(n)} for a, n in ((1.0, 7), (2.0, 8), (6.0, 9))]
    found = mean(states)
    assert found["weight"].tolist() == [3, 1]
    assert found["batches"].item() == 7


def run_of(folder, name, history, value, *, low=None, channels=None):
    """A run whose weights are all `value`."""
    recipe = load_recipe(write_recipe(folder))
    if low is not None:
        recipe = replace(recipe, intensity=replace(recipe.intensity, low=low))
    if channels is not None:
        recipe = replace(recipe, network=replace(recipe.network, channels=channels))
    run = Run(recipe, folder / name, torch.device("cpu"))
    run.history = history
    run.save()
    weights = read_saved(run.out / "averaged.pt")
    torch.save({key: torch.full_like(weight, value) for key, weight in weights.items()}, run.out / "averaged.pt")
    return run.out


@pytest.mark.parametrize("way_of_the_other", [STAGES[:1], STAGES], ids=["before it", "beside it"])
def test_a_run_and_one_on_its_way(tmp_path, way_of_the_other):
    later = run_of(tmp_path, "later", STAGES, 3.0)
    earlier = run_of(tmp_path, "earlier", way_of_the_other, 1.0)
    average(later, [earlier / "averaged.pt"], tmp_path / "both")
    assert all((weight == 2).all() for weight in read_saved(tmp_path / "both" / "averaged.pt").values())
    past = read_past(tmp_path / "both")
    assert past["started_from"] == "the mean of later/averaged.pt and earlier/averaged.pt"
    assert past | {"started_from": ""} == read_past(later) | {"started_from": ""}
    assert past["history"] == STAGES


@pytest.mark.parametrize(
    ("changes", "history", "message"),
    [
        pytest.param({}, STAGES[1:], "other/averaged.pt: is not on the way to run/averaged.pt", id="a stranger"),
        pytest.param({}, [*STAGES, LATER], "other/averaged.pt: is not on the way to run/averaged.pt", id="beyond it"),
        pytest.param({}, [], "other/averaged.pt: is not on the way to run/averaged.pt", id="of no past"),
        pytest.param({}, [{"name": "fine"}], "its past is not as training.train wrote it", id="a damaged past"),
        pytest.param({"low": -200.0}, STAGES, "other/averaged.pt: sees another scale of HU", id="another scale"),
        pytest.param({"channels": (4, 6, 10)}, STAGES, "other/averaged.pt: is of another network", id="wider"),
    ],
)
def test_what_cannot_be_averaged_is_said_and_nothing_is_written(
    tmp_path, monkeypatch, capsys, changes, history, message
):
    run = run_of(tmp_path, "run", STAGES, 1.0)
    other = run_of(tmp_path, "other", history, 1.0, **changes)
    arguments = [str(run), str(other / "averaged.pt"), "--out", str(tmp_path / "both")]
    monkeypatch.setattr(sys, "argv", ["average", *arguments])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    run = run_of(tmp_path, "run", STAGES, 1.0)
    with pytest.raises(ValueError, match="run: is there already; name a new folder"):
        average(run, [run / "averaged.pt"], run)
