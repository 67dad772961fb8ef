import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")
openvino = pytest.importorskip("openvino")

from app.models.bundle import load_bundle  # noqa: E402
from app.models.engine import load_engine  # noqa: E402
from app.system.definition import WEIGHTS  # noqa: E402
from tests.training.phantoms import TINY, write_data, write_recipe  # noqa: E402
from training import carry, export  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.train import Run  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs


def exported(tmp_path, monkeypatch, run, text=TINY, options=()):
    arguments = [*options, "--run", str(run), "--data", str(tmp_path / "data"), "--weights", str(tmp_path / "weights")]
    monkeypatch.setattr(sys, "argv", ["export", str(write_recipe(tmp_path, text)), *arguments])
    export.main()
    return tmp_path / "weights" / "tiny"


def test_a_network_that_cannot_be_written_is_said_with_its_file(tmp_path):
    model = openvino.Core().read_model(WEIGHTS / "localiser" / "model-int8.xml")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/model\.xml: cannot be written: .*; is there room"):
        export.save_ir(model, tmp_path / "file" / "model.xml", as_float16=False)


class TwoConvolutions(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = (torch.nn.Conv3d(1, 1, 3, padding=1) for _ in range(2))

    def forward(self, volume):
        return self.second(self.first(volume))


def two_convolutions():
    """In OpenVINO, with a volume to calibrate on."""
    volume = torch.randn(1, 1, 8, 8, 8)
    return export.in_openvino(TwoConvolutions(), volume, volume.shape), [volume.numpy()]


def quantised_convolutions(model):
    """Of each convolution, first to last, whether what it reads is quantised."""
    found = [node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    return [node.input_value(0).get_node().get_type_name() == "FakeQuantize" for node in found]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [((), [True, True]), ([r".*\.second/.*"], [True, False]), ([r".*\.second/.*", r".*\.first/.*"], [False, False])],
)
def test_layers_that_stay_in_float32(layers, expected):
    model, samples = two_convolutions()
    assert quantised_convolutions(export.quantised(model, samples, layers)) == expected


def largest_weights(model):
    """Of each layer that computes in INT8 the largest, by its absolute value; a depthwise one computes in float32."""
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    weights = [node.data.astype(int) for node in constants if node.get_element_type() == openvino.Type.i8]
    return [int(abs(values).max()) for values in weights if values.ndim == len(("output", "input", "z", "y", "x"))]


@pytest.mark.parametrize(("half_range", "largest"), [(True, [63, 64]), (False, [63, 64, 127, 128])])
def test_weights_may_keep_to_half_of_their_range(half_range, largest):
    model, samples = two_convolutions()
    found = largest_weights(export.quantised(model, samples, half_range=half_range))
    assert len(found) == 2
    assert set(found) <= set(largest)
    assert half_range or max(found) > 64


def limits_of_the_volume(model):
    readers = [reader.get_node() for reader in model.inputs[0].get_target_inputs()]
    (steps,) = (node for node in readers if node.get_type_name() == "FakeQuantize")
    return tuple(float(steps.input_value(place).get_node().data) for place in (1, 2))


def test_a_volume_is_in_unsigned_steps():
    model, samples = two_convolutions()
    lighter = export.quantised(model, [np.linspace(-2, 2, 512, dtype=np.float32).reshape(samples[0].shape)])
    low, high = limits_of_the_volume(lighter)
    assert abs(low) > high  # of 256 steps one more below zero than above
    assert limits_of_the_volume(export.with_unsigned_volume(lighter)) == (-high, -low)
    assert limits_of_the_volume(export.with_unsigned_volume(lighter)) == (-high, -low)  # and stays so


def test_a_volume_that_reaches_further_below_zero_is_left():
    model, samples = two_convolutions()
    lighter = export.quantised(model, [np.linspace(-6, 1, 512, dtype=np.float32).reshape(samples[0].shape)])
    before = limits_of_the_volume(lighter)
    assert -before[0] > 3 * before[1]
    assert limits_of_the_volume(export.with_unsigned_volume(lighter)) == before


@pytest.mark.parametrize("bundle", ["fine", "localiser"])
def test_what_ships_answers_alike_on_every_cpu(bundle):
    """With AMX, VNNI and AVX2: its weights keep to half of their range, its volume is in unsigned steps."""
    model = openvino.Core().read_model(WEIGHTS / bundle / "model-int8.xml")
    found = largest_weights(model)
    assert len(found) > 10
    assert max(found) <= 64
    low, high = limits_of_the_volume(model)
    assert -low < high


def test_a_layer_to_stay_in_float32_that_is_not_there_is_said():
    model, samples = two_convolutions()
    with pytest.raises(ValueError, match=r"float32_layers: no layer is called '\.\*score\.\*'"):
        export.quantised(model, samples, [".*score.*"])


def test_scores_in_steps_from_low_to_high():
    """255 steps of 0.1 from -10 to 15.5: what is beyond is as low or as high, what is between is rounded."""
    model, samples = two_convolutions()

    def answer(model):
        return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(samples[0])[0]

    exact, steps = answer(model), answer(export.with_quantised_scores(model, -10, 15.5))
    assert steps.dtype == np.int8
    np.testing.assert_allclose((steps + 128.0) * 0.1 - 10, exact, atol=0.051)
    assert np.ptp(exact) > 0.5
    narrow = answer(export.with_quantised_scores(model, 0, 0.01))
    assert {narrow[exact < 0].max(), narrow[exact > 0.01].min()} == {-128, 127}


def stopped_run(tmp_path, stage, step, text=TINY):
    run = Run(load_recipe(write_recipe(tmp_path, text)), tmp_path / "run", torch.device("cpu"))
    run.stage, run.step = stage, step
    masks = {"reference_masks": "phantoms"}
    common = {"run": "run", "seconds": 60.0, "without_above": ["a1"], "without_below": [], **masks}
    run.history = [
        {**common, "name": "coarse", "steps": 20, "scans": ["a1", "a2"], "patients": ["A"]},
        {**common, "name": "fine", "steps": 2, "scans": ["a1", "a2", "b"], "patients": ["A", "B"], "without_above": []},
    ][: stage + 1]
    run.save()
    return run.out


@pytest.mark.slow
def test_a_bundle_runs_in_every_engine_and_says_what_it_was_trained_on(tmp_path, monkeypatch, capsys):
    write_data(tmp_path / "data")
    bundle = load_bundle(exported(tmp_path, monkeypatch, stopped_run(tmp_path, 1, 2)))
    stages = [{"run": "run", "name": "coarse", "steps": 20}, {"run": "run", "name": "fine", "steps": 2}]
    assert bundle.training["stages"] == stages
    assert bundle.training["scans"] == ["a1", "a2", "b"]
    assert (bundle.training["patients"], bundle.training["minutes"]) == (["A", "B"], 2)
    assert bundle.training["without_slices_above_the_labels"] == []  # the last stage has shown them
    assert bundle.training["patch"] == [16, 16, 24]
    volume = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    printed = capsys.readouterr().out
    # 90.0 with weights in half of their range, after 22 steps
    assert float(re.search(r"INT8 and float32 agree on ([\d.]+)% of the organ voxels", printed)[1]) > 85
    scores = {name: load_engine(bundle, name, "f32", 1, pinned=False)(volume).copy() for name in bundle.files}
    assert set(scores) == {"openvino-float32", "openvino-int8", "torchscript"}
    np.testing.assert_allclose(scores["torchscript"], scores["openvino-float32"], atol=1e-2)


QUANTISED = TINY.replace("calibration_samples = 2", "calibration_samples = 2\nscore_range = [-1, 1]")
for patch in ("[16, 16, 16]", "[16, 16, 24]"):  # too small for a network at half resolution
    QUANTISED = QUANTISED.replace(patch, "[24, 24, 24]")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["half-resolution", "plain-unet"])
