import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from app.errors import SetupError  # noqa: E402
from app.system.definition import WEIGHTS  # noqa: E402
from tests.training.phantoms import write_data, write_recipe  # noqa: E402
from training import export  # noqa: E402
from training.networks import build_network  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.start import read_start  # noqa: E402
from training.train import Run, volumes_of  # noqa: E402

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
pytestmark = [
    pytest.mark.slow,  # a whole export
    pytest.mark.filterwarnings("ignore"),  # nncf and the tracer warn of their own affairs
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the tiny recipe, its data, its run (trained) and its bundle."""
    folder = tmp_path_factory.mktemp("trained")
    data, recipe = write_data(folder / "data"), write_recipe(folder)
    Run(load_recipe(recipe), folder / "run", torch.device("cpu")).train(volumes_of(data), workers=0)
    export.export(recipe, folder / "run", data, folder / "weights")
    return folder


def changed_bundle(trained, folder, change):
    """A copy of the bundle whose description `change` has altered."""
    folder.mkdir()
    for path in (trained / "weights" / "tiny").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    table = json.loads((folder / "bundle.json").read_text())
    change(table)
    (folder / "bundle.json").write_text(json.dumps(table))
    return folder


def test_a_bundle_has_its_runs_weights_and_past(trained):
    start = read_start(trained / "weights" / "tiny", "fine")
    own = read_start(trained / "run" / "averaged.pt", "fine")
    assert own.weights.keys() == start.weights.keys()
    for name, value in own.weights.items():
        assert start.weights[name].dtype == torch.float32
        torch.testing.assert_close(start.weights[name], value, atol=2**-24, rtol=2**-10)  # stored as float16
    for key in ("run", "name", "steps", "reference_masks"):
        assert [stage[key] for stage in start.history] == [stage[key] for stage in own.history]
    assert [stage["scans"] for stage in start.history] == [["a1", "a2", "b"]] * 2  # the first stage had not seen b
    assert [stage["patients"] for stage in start.history] == [["A", "B"]] * 2
    assert start.intensity == own.intensity
    assert (start.name, own.name) == ("weights/tiny", "run/averaged.pt")


def test_training_goes_on_from_the_model_that_ships():
    recipe = load_recipe(RECIPES / "fine-fixed.toml")
    start = read_start(WEIGHTS / "fine", "fine")
    build_network(recipe.network, recipe.classes).load_state_dict(start.weights)  # strictly: with its norms
    assert start.intensity == recipe.intensity


def test_the_time_of_a_bundle_is_that_of_its_stages(trained, tmp_path):
    folder = changed_bundle(trained, tmp_path / "tiny", lambda table: table["training"].update(minutes=6))
    assert [stage["seconds"] for stage in read_start(folder, "fine").history] == [180.0, 180.0]


def on_everybody(trained, folder, masks="phantoms"):
    """The tiny recipe with its last stage alone, which holds nobody out."""
    text = (trained / "tiny.toml").read_text().replace('"phantoms"', f'"{masks}"')
    return write_recipe(folder, text[: text.index("[[stages]]")] + text[text.rindex("[[stages]]") :])


def test_a_run_goes_on_from_a_bundle_and_exports_with_its_past(trained, tmp_path):
    recipe = on_everybody(trained, tmp_path, masks="drawn by hand")
    run = Run(load_recipe(recipe), tmp_path / "run", torch.device("cpu"))
    run.start_from(trained / "weights" / "tiny")
    run.train(volumes_of(trained / "data"), workers=0)
    bundle = json.loads((export.export(recipe, run.out, trained / "data", tmp_path) / "bundle.json").read_text())
    assert [stage["name"] for stage in bundle["training"]["stages"]] == ["coarse", "fine", "fine"]
    assert bundle["training"]["started_from"] == "weights/tiny"
    assert bundle["training"]["patients"] == ["A", "B"]
    assert bundle["training"]["reference_masks"] == "phantoms; drawn by hand"


def test_a_run_that_began_with_other_weights_is_no_start(trained, tmp_path):
    recipe = load_recipe(on_everybody(trained, tmp_path))
    Run(recipe, tmp_path / "run", torch.device("cpu")).save()
    with pytest.raises(ValueError, match=r"run began with no weights, not weights/tiny; begin another run"):
        Run(recipe, tmp_path / "run", torch.device("cpu")).start_from(trained / "weights" / "tiny")


def test_a_fold_that_the_bundle_has_seen_is_not_held_out(trained, tmp_path):
    run = Run(load_recipe(trained / "tiny.toml"), tmp_path / "run", torch.device("cpu"))
    with pytest.raises(ValueError, match="tiny: trained on B, whom this recipe holds out"):
        run.start_from(trained / "weights" / "tiny")
    assert run.history == []


def test_another_scale_of_hu_is_refused(trained, tmp_path):
    recipe = load_recipe(on_everybody(trained, tmp_path))
    other = replace(recipe, intensity=replace(recipe.intensity, deviation=500.0))
    with pytest.raises(ValueError, match=r"trained on Intensity.*deviation=100.0\), the recipe has .*deviation=500.0"):
        Run(other, tmp_path / "run", torch.device("cpu")).start_from(trained / "weights" / "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda t: t["files"].pop("torchscript"), "tiny: has no TorchScript", id="no TorchScript"),
        pytest.param(lambda t: t["training"].pop("scans"), r"training\.scans is missing", id="no scans"),
        pytest.param(lambda t: t["training"].update(patients=28), r"training\.patients must be", id="patients counted"),
        pytest.param(lambda t: t["training"].update(patients="Bob"), r"training\.patients must be", id="one patient"),
        pytest.param(lambda t: t["training"].update(stages=[]), "needs a stage at least", id="no stage"),
        pytest.param(
            lambda t: t["training"].update(stages=[{"name": "x"}]), r"stages\[0\]\.run is missing", id="no run"
        ),
        pytest.param(lambda t: t["training"].update(minutes=float("nan")), "minutes must be a finite", id="no time"),
        pytest.param(lambda t: t["files"]["torchscript"].update({"model.pt": "0" * 64}), "SHA-256 is", id="other file"),
    ],
)
def test_a_bundle_that_cannot_be_started_from(trained, tmp_path, change, message):
    with pytest.raises((ValueError, SetupError), match=message):
        read_start(changed_bundle(trained, tmp_path / "tiny", change), "fine")


def test_damaged_torchscript_with_a_sum_that_fits(trained, tmp_path):
    def damage(table):
        (tmp_path / "tiny" / "model.pt").write_bytes(b"PK")
        table["files"]["torchscript"]["model.pt"] = hashlib.sha256(b"PK").hexdigest()

    with pytest.raises(ValueError, match=r"model\.pt: cannot be loaded as TorchScript"):
        read_start(changed_bundle(trained, tmp_path / "tiny", damage), "fine")


def test_what_is_neither_a_bundle_nor_a_runs_weights_is_named(trained, tmp_path):
    with pytest.raises(ValueError, match="field role is 'fine', the recipe is of a 'localiser'"):
        read_start(trained / "weights" / "tiny", "localiser")
    with pytest.raises(SetupError, match=r"bundle\.json: cannot be read"):
        read_start(tmp_path, "fine")
    with pytest.raises(ValueError, match=r"run: is a run; name .*averaged\.pt"):
        read_start(trained / "run", "fine")
    with pytest.raises(ValueError, match=r"model\.pt: belongs to a bundle; name its folder"):
        read_start(trained / "weights" / "tiny" / "model.pt", "fine")
    with pytest.raises(FileNotFoundError, match=r"averaged\.pt: not there; name a bundle's folder"):
        read_start(tmp_path / "averaged.pt", "fine")
    (tmp_path / "averaged.pt").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="no run of training"):
        read_start(tmp_path / "averaged.pt", "fine")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not what training.train wrote, or damaged", id="empty"),
        pytest.param(b"some text", "not what training.train wrote, or damaged", id="text"),
        pytest.param([1, 2], "holds no weights by name", id="a list"),
        pytest.param({"a": 1}, "holds no weights by name", id="numbers"),
        pytest.param({"a": torch.tensor([1])}, "not finite numbers", id="whole numbers"),
        pytest.param({"a": torch.tensor([float("nan")])}, "not finite numbers", id="not a number"),
    ],
)
def test_weights_that_are_none(trained, tmp_path, content, message):
    (tmp_path / "checkpoint.pt").write_bytes((trained / "run" / "checkpoint.pt").read_bytes())
    path = tmp_path / "averaged.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as refused:
        read_start(path, "fine")
    assert str(path) in str(refused.value)
