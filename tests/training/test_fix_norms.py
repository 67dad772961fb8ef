import sys
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import HALF_INSTANCE, TINY, write_data, write_recipe  # noqa: E402
from training import fix_norms as module  # noqa: E402
from training.export import trained_network  # noqa: E402
from training.fix_norms import fix_norms, statistics  # noqa: E402
from training.networks import build_network  # noqa: E402
from training.recipe import as_table, load_recipe  # noqa: E402
from training.run_files import read_past, read_saved  # noqa: E402
from training.start import read_start  # noqa: E402
from training.train import Run  # noqa: E402

CPU = torch.device("cpu")


def test_statistics_are_means_over_samples_by_hand():
    """1 and 3: mean 2, variance 1. 0 and 8: mean 4, variance 16."""
    network = torch.nn.Sequential(torch.nn.InstanceNorm3d(1))
    samples = [np.array(pair, np.float32).reshape(1, 1, 1, 1, 2) for pair in ((1, 3), (0, 8))]
    found = statistics(network, iter(samples))
    assert {name: value.tolist() for name, value in found.items()} == {"0.mean": [3], "0.variance": [8.5]}
    assert not network[0]._forward_pre_hooks


@pytest.fixture
def run(tmp_path):
    """Of random weights, as far as its last stage."""
    torch.manual_seed(0)
    recipe = load_recipe(write_recipe(tmp_path, HALF_INSTANCE))
    made = Run(recipe, tmp_path / "run", CPU)
    made.stage = 1
    made.save()
    return made


@pytest.mark.parametrize("levels", [1, 3])
def test_of_the_one_sample_they_were_measured_on_scores_are_the_same(run, tmp_path, monkeypatch, levels):
    sample = np.random.default_rng(0).normal(0, 1, (1, 1, 24, 24, 24)).astype(np.float32)
    monkeypatch.setattr(module, "calibration_inputs", lambda *_: iter([sample]))
    fix_norms(run.recipe, run.out, tmp_path, tmp_path / "fixed", levels)
    fixed = replace(run.recipe, network=replace(run.recipe.network, fixed_levels=levels))
    with torch.inference_mode():
        before = trained_network(run.recipe, run.out)(torch.from_numpy(sample))
        network = trained_network(fixed, tmp_path / "fixed")
        torch.testing.assert_close(network(torch.from_numpy(sample)), before, atol=1e-4, rtol=1e-4)
        other = network(torch.from_numpy(3 * sample))  # which to instance norms alone would be the same
        assert not torch.allclose(other, before, atol=1e-2)


def test_what_comes_out_is_a_run_to_start_from(run, tmp_path, monkeypatch, capsys):
    data = write_data(tmp_path / "data")
    arguments = [str(tmp_path / "tiny.toml"), "--run", str(run.out), "--data", str(data)]
    monkeypatch.setattr(sys, "argv", ["fix_norms", *arguments, "--out", str(tmp_path / "fixed")])
    module.main()
    assert "its recipe is that one with network.fixed_levels = 1" in capsys.readouterr().out
    past = read_past(tmp_path / "fixed")
    assert past["started_from"] == "run/averaged.pt, norms fixed in its finest levels: 1"
    assert past["recipe"]["network"]["fixed_levels"] == 1
    assert past["recipe"] | {"network": 0} == as_table(run.recipe) | {"network": 0}
    weights = read_saved(tmp_path / "fixed" / "averaged.pt")
    expected = build_network(replace(run.recipe.network, fixed_levels=1), run.recipe.classes).state_dict()
    assert weights.keys() == expected.keys()
    assert any(float(value.abs().max()) > 0 for name, value in weights.items() if name.endswith(".mean"))
    assert read_start(tmp_path / "fixed" / "averaged.pt", "fine").weights.keys() == expected.keys()


@pytest.mark.parametrize(("levels", "said"), [(0, "levels must be 1 or more"), (4, "fixed_levels must be from 0 to")])
def test_levels_that_there_are_not(run, tmp_path, levels, said):
    with pytest.raises(ValueError, match=said):
        fix_norms(run.recipe, run.out, tmp_path, tmp_path / "fixed", levels)


def test_a_run_before_its_last_stage_is_refused(run, tmp_path):
    run.stage = 0
    run.save()
    with pytest.raises(ValueError, match="run: stands in stage coarse"):
        fix_norms(run.recipe, run.out, tmp_path, tmp_path / "fixed")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TINY, 'tiny: needs a half-resolution network of norm = "instance"'),
        (
            HALF_INSTANCE.replace('norm = "instance"', 'norm = "instance"\nfixed_levels = 1'),
            'needs a half-resolution network of norm = "instance"',
        ),
        (HALF_INSTANCE.replace("steps = 20", "steps = 21"), "run: trained with another recipe"),
    ],
)
def test_what_it_cannot_do_is_said_and_nothing_is_written(run, tmp_path, monkeypatch, capsys, text, said):
    recipe = write_recipe(tmp_path, text)
    arguments = [str(recipe), "--run", str(run.out), "--data", str(tmp_path), "--out", str(tmp_path / "fixed")]
    monkeypatch.setattr(sys, "argv", ["fix_norms", *arguments])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "fixed").exists()


def test_a_folder_that_is_there_is_left_alone(run, tmp_path):
    with pytest.raises(ValueError, match="run: is there already; name a new folder"):
        fix_norms(run.recipe, run.out, tmp_path, run.out)
