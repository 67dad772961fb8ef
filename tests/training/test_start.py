import json

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from app.errors import SetupError  # noqa: E402
from tests.training.phantoms import write_data, write_recipe  # noqa: E402
from training import export  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.start import read_weights  # noqa: E402
from training.train import Run, volumes_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs


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
    state, history = read_weights(trained / "weights" / "tiny", "fine")
    own, past = read_weights(trained / "run" / "averaged.pt", "fine")
    assert own.keys() == state.keys()
    for name in own:
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], own[name], atol=2**-24, rtol=2**-10)  # stored as float16
    for key in ("run", "name", "steps"):
        assert [stage[key] for stage in history] == [stage[key] for stage in past]
    assert [stage["scans"] for stage in history] == [["a1", "a2", "b"]] * 2  # the first stage had not seen b
    assert [stage["patients"] for stage in history] == [["A", "B"]] * 2
    assert sum(stage["seconds"] for stage in history) == 60 * round(sum(stage["seconds"] for stage in past) / 60)


def test_a_run_goes_on_from_a_bundle_and_exports_with_its_past(trained, tmp_path):
    """On everybody: the bundle has seen the fold, so that no stage can hold it out."""
    text = (trained / "tiny.toml").read_text()
    more = text[: text.index("[[stages]]")] + text[text.rindex("[[stages]]") :]
    recipe = write_recipe(tmp_path, more)
    run = Run(load_recipe(recipe), tmp_path / "run", torch.device("cpu"))
    run.start_from(trained / "weights" / "tiny")
    run.train(volumes_of(trained / "data"), workers=0)
    bundle = json.loads((export.export(recipe, run.out, trained / "data", tmp_path) / "bundle.json").read_text())
    assert [stage["name"] for stage in bundle["training"]["stages"]] == ["coarse", "fine", "fine"]
    assert bundle["training"]["started_from"] == "weights/tiny"
    assert bundle["training"]["patients"] == ["A", "B"]


def test_a_fold_that_the_bundle_has_seen_is_not_held_out(trained, tmp_path):
    run = Run(load_recipe(trained / "tiny.toml"), tmp_path / "run", torch.device("cpu"))
    with pytest.raises(ValueError, match="tiny: trained on B, whom this recipe holds out"):
        run.start_from(trained / "weights" / "tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda t: t["files"].pop("torchscript"), "tiny: has no TorchScript", id="no TorchScript"),
        pytest.param(lambda t: t["training"].pop("scans"), "field training does not say", id="no scans"),
        pytest.param(
            lambda t: t["training"].update(patients=28), "field training does not say", id="patients counted"
        ),
        pytest.param(lambda t: t["training"].update(stages=[]), "field training does not say", id="no stage"),
        pytest.param(
            lambda t: t["files"]["torchscript"].update({"model.pt": "0" * 64}), "SHA-256 is", id="not the file it says"
        ),
    ],
)
def test_a_bundle_that_cannot_be_started_from(trained, tmp_path, change, message):
    with pytest.raises((ValueError, SetupError), match=message):
        read_weights(changed_bundle(trained, tmp_path / "tiny", change), "fine")


def test_a_bundle_of_another_role_a_folder_that_is_none_and_weights_without_a_run(trained, tmp_path):
    with pytest.raises(SetupError, match="field role is 'fine', the system uses it as 'localiser'"):
        read_weights(trained / "weights" / "tiny", "localiser")
    with pytest.raises(SetupError, match=r"bundle\.json: cannot be read"):
        read_weights(tmp_path, "fine")
    torch.save({}, tmp_path / "averaged.pt")
    with pytest.raises(FileNotFoundError, match="no run of training"):
        read_weights(tmp_path / "averaged.pt", "fine")