def test_int8_gives_quantised_scores_where_the_recipe_says_their_range(tmp_path, monkeypatch, kind):
    """Of a network at half resolution in blocks of voxels, which the engine undoes."""
    write_data(tmp_path / "data")
    text = QUANTISED.replace("plain-unet", kind)
    bundle = load_bundle(exported(tmp_path, monkeypatch, stopped_run(tmp_path, 1, 2, text), text))
    assert bundle.score_step == pytest.approx(2 / 255)
    assert bundle.is_quantised("openvino-int8")
    volume = np.random.default_rng(0).normal(size=(64, 64, 64)).astype(np.float32)
    exact, steps = (
        load_engine(bundle, f"openvino-{kind}", "f32", 1, pinned=False)(volume) for kind in ("float32", "int8")
    )
    assert (exact.dtype, steps.dtype, exact.shape) == (np.float32, np.int8, steps.shape)
    scores = (steps + 128.0) * bundle.score_step - 1
    alike = [np.corrcoef(np.roll(scores, by, 3).ravel(), exact.clip(-1, 1).ravel())[0, 1] for by in (0, 1)]
    assert alike[0] > 0.85, alike
    assert alike[1] < alike[0] - 0.1


@pytest.mark.slow
def test_a_bundle_has_the_engines_that_are_asked_for_and_says_how_it_resamples(tmp_path, monkeypatch, capsys):
    write_data(tmp_path / "data")
    text = TINY + "\n[export.resampling]\norder = 'clip-resample-normalise'\n"
    options = ("--engines", "openvino-float32")
    bundle = load_bundle(exported(tmp_path, monkeypatch, stopped_run(tmp_path, 1, 2), text, options=options))
    assert set(bundle.files) == {"openvino-float32"}
    assert not list(bundle.folder.glob("model-int8*"))
    assert bundle.resampling.order == "clip-resample-normalise"
    assert "agree" not in capsys.readouterr().out


