import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from pathlib import Path  # noqa: E402

from app.errors import SetupError  # noqa: E402
from app.normalise import normalise  # noqa: E402
from tests.files import body_phantom, lps_affine, save_nifti  # noqa: E402
from training.losses import segmentation_loss, soft_dice  # noqa: E402
from training.networks import PlainUNet, downsampled  # noqa: E402
from training.recipe import Loss, load_recipe  # noqa: E402
from training.train import Run, learning_rate, normalised  # noqa: E402

RECIPES = Path(__file__).parents[2] / "training" / "recipes"


@pytest.mark.parametrize("stride", [1, 2])
def test_network_shapes(stride):
    network = PlainUNet((4, 6, 8), 14, stem_stride=stride, supervised_levels=2)
    fine, coarse = network.levels(torch.zeros(2, 1, 16, 24, 32))
    assert tuple(fine.shape) == (2, 14, 16 // stride, 24 // stride, 32 // stride)
    assert tuple(coarse.shape) == (2, 14, 8 // stride, 12 // stride, 16 // stride)


def test_downsampled_labels():
    labels = torch.arange(4).reshape(1, 1, 1, 4).expand(1, 2, 2, 4)
    assert downsampled(labels, 1).tolist() == [[[[1, 3]]]]
    assert downsampled(labels, 0) is labels


def test_soft_dice_of_present_and_absent_organs():
    labels = torch.tensor([[[[0, 1, 1, 0]]]])
    probabilities = torch.tensor([[1.0, 0, 0.5, 0.5], [0, 1, 0.5, 0], [0, 0, 0, 0.5]]).reshape(1, 3, 1, 1, 4)
    present, absent = soft_dice(probabilities, labels)
    assert present.item() == pytest.approx((2 * 1.5 + 1) / (1.5 + 2 + 1))
    assert absent.item() == pytest.approx(1 / (0.5 + 1))


def test_a_right_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.randint(0, 14, (1, 4, 4, 4))
    right = 50 * torch.nn.functional.one_hot(labels, 14).movedim(-1, 1).float()
    choice = Loss((1.0,) * 14, 0.1)
    assert segmentation_loss([right], labels, choice).item() == pytest.approx(0, abs=1e-4)
    assert segmentation_loss([-right], labels, choice).item() > 10


def test_training_sees_what_running_sees():
    intensity = load_recipe(RECIPES / "fine.toml").intensity
    values = np.array([-2000, -160, 0, 40, 999], np.float32)
    np.testing.assert_allclose(normalised(torch.from_numpy(values), intensity).numpy(), normalise(values, intensity))


def test_learning_rate():
    stage = load_recipe(RECIPES / "fine.toml").stages[0]
    assert learning_rate(0, stage, 100) == pytest.approx(stage.learning_rate / 100)
    assert learning_rate(stage.steps // 2, stage, 100) == pytest.approx(stage.learning_rate / 2)
    assert learning_rate(stage.steps - 1, stage, 100) < 1e-5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "patch"', 'kind = "slice"', 'sampling.kind is "patch"'),
        ("steps = 2000", "stepps = 2000", r"unknown field stages\[0\]\.stepps"),
        ("steps = 2000", 'steps = "2000"', r"stages\[0\]\.steps must be a whole number"),
        ("absent_weight = 0.1", "", r"loss\.absent_weight is missing"),
        ("seed = 1", "sead = 1", "unknown field sead"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path, old, new, message):
    path = tmp_path / "wrong.toml"
    text = (RECIPES / "fine.toml").read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SetupError, match=message) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)


@pytest.fixture
def tiny(tmp_path):
    """A recipe of seconds and two phantoms whose liver is the tissue."""
    text = (RECIPES / "fine.toml").read_text()
    for old, new in (
        ("channels = [16, 32, 64, 96, 128]", "channels = [4, 6, 8]"),
        ("shape = [48, 64, 80]", "shape = [16, 16, 16]"),
        ("shape = [64, 80, 96]", "shape = [16, 16, 24]"),
        ("steps = 2000", "steps = 24"),
        ("steps = 1200", "steps = 6"),
        ("steps = 150", "steps = 4"),
        ("steps = 300", "steps = 2"),
        ("warm_up_steps = 100", "warm_up_steps = 4"),
        ("calibration_samples = 40", "calibration_samples = 2"),
        ("largest = [128, 112, 144]", "largest = [64, 64, 64]"),
        ("learning_rate = 2e-3", "learning_rate = 1e-2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "tiny.toml").write_text(text)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a", "b"):
        voxels = body_phantom((30, 28, 26))
        save_nifti(data / f"{name}_0000.nii.gz", voxels, lps_affine((4, 4, 4)))
        save_nifti(data / f"{name}.nii.gz", (voxels > 0).astype(np.uint8), lps_affine((4, 4, 4)))
    return load_recipe(tmp_path / "tiny.toml"), data


def losses(run):
    lines = (run.out / "metrics.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[-1]) for line in lines]


def test_a_run_learns_and_goes_on_where_it_was_stopped(tiny, tmp_path, monkeypatch):
    recipe, data = tiny
    monkeypatch.setattr("training.train.LOG_EVERY", 6)
    whole = Run(recipe, tmp_path / "whole", torch.device("cpu"))
    whole.train(data)
    assert losses(whole)[3] < 0.8 * losses(whole)[0]

    class Stopped(Exception):
        pass

    class StopsAt10(Run):
        def _one_step(self, images, labels):
            if self.step == 10:
                raise Stopped
            return super()._one_step(images, labels)

    first = StopsAt10(recipe, tmp_path / "parts", torch.device("cpu"))
    with pytest.raises(Stopped):
        first.train(data)
    first.save()
    second = Run(recipe, tmp_path / "parts", torch.device("cpu"))
    second.resume()
    assert (second.stage, second.step) == (0, 10)
    second.train(data)
    for ours, theirs in zip(second.averaged.parameters(), whole.averaged.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=0)  # the same samples in the same order


@pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs
def test_an_exported_bundle_runs_in_every_engine(tiny, tmp_path):
    pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")
    from app.bundle import load_bundle
    from app.engine import load_engine
    from training import export

    recipe, data = tiny
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.save()
    arguments = [
        "export",
        str(tmp_path / "tiny.toml"),
        "--run",
        str(run.out),
        "--data",
        str(data),
        "--weights",
        str(tmp_path),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", arguments)
        export.main()
    bundle = load_bundle(tmp_path / "fine", "fine")
    assert bundle.training["scans"] == ["a", "b"]
    assert bundle.training["steps"] == {}  # an untrained network, and the bundle says so
    volume = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    scores = {name: load_engine(bundle, name, "f32", 1, pinned=False)(volume).copy() for name in bundle.files}
    assert set(scores) == {"openvino-float32", "openvino-int8", "torchscript"}
    np.testing.assert_allclose(scores["torchscript"], scores["openvino-float32"], atol=2e-3)


def test_a_run_can_start_from_anothers_weights(tiny, tmp_path):
    recipe, _ = tiny
    first = Run(recipe, tmp_path / "first", torch.device("cpu"))
    with torch.no_grad():
        for parameter in first.averaged.parameters():
            parameter.add_(1.0)
    first.save()
    second = Run(recipe, tmp_path / "second", torch.device("cpu"))
    second.start_from(first.out / "averaged.pt")
    for model in (second.network, second.averaged.module):
        for ours, theirs in zip(model.parameters(), first.averaged.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    second.save()
    third = Run(recipe, second.out, torch.device("cpu"))
    third.resume()
    assert third.started_from == "first/averaged.pt"
