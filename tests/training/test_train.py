"""Whole runs, of seconds."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import HALF, HALF_INSTANCE, TINY, write_data, write_recipe  # noqa: E402
from training import train  # noqa: E402
from training.distillation import distilled_levels  # noqa: E402
from training.networks.plain_unet import PlainUNet  # noqa: E402
from training.recipe import load_recipe  # noqa: E402
from training.run_files import read_past  # noqa: E402
from training.train import Run, learning_rate, volumes_of  # noqa: E402

PROJECT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(write_recipe(tmp_path))


def column(path, name):
    header, *rows = (line.split(",") for line in path.read_text().splitlines())
    return [row[header.index(name)] for row in rows]


def test_learning_rate(recipe):
    stage = replace(recipe.stages[0], steps=1000, learning_rate=0.1)
    choice = replace(recipe.optimiser, warm_up_steps=100)
    assert learning_rate(0, stage, choice) == pytest.approx(0.001)
    assert learning_rate(500, stage, choice) == pytest.approx(0.05)
    assert learning_rate(999, stage, choice) < 1e-5


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0.01), (750, 0.00535887), (1499, 0.0000138522)])
def test_the_polynomial_is_nnunets(recipe, epoch, rate):
    """Of 1500 epochs, as paper 002 has them."""
    stage = replace(recipe.stages[0], steps=1500, learning_rate=0.01)
    choice = replace(recipe.optimiser, warm_up_steps=1, schedule="polynomial")
    assert learning_rate(epoch, stage, choice) == pytest.approx(rate, rel=1e-5)


def test_a_run_learns_and_leaves_its_tables_and_pictures(recipe, data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs matplotlib: scripts/test --with-torch")
    monkeypatch.setattr(train, "LOG_EVERY", 5)
    run = Run(recipe, tmp_path / "run", CPU)
    run.train(volumes_of(data), workers=0)
    losses = [float(value) for value in column(run.out / "metrics.csv", "loss")]
    assert losses[3] < 0.9 * losses[0]
    assert column(run.out / "metrics.csv", "stage") == ["0"] * 4 + ["1"] * 2  # the last row is of a step
    assert column(run.out / "metrics.csv", "skipped") == ["0"] * 6
    # the fold is looked at where it is held out, and only there
    assert column(run.out / "evaluations.csv", "step") == ["10", "20"]
    assert (run.out / "curves.png").exists()
    slices = sorted(path.name for path in (run.out / "slices").iterdir())
    assert slices == [f"0-coarse-0000{step}.{kind}" for step in (10, 20) for kind in ("npz", "png")]


@pytest.mark.slow
def test_running_statistics_are_averaged_as_the_weights_are(data, tmp_path):
    recipe = load_recipe(write_recipe(tmp_path, HALF))
    stages = (replace(recipe.stages[0], batch=1, steps=3, evaluate_every=3),)
    run = Run(replace(recipe, stages=stages), tmp_path / "run", CPU)
    seen = []
    update = run.averaged.update_parameters
    run.averaged.update_parameters = lambda network: (seen.append(mean_of(network)), update(network))
    run.train(volumes_of(data), workers=0)
    # decays of 1 / 10, 2 / 11 and 3 / 12, the first taking the weights as they are
    expected = seen[0] + (1 - 2 / 11) * (seen[1] - seen[0])
    expected += (1 - 3 / 12) * (seen[2] - expected)
    torch.testing.assert_close(mean_of(run.averaged.module), expected)


def mean_of(network):
    """Of the first norm of a network at half resolution, what it has seen of its features."""
    return network.down[0][0][1].mean.clone()


def rows_of(path):
    """Steps that a run which goes on has written down."""
    return max(0, len(path.read_text().splitlines()) - 1) if path.exists() else 0


COMMAND = [sys.executable, "-c", "from training import train; train.LOG_EVERY = 1; train.main()"]
ENDLESS = TINY.replace("threads = 1", "threads = 1\ncheckpoint_minutes = 0.0001")  # a checkpoint at every step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "optimiser", "rows"),
    [("plain-unet", "adamw", 12), ("partial-convolution", "adamw", 7), ("plain-unet", "muon", 23)],
)
def test_a_killed_and_resumed_run_ends_with_the_same_weights_to_the_bit(data, tmp_path, kind, optimiser, rows):
    """SIGKILL in the first or second stage, as a power cut would; one network draws numbers itself."""
    text = ENDLESS.replace("[optimiser]", f'[optimiser]\nkind = "{optimiser}"')
    if kind == "partial-convolution":
        for old, new in (
            ("plain-unet", kind),
            ("stem_stride = 1", "stem_stride = 4"),
            ("supervised_levels = 2", "supervised_levels = 1"),
            ("channels = [4, 6, 8]", "channels = [4, 8]"),
            ("shape = [16, 16, 16]", "shape = [24, 24, 24]"),
            ("shape = [16, 16, 24]", "shape = [24, 24, 24]"),
            ('role = "fine"', 'role = "localiser"'),
            ('kind = "patch"', 'kind = "scan"'),
            (TINY[TINY.index("[export.window]") : TINY.index("[[stages]]")], ""),
        ):
            assert old in text
            text = text.replace(old, new)
    recipe = write_recipe(tmp_path, text)
    arguments = [str(recipe), "--data", str(data), "--out"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    subprocess.run([*COMMAND, *arguments, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    killed = tmp_path / "killed"
    process = subprocess.Popen(
        [*COMMAND, *arguments, str(killed)], env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    while rows_of(killed / "metrics.csv") < rows:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*COMMAND, *arguments, str(killed)], check=True, env=environment, capture_output=True)
    ours, theirs = (torch.load(folder / "averaged.pt", weights_only=True) for folder in (killed, tmp_path / "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # and the tables have every step once
    for name in ("metrics.csv", "evaluations.csv"):
        assert column(killed / name, "step") == column(tmp_path / "whole" / name, "step")
    assert column(killed / "metrics.csv", "loss") == column(tmp_path / "whole" / "metrics.csv", "loss")


@pytest.mark.slow
def test_all_processes_of_a_run_are_told_to_end_and_it_is_saved(data, tmp_path):
    """As a terminal's Ctrl-C and a scheduler's SIGTERM do."""
    recipe = write_recipe(tmp_path, ENDLESS)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    out = tmp_path / "run"
    command = [*COMMAND, str(recipe), "--data", str(data), "--out", str(out)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while rows_of(out / "metrics.csv") < 5:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate()
    assert "the command goes on" in said
    assert "Traceback" not in said
    assert (out / "checkpoint.pt").exists()


def test_a_step_whose_gradient_is_not_finite_is_left_out_and_counted(recipe, tmp_path, capsys, monkeypatch):
    """One batch of nothing but NaN among twenty-six, as an overflow would make one."""
    batches = train.batches

    def one_broken(volumes, recipe, number, first, workers):
        for step, batch in enumerate(batches(volumes, recipe, number, first, workers), first):
            yield batch._replace(images=batch.images * (float("nan") if (number, step) == (0, 7) else 1.0))

    monkeypatch.setattr(train, "batches", one_broken)
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    run = Run(recipe, tmp_path / "run", CPU)
    run.train(volumes_of(write_data(tmp_path / "data")), workers=0)
    assert "step 7: the gradient is not finite, step left out" in capsys.readouterr().out
    assert column(run.out / "metrics.csv", "skipped") == ["0"] * 7 + ["1"] + ["0"] * 18
    assert column(run.out / "metrics.csv", "loss")[7] == "nan"
    assert all(torch.isfinite(value).all() for value in run.network.state_dict().values())


def test_a_run_can_start_from_anothers_weights_and_has_its_past(recipe, tmp_path):
    first = Run(recipe, tmp_path / "first", CPU)
    first.history = [
        {"run": "first", "name": "coarse", "steps": 20, "seconds": 1.0, "scans": ["a1"], "patients": ["A"]}
    ]
    with torch.no_grad():
        for parameter in first.averaged.parameters():
            parameter.add_(1.0)
    first.save()
    second = Run(recipe, tmp_path / "second", CPU)
    second.start_from(first.out / "averaged.pt")
    for model in (second.network, second.averaged.module):
        for ours, theirs in zip(model.parameters(), first.averaged.parameters(), strict=True):
            assert torch.equal(ours, theirs)
    second.save()
    third = Run(recipe, second.out, CPU)
    third.resume()
    assert third.started_from == "first/averaged.pt"
    assert third.history == first.history
    third.start_from(first.out / "averaged.pt")  # the same command again: the run has begun and goes on
    first.history[0]["patients"] = ["A", "B"]
    first.save()
    with pytest.raises(ValueError, match=r"averaged\.pt: trained on B, whom this recipe holds out"):
        Run(recipe, tmp_path / "fourth", CPU).start_from(first.out / "averaged.pt")
    wider = replace(recipe, network=replace(recipe.network, channels=(4, 6, 10)))
    with pytest.raises(
        ValueError, match=r"second/averaged\.pt: of another network .*channels=\(4, 6, 10\).* size mismatch"
    ):
        Run(wider, tmp_path / "wider", CPU).start_from(second.out / "averaged.pt")


def test_a_run_that_begins_with_weights_is_measured_before_its_first_step(recipe, data, tmp_path):
    first = Run(recipe, tmp_path / "first", CPU)
    first.save()
    second = Run(recipe, tmp_path / "second", CPU)
    second.start_from(first.out / "averaged.pt")
    second.train(volumes_of(data), workers=0)
    assert column(second.out / "evaluations.csv", "step") == ["0", "10", "20"]


def test_what_a_run_was_trained_on_is_written_down_as_it_happens(recipe, data, tmp_path):
    run = Run(recipe, tmp_path / "run", CPU)
    run.train(volumes_of(data), workers=0)
    first, last = read_past(run.out)["history"]
    assert (first["run"], first["name"], first["steps"], first["scans"]) == ("run", "coarse", 20, ["a1", "a2"])
    assert (last["name"], last["steps"], last["patients"]) == ("fine", 6, ["A", "B"])
    assert first["patients"] == ["A"]
    assert 0 < last["seconds"] < run.seconds


def stopped_at(recipe, data, out, step, monkeypatch):
    """A run that somebody ended at a step of its first stage."""
    run = Run(recipe, out, CPU)
    count = run._one_step

    def one_step(*arguments):
        run.stopped = run.step + 1 == step
        count(*arguments)

    monkeypatch.setattr(run, "_one_step", one_step)
    with pytest.raises(SystemExit, match=f"stopped at step {step} of stage coarse; the command goes on"):
        run.train(volumes_of(data), workers=0)
    return run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 2}, r"another recipe \(seed\)"),
        ({"data": {"fold_patients": ("A",)}}, r"another recipe \(data\)"),
        ({"stages": 0}, r"another recipe \(stages\)"),
        ({"threads": 2}, None),
        ({"stages": 1}, None),
    ],
)
def test_a_run_goes_on_with_its_own_recipe_only(recipe, data, tmp_path, monkeypatch, changes, message):
    """Seed, data and stages of the past must be the same; stages may be added at the end, threads are free."""
    stopped_at(recipe, data, tmp_path / "run", 3, monkeypatch)
    if "stages" in changes:
        more = replace(recipe.stages[-1], name="more")
        changes = {"stages": (*recipe.stages, more) if changes["stages"] else recipe.stages[1:]}
    elif "data" in changes:
        changes = {"data": replace(recipe.data, **changes["data"])}
    again = Run(replace(recipe, **changes), tmp_path / "run", CPU)
    if message:
        with pytest.raises(ValueError, match=message):
            again.resume()
    else:
        again.resume()
        assert again.step == 3


def test_a_stage_goes_on_with_its_own_scans_only(recipe, data, tmp_path, monkeypatch):
    stopped_at(recipe, data, tmp_path / "run", 3, monkeypatch)
    for ending in ("_0000.nii.gz", ".nii.gz"):
        (data / f"new{ending}").write_bytes((data / f"a1{ending}").read_bytes())
    again = Run(recipe, tmp_path / "run", CPU)
    again.resume()
    with pytest.raises(ValueError, match="stage coarse was begun with other scans; differing: new"):
        again.train(volumes_of(data), workers=0)


def test_an_evaluation_that_a_kill_prevented_is_made_up(recipe, data, tmp_path, monkeypatch):
    run = stopped_at(recipe, data, tmp_path / "run", 10, monkeypatch)
    (run.out / "evaluations.csv").unlink()
    again = Run(recipe, run.out, CPU)
    again.resume()
    again.train(volumes_of(data), workers=0)
    assert column(run.out / "evaluations.csv", "step") == ["10", "20"]


def test_a_picture_is_not_worth_a_run(recipe, data, tmp_path):
    (tmp_path / "run" / "slices").mkdir(parents=True)
    (tmp_path / "run" / "slices" / "0-coarse-000001.npz").write_bytes(b"half of it")
    recipe = replace(recipe, stages=recipe.stages[:1])
    Run(recipe, tmp_path / "run", CPU).train(volumes_of(data), workers=0)
    assert column(tmp_path / "run" / "evaluations.csv", "step") == ["10", "20"]


def test_two_processes_do_not_train_one_run(recipe, tmp_path):
    first = Run(recipe, tmp_path / "run", CPU)
    first.lock()
    with pytest.raises(ValueError, match="another process trains this run"):
        Run(recipe, tmp_path / "run", CPU).lock()


def test_rates_that_break_every_step_end_the_run(recipe, data, tmp_path):
    recipe = replace(recipe, loss=replace(recipe.loss, class_weights=(0.0,) * 14))
    with pytest.raises(ArithmeticError, match="were not finite; lower the learning rate"):
        Run(recipe, tmp_path / "run", CPU).train(volumes_of(data), workers=0)


class HalfSure:
    """A teacher that gives every class the same probability."""

    def __init__(self):
        self.calls = []

    def probabilities(self, images, spacing, shape):
        self.calls.append((tuple(images.shape), spacing, tuple(shape)))
        return torch.full((len(images), 14, *shape), 1 / 14)


def test_a_teacher_is_asked_about_the_augmented_images(recipe, data, tmp_path):
    recipe = replace(
        recipe,
        loss=replace(recipe.loss, teacher_share=0.5),
        stages=tuple(replace(stage, steps=2) for stage in recipe.stages),
    )
    teacher = HalfSure()
    Run(recipe, tmp_path / "run", CPU, teacher).train(volumes_of(data), workers=0)
    assert teacher.calls[0] == ((2, 1, 16, 16, 16), (4.0, 4.0, 4.0), (16, 16, 16))
    assert teacher.calls[-1] == ((2, 1, 16, 16, 24), (3.0, 3.0, 3.0), (16, 16, 24))


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        train.main()
    assert stopped.value.code == 2


def test_fixed_norms_that_nobody_measured_are_refused(data, tmp_path, monkeypatch, capsys):
    """With random weights, and with what fits of a run of instance norms, which has all but their statistics."""
    first = Run(load_recipe(write_recipe(tmp_path, HALF_INSTANCE)), tmp_path / "first", CPU)
    first.save()
    recipe = write_recipe(tmp_path, HALF_INSTANCE.replace('norm = "instance"', 'norm = "instance"\nfixed_levels = 1'))
    for name, options in {"random": [], "fits": ["--start-from", first.out / "averaged.pt", "--what-fits"]}.items():
        command(monkeypatch, recipe, "--data", data, "--out", tmp_path / name, *options)
        assert "network.fixed_levels: those norms have not been measured; --start-from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('fold_patients = ["B"]', 'fold_patients = ["X"]', "data.fold_patients of the recipe names X"),
        ('name = "tiny"', 'name = "tiny"\nsead = 1', "unknown field sead"),
    ],
)
def test_a_mistake_is_one_line(data, tmp_path, monkeypatch, capsys, old, new, message):
    recipe = write_recipe(tmp_path, TINY.replace(old, new))
    command(monkeypatch, recipe, "--data", data, "--out", tmp_path / "run")
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    command(monkeypatch, tmp_path / "none.toml", "--data", data, "--out", tmp_path / "run")
    assert "none.toml: cannot be read" in capsys.readouterr().err
    command(monkeypatch, write_recipe(tmp_path), "--data", tmp_path / "none", "--out", tmp_path / "run")
    assert "no scans NAME_0000" in capsys.readouterr().err


def test_a_recipe_that_wants_a_teacher_gets_none(tmp_path, monkeypatch, capsys):
    recipe = write_recipe(tmp_path, TINY.replace("[optimiser]", "[loss]\nteacher_share = 0.5\n[optimiser]"))
    command(monkeypatch, recipe, "--data", "none", "--out", tmp_path / "run")
    assert "name it with --teacher" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["skipped", "history", "optimisers"])
def test_a_checkpoint_of_another_version_is_a_line(tmp_path, name):
    recipe = load_recipe(write_recipe(tmp_path))
    run = Run(recipe, tmp_path / "run", CPU)
    run.save()
    state = torch.load(run.out / "checkpoint.pt", weights_only=True)
    del state[name]
    torch.save(state, run.out / "checkpoint.pt")
    with pytest.raises(ValueError, match=rf"checkpoint\.pt: has no {name}, so it is of another version"):
        Run(recipe, run.out, CPU).resume()


def test_weights_of_a_run_whose_recipe_is_of_another_version_are_a_line(tmp_path):
    recipe = load_recipe(write_recipe(tmp_path))
    run = Run(recipe, tmp_path / "run", CPU)
    run.save()
    state = torch.load(run.out / "checkpoint.pt", weights_only=True)
    state["recipe"]["intensity"]["kind"] = "percentiles"
    torch.save(state, run.out / "checkpoint.pt")
    with pytest.raises(ValueError, match=r"averaged\.pt: the run's recipe says its intensity in another way"):
        Run(recipe, tmp_path / "other", CPU).start_from(run.out / "averaged.pt")


def test_more_classes_keep_the_rows_that_are_known():
    """Of heads alone, their bias too; what the network has more is as it was born."""
    torch.manual_seed(0)
    before, after = (PlainUNet((2, 3), classes, stem_stride=1, supervised_levels=2) for classes in (3, 5))
    born = {name: value.clone() for name, value in after.state_dict().items()}
    after.load_state_dict(train.with_more_classes(before.state_dict(), after, after.ends))
    for ours, theirs in zip(after.heads, before.heads, strict=True):
        assert torch.equal(ours.weight[:3], theirs.weight)
        assert torch.equal(ours.bias[:3], theirs.bias)
    assert torch.equal(after.heads[0].weight[3:], born["heads.0.weight"][3:])
    assert torch.equal(after.down[0][0][0].weight, before.down[0][0][0].weight)
    with pytest.raises(RuntimeError, match="size mismatch"):  # fewer are not cut off
        before.load_state_dict(train.with_more_classes(after.state_dict(), before, before.ends))


def test_a_run_with_more_classes_can_start_from_one_with_fewer(recipe, tmp_path):
    first = Run(recipe, tmp_path / "first", CPU)
    first.save()
    more = replace(
        recipe,
        labels=(*recipe.labels, "tumour"),
        loss=replace(recipe.loss, class_weights=(1.0,) * 15),
        augmentation=replace(recipe.augmentation, organ_shift_hu=(1.0,) * 15),
    )
    second = Run(more, tmp_path / "second", CPU)
    second.start_from(first.out / "averaged.pt")
    assert torch.equal(second.averaged.module.heads[0].weight[:14], first.averaged.module.heads[0].weight)
    second.save()
    with pytest.raises(ValueError, match=r"averaged\.pt: of another network .* size mismatch"):
        Run(recipe, tmp_path / "third", CPU).start_from(second.out / "averaged.pt")


def test_of_another_network_what_fits_is_taken(recipe, tmp_path, capsys):
    """The deepest level is narrower, HU are scaled in another way: asked for, the other levels begin as they were."""
    first = Run(recipe, tmp_path / "first", CPU)
    first.save()
    *channels, deepest = recipe.network.channels
    narrower = replace(recipe.network, channels=(*channels, deepest - 1))
    other = replace(recipe, network=narrower, intensity=replace(recipe.intensity, mean=0.0))
    second = Run(other, tmp_path / "second", CPU)
    with pytest.raises(ValueError, match=r"the recipe has Intensity.*; to begin with .* say --what-fits"):
        second.start_from(first.out / "averaged.pt")
    second.start_from(first.out / "averaged.pt", what_fits=True)
    ours, theirs = second.averaged.module, first.averaged.module
    assert torch.equal(ours.down[0][0][0].weight, theirs.down[0][0][0].weight)
    assert ours.down[-1][0][0].weight.shape != theirs.down[-1][0][0].weight.shape
    assert second.started_from == "first/averaged.pt"
    fits, of = (int(number) for number in re.findall(r"(\d+) of (\d+) tensors fit", capsys.readouterr().out)[0])
    assert 0 < fits < of == len(theirs.state_dict())


def test_a_network_that_nothing_fits_is_refused_by_the_name_of_the_file(recipe, tmp_path, monkeypatch):
    first = Run(recipe, tmp_path / "first", CPU)
    first.save()
    monkeypatch.setattr(train, "fitted", lambda *_: {})
    with pytest.raises(ValueError, match=r"first/averaged\.pt: none of its tensors fits one of the"):
        Run(recipe, tmp_path / "second", CPU).start_from(first.out / "averaged.pt", what_fits=True)


def student(recipe, weight=0.0, channels=(2, 3, 4, 4, 4), **fields):
    """A tiny nnU-Net of one stage, taught features where `weight` is not 0."""
    network = replace(
        recipe.network, kind="nnunet", plan="small", channels=channels, stem_stride=1, supervised_levels=2
    )
    stage = replace(recipe.stages[1], shape=(24, 48, 48), batch=1, steps=3)
    loss = replace(recipe.loss, distillation_weight=weight)
    return replace(recipe, network=network, stages=(stage,), loss=loss, **fields)


@pytest.fixture
def taught(recipe, tmp_path):
    """A run to learn from, begun and saved."""
    run = Run(student(recipe, channels=(3, 3, 3, 4, 4), seed=7), tmp_path / "teacher", CPU)
    run.save()
    return run.out


def test_a_network_to_learn_from_is_read_and_fixed(recipe, taught):
    network = train.model_to_learn_from(taught, student(recipe, 1.0))
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_networks_that_cannot_be_learnt_from(recipe, taught, tmp_path):
    with pytest.raises(FileNotFoundError):
        train.model_to_learn_from(tmp_path / "none", student(recipe, 1.0))
    other = replace(recipe.intensity, high=999.0)
    with pytest.raises(ValueError, match=r"teacher: trained on .* the recipe has .*999"):
        train.model_to_learn_from(taught, student(recipe, 1.0, intensity=other))
    with pytest.raises(ValueError, match=r"are not of the teacher's shape .*; give its deepest stages"):
        train.model_to_learn_from(taught, student(recipe, 1.0, channels=(2, 3, 4, 4, 5)))
    plain = Run(recipe, tmp_path / "plain", CPU)
    plain.save()
    with pytest.raises(ValueError, match="plain: features are learnt by one nnU-Net from another one"):
        train.model_to_learn_from(plain.out, student(recipe, 1.0))


def test_a_teacher_must_not_have_seen_the_fold(recipe, tmp_path):
    run = Run(student(recipe), tmp_path / "teacher", CPU)
    run.history = [{"run": "teacher", "name": "fine", "steps": 1, "seconds": 1.0, "scans": ["b"], "patients": ["B"]}]
    run.save()
    held_out = student(recipe, 1.0)
    stages = (replace(held_out.stages[0], hold_out=True, evaluate_every=3),)
    with pytest.raises(ValueError, match="teacher: trained on B, whom this recipe holds out"):
        train.model_to_learn_from(run.out, replace(held_out, stages=stages))
    train.model_to_learn_from(run.out, held_out)  # which holds nobody out


@pytest.mark.parametrize("asks", [True, False])
def test_distillation_and_its_run_go_together(tmp_path, monkeypatch, capsys, asks):
    text = TINY.replace("[optimiser]", "[loss]\ndistillation_weight = 1\n[optimiser]") if asks else TINY
    for old, new in (
        ('"plain-unet"', '"nnunet"\nplan = "small"'),
        ("[4, 6, 8]", "[4, 4, 4, 4, 4]"),
        ("[16, 16, 16]", "[24, 48, 48]"),
        ("[16, 16, 24]", "[24, 48, 48]"),
    ):
        text = text.replace(old, new, 1)
    run = () if asks else ("--distil-from", tmp_path / "other")
    command(monkeypatch, write_recipe(tmp_path, text), "--data", "none", "--out", tmp_path / "run", *run)
    assert "loss.distillation_weight and --distil-from go together" in capsys.readouterr().err


def trained(recipe, out, data, model=None):
    run = Run(recipe, out, CPU, model=model)
    run.resume()
    run.train(volumes_of(data), workers=0)
    return run


def test_features_pull_the_way_down_and_the_loss_says_so(recipe, taught, data, tmp_path, monkeypatch):
    """Two runs of three steps that differ in the weight of the distance alone."""
    monkeypatch.setattr(train, "LOG_EVERY", 1)
    model = train.model_to_learn_from(taught, student(recipe, 1.0))
    far, near = (trained(student(recipe, weight), tmp_path / str(weight), data, model) for weight in (1e-9, 1.0))
    losses = [float(column(run.out / "metrics.csv", "loss")[0]) for run in (far, near)]
    assert losses[1] > losses[0] + 0.1
    volume = torch.randn(1, 1, 24, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        distances = [float(distilled_levels(run.network, model, volume)[1]) for run in (far, near)]
    assert distances[1] < distances[0]


def test_a_run_that_is_taught_goes_on_to_the_same_weights_to_the_bit(recipe, taught, data, tmp_path, monkeypatch):
    choice = student(recipe, 1.0)
    model = train.model_to_learn_from(taught, choice)
    whole = trained(choice, tmp_path / "whole", data, model)
    run = Run(choice, tmp_path / "run", CPU, model=model)
    step = run._one_step

    def stopping(*arguments):
        run.stopped = run.step == 1
        step(*arguments)

    monkeypatch.setattr(run, "_one_step", stopping)
    with pytest.raises(SystemExit):
        run.train(volumes_of(data), workers=0)
    again = trained(choice, run.out, data, train.model_to_learn_from(taught, choice))
    for ours, theirs in zip(again.averaged.parameters(), whole.averaged.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_weighted_loss_comes_in_step_by_step(recipe, data, tmp_path, monkeypatch):
    """Over all stages; whose masks are drawn by hand is known of every sample."""
    seen = []

    def noted(levels, _, is_pseudo, **settings):
        seen.append((settings["share"], is_pseudo.tolist()))
        return sum(level.square().mean() for level in levels)

    monkeypatch.setattr(train, "weighted_loss", noted)
    weights = (1.0,) * 14
    loss = replace(recipe.loss, kind="weighted", class_weights=weights, dice_weights=weights, warm_up_steps=4)
    stages = tuple(replace(stage, steps=3, hold_out=False, evaluate_every=None) for stage in recipe.stages)
    choice = replace(
        recipe,
        loss=loss,
        stages=stages,
        data=replace(recipe.data, manual=("*",)),
        sampling=replace(recipe.sampling, phantom_share=0.0),
    )
    Run(choice, tmp_path / "run", CPU).train(volumes_of(data), workers=0)
    assert [share for share, _ in seen] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert all(is_pseudo == [False, False] for _, is_pseudo in seen)


def test_sgd_and_the_weighted_loss_learn(recipe, data, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 5)
    weights = (1.0,) * 14
    choice = replace(
        recipe,
        loss=replace(recipe.loss, kind="weighted", class_weights=weights, dice_weights=weights, warm_up_steps=4),
        optimiser=replace(recipe.optimiser, kind="sgd", momentum=0.9, schedule="polynomial"),
        stages=(replace(recipe.stages[0], hold_out=False, evaluate_every=None),),
    )
    run = trained(choice, tmp_path / "run", data)
    losses = [float(value) for value in column(run.out / "metrics.csv", "loss")]
    assert losses[-1] < 0.9 * losses[0]