def test_a_bundle_names_the_licence_of_its_weights(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, TINY))
    described = export.describe(replace(recipe, export=replace(recipe.export, licence="CC0-1.0")), "a", {}, tmp_path)
    assert described["licence"] == "CC0-1.0"
    assert "licence" not in export.describe(recipe, "a", {}, tmp_path)


def test_a_bundle_names_the_classes_that_its_recipe_names(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, TINY))
    names = ("background", *(f"organ_{number}" for number in range(1, recipe.classes)))
    described = export.describe(replace(recipe, labels=names), "tiny.toml", {}, tmp_path)
    assert described["labels"] == names


@pytest.mark.parametrize(
    ("stage", "text", "message"),
    [
        (0, TINY, "stands in stage coarse; export after its last one has begun"),
        (1, TINY.replace("channels = [4, 6, 8]", "channels = [4, 6, 9]"), r"trained with another recipe \(network\)"),
    ],
)
def test_a_run_that_is_not_what_its_bundle_would_say_is_refused(tmp_path, monkeypatch, capsys, stage, text, message):
    write_data(tmp_path / "data")
    run = stopped_run(tmp_path, stage, 2)
    with pytest.raises(SystemExit) as stopped:
        exported(tmp_path, monkeypatch, run, text)
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "weights" / "tiny").exists()


def card(folder, run):
    (folder / "weights" / "tiny").mkdir(parents=True)
    stages = [{"run": run, "name": "coarse"}, {"run": run, "name": "fine"}]
    content = {"files": {}, "training": {"stages": stages}}
    (folder / "weights" / "tiny" / "bundle.json").write_text(json.dumps(content))


@pytest.mark.parametrize(("run", "options"), [("run", ()), ("another", ("--replace",))])
def test_a_bundle_of_the_same_run_is_replaced_and_that_of_another_when_it_is_said(tmp_path, monkeypatch, run, options):
    monkeypatch.setattr(export, "write_bundle", lambda *given: (given[-1].mkdir(), (given[-1] / "new").touch()))
    card(tmp_path, run)
    folder = exported(tmp_path, monkeypatch, stopped_run(tmp_path, 1, 2), options=options)
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("end", [OSError("no space left"), KeyboardInterrupt()])
def test_a_bundle_is_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, capsys, end):
    monkeypatch.setattr(export, "write_bundle", lambda *given: given[-1].mkdir())
    card(tmp_path, "run")
    before = (tmp_path / "weights" / "tiny" / "bundle.json").read_bytes()
    rename = Path.rename

    def stopped(path, target):
        if target == tmp_path / "weights" / "tiny" and not list(path.iterdir()):  # the new one has nothing in it
            raise end
        return rename(path, target)

    run = stopped_run(tmp_path, 1, 2)
    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(SystemExit if isinstance(end, OSError) else KeyboardInterrupt):
        exported(tmp_path, monkeypatch, run)
    assert (tmp_path / "weights" / "tiny" / "bundle.json").read_bytes() == before
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["tiny"]
    assert isinstance(end, KeyboardInterrupt) or "no space left" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_was_carried_home_without_its_optimiser(tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    carry.away(stopped_run(tmp_path, 1, 2), tmp_path / "away", optimiser=False)
    carry.home(tmp_path / "away", tmp_path / "home")
    bundle = load_bundle(exported(tmp_path, monkeypatch, tmp_path / "home"))
    assert [stage["name"] for stage in bundle.training["stages"]] == ["coarse", "fine"]
    assert bundle.training["scans"] == ["a1", "a2", "b"]


@pytest.mark.slow
def test_a_localiser(tmp_path, monkeypatch):
    write_data(tmp_path / "data")
    text = TINY.replace('role = "fine"', 'role = "localiser"').replace('kind = "patch"', 'kind = "scan"')
    text = text[: text.index("[export.window]")] + text[text.index("[[stages]]") :]
    bundle = load_bundle(exported(tmp_path, monkeypatch, stopped_run(tmp_path, 1, 6, text), text))
    assert bundle.shape == (16, 16, 24)
    assert set(bundle.files) == {"openvino-float32", "openvino-int8"}


def test_slices_are_never_shown_if_no_stage_that_had_the_scan_has_shown_them():
    history = [
        {"scans": ["a", "b"], "without": ["a", "b"]},
        {"scans": ["b"], "without": []},  # has not seen a at all
        {"scans": ["c"], "without": ["c"]},
    ]
    assert export.never_shown("without", history) == ["a", "c"]


def test_weights_are_stored_as_float16_only_where_scores_stay():
    samples = [np.ones((1, 1, 4, 4, 4), np.float32)]
    network = torch.nn.Conv3d(1, 2, 1, bias=False)
    with torch.no_grad():
        network.weight[:] = torch.tensor([1.0, 1.0001]).reshape(2, 1, 1, 1, 1)
    assert export.rounded(network, samples).weight.flatten().tolist() == [1.0, 1.0]
    with torch.no_grad():
        network.weight[:] = 1e5  # beyond what float16 holds
    assert export.rounded(network, samples) is None
    assert network.weight.max() == 1e5
    padded = torch.nn.Conv3d(1, 1, 3, padding=1, bias=False)
    torch.nn.init.constant_(padded.weight, 1e5)
    assert export.rounded(padded, samples) is None  # infinite times the zeros around is NaN


def test_a_history_of_another_version_is_a_line(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path))
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.stage, run.history = len(recipe.stages) - 1, [{"run": "run", "name": "a", "steps": 1}]
    run.save()
    with pytest.raises(ValueError, match="run: its history has no 'seconds'; of another version"):
        export.provenance(recipe, run.out)


def test_a_way_up_that_ends_early_is_enlarged(tmp_path):
    """The scores are those of the whole network's third head, a quarter as fine, enlarged."""
    torch.manual_seed(0)
    recipe = load_recipe(write_recipe(tmp_path))
    network = replace(recipe.network, kind="nnunet", plan="small", channels=(2, 3, 4, 4, 4), supervised_levels=4)
    stage = replace(recipe.stages[0], shape=(24, 48, 48))
    recipe = replace(recipe, network=network, stages=(stage,), export=replace(recipe.export, finest_level=2))
    run = Run(recipe, tmp_path / "run", torch.device("cpu"))
    run.save()
    volume = torch.randn(1, 1, 24, 48, 48)
    with torch.inference_mode():
        third = run.averaged.module.eval().levels(volume)[2]
        assert tuple(third.shape) == (1, 14, 12, 12, 12)
        expected = torch.nn.functional.interpolate(third, (24, 48, 48), mode="trilinear", align_corners=True)
        torch.testing.assert_close(export.trained_network(recipe, run.out)(volume), expected)
        whole = replace(recipe, export=replace(recipe.export, finest_level=0))
        torch.testing.assert_close(export.trained_network(whole, run.out)(volume), run.averaged.module(volume))
