"""Damaged and hostile models: each refused in one line, nothing left behind, nothing in them run."""

import json
import os
import pickle
import re
import stat
import zipfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from app.errors import SetupError  # noqa: E402
from tests.training.nnunet.made_up_model import (  # noqa: E402
    CONFIGURATION,
    DATASET,
    FOLDER,
    PLAIN,
    PLANS,
    checkpoint,
    network,
    plan_of,
    plans,
    save_model,
    weights_of,
)
from training import import_nnunet  # noqa: E402
from training.import_nnunet import Choices, import_model  # noqa: E402
from training.nnunet.checkpoint import Checkpoint  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs


class Program:
    """Pickled, it is a command that makes the file of the path."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def refused(tmp_path):
    """The one line that a model is refused with; nothing is left in the folders, and no program has run."""
    weights, systems = tmp_path / "weights", tmp_path / "systems"
    weights.mkdir()
    systems.mkdir()

    def refuse(model, **choices):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SetupError) as error:
            import_model(Choices(Path(model), "team", weights, systems, **choices), say=lambda _: None)
        assert sorted(tmp_path.rglob("*")) == before
        assert not (tmp_path / "ran").exists()
        assert len(str(error.value)) < 900
        assert str(error.value).isprintable()
        return str(error.value)

    return refuse


@pytest.fixture
def sound_checkpoint(monkeypatch):
    """Of a model whose plans are the matter: read without a process of its own."""
    monkeypatch.setattr(
        import_nnunet, "read_checkpoint", lambda _: Checkpoint({"w": np.zeros(1)}, "nnUNetTrainer", CONFIGURATION, ())
    )


def architecture(**changes):
    return network({**PLAIN, **changes})


def without(table, *path):
    table = deepcopy(table)
    inner = table
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return table


def wide_window():
    """A window that is small enough by itself, of a network that makes 64 channels of it."""
    table = architecture(features_per_stage=[64, 64, 64])
    table["configurations"][CONFIGURATION]["patch_size"] = [256, 512, 512]
    return table


CHOSEN = ("configurations", CONFIGURATION)
WRONG_PLANS = {
    "a cascade": (plans(previous_stage="3d_lowres"), "is a cascade's second stage; supported are PlainConvUNet"),
    "2-D": (plans(patch_size=[512, 512]), "windows of 2 dimensions; supported are"),
    "2-D convolutions": (architecture(conv_op="torch.nn.modules.conv.Conv2d"), "conv_op must be one of"),
    "another network": (
        plans(architecture={"network_class_name": "dynamic_network_architectures.architectures.primus.Primus"}),
        r"network '\S+Primus' is not known; supported are",
    ),
    "a network of another package": (
        plans(architecture={"network_class_name": "os.PlainConvUNet", "arch_kwargs": PLAIN}),
        "'os.PlainConvUNet' is not known",
    ),
    "a class to import": (architecture(nonlin="os.system"), "nonlin must be one of torch.nn.LeakyReLU"),
    "a spacing that no scan has": (plans(spacing=[1e-5, 1, 1]), "spacing must be three lengths from 0.01 to 100 mm"),
    "a slope beyond float32": (architecture(nonlin_kwargs={"negative_slope": 1e308}), "negative_slope must be 1000 at"),
    "an eps below zero": (architecture(norm_op_kwargs={"eps": -1.0, "affine": True}), "eps must be above zero"),
    "intensities without a deviation": (
        {**PLANS, "foreground_intensity_properties_per_channel": {
            "0": {"mean": 40.0, "std": 0.0, "percentile_00_5": -160.0, "percentile_99_5": 240.0}}},
        r"per_channel\.0 needs finite values",
    ),
    "a program in place of dropout": (
        architecture(dropout_op="subprocess.Popen", dropout_op_kwargs={"args": ["touch", "/tmp/was-run"]}),
        "dropout_op must be one of torch.nn.modules.dropout.Dropout3d",
    ),
    "dropout with more than it takes": (
        architecture(dropout_op="torch.nn.Dropout3d", dropout_op_kwargs={"hook": "os.system"}),
        r"dropout_op_kwargs\.hook must be absent",
    ),
    "a norm with more than it takes": (architecture(norm_op_kwargs={"device": 1}), r"kwargs\.device must be absent"),
    "more to import by name": (
        plans(
            architecture={
                **PLANS["configurations"][CONFIGURATION]["architecture"],
                "_kw_requires_import": ["conv_op", "deep_supervision"],
            }
        ),
        "_kw_requires_import must be of block, conv_op",
    ),
    "features of 8 GB": (
        wide_window(),
        "features of a window need more than 4 GB",
    ),
    "an argument that is not known": (architecture(hook="os.system"), r"arch_kwargs\.hook is not known"),
    "several channels": (None, "names 2 channels"),
    "MRI's intensities": (plans(normalization_schemes=["RescaleTo01Normalization"]), "must be CTNormalization"),
    "a mask for ZScore": (
        plans(normalization_schemes=["ZScoreNormalization"], use_mask_for_norm=[True]), "without a mask",
    ),
    "another resampling": (plans(resampling_fn_data="resample_torch_fornnunet"), "resampling_fn_data must be one of"),
    "another order": (
        plans(resampling_fn_probabilities_kwargs={"is_seg": False, "order": 3, "order_z": 0}), "nnU-Net's own",
    ),
    "another reader": ({**PLANS, "image_reader_writer": "Tiff3DIO"}, "must be one of SimpleITKIO, NibabelIO"),
    "kernels of nothing": (architecture(kernel_sizes=[[0, 3, 3]] * 3), "kernel_sizes must be of every stage"),
    "even kernels": (architecture(kernel_sizes=[[2, 3, 3]] * 3), "sides must be odd"),
    "strides of nothing": (architecture(strides=[[1, 1, 1], [0, 2, 2], [2, 2, 2]]), "strides must be of every stage"),
    "a window of 10^9": (plans(patch_size=[10**9, 16, 24]), "patch_size must be a list of whole numbers"),
    "a window of too many voxels": (plans(patch_size=[1024, 1024, 1024]), "of 67108864 voxels at the most"),
    "a window that cannot be halved": (plans(patch_size=[8, 18, 24]), r"must be multiples of \(2, 4, 4\)"),
    "a spacing that is none": (plans(spacing=[float("nan"), 1, 1]), "spacing must be a list of finite numbers"),
    "a spacing of nothing": (plans(spacing=[0, 1, 1]), "spacing must be three lengths from 0.01"),
    "10^30 channels": (architecture(features_per_stage=[10**30, 6, 8]), "features_per_stage must be a list of whole"),
    "fewer strides than stages": (architecture(strides=[[1, 1, 1], [2, 2, 2]]), "strides must be a list of 3 entries"),
    "text for a number": (architecture(n_stages="three"), "n_stages must be a whole number from 2 to 12"),
    "a list for a table": ({**PLANS, "configurations": []}, "configurations must be a table, found"),
    "axes twice": ({**PLANS, "transpose_forward": [0, 0, 1]}, "transpose_forward must be the axes 0, 1 and 2"),
    "inheriting in a circle": (plans(inherits_from=CONFIGURATION), "configurations inherit in a circle"),
    "no such configuration": ({**PLANS, "configurations": {"3d_lowres": {}}}, "there are 3d_lowres"),
    "configurations without end": (
        {**PLANS, "configurations": {f"\r{n}" + 999 * "a": {} for n in range(20)}}, r"there are \?0a+…, .* and 15 more",
    ),
    "inheriting from a name without end": (
        {**PLANS, "configurations": {**PLANS["configurations"], CONFIGURATION: {"inherits_from": 999 * "\x07"}}},
        "no configuration",
    ),
    "an argument that rings": (architecture(**{"\x07": 1}), r"arch_kwargs\.\? is not known"),
    "no intensities": (without(PLANS, "foreground_intensity_properties_per_channel"), "must be a table, found nothing"),
    "no network at all": (without(PLANS, *CHOSEN, "architecture"), "UNet_class_name must be text, found nothing"),
}  # fmt: skip
LABELS = DATASET["labels"]
WRONG_LABELS = {
    "gaps between labels": ({"background": 0, "liver": 1, "spleen": 5}, "ids must be 1 to 2 .* found .1, 5."),
    "no background": ({"liver": 1}, "labels.background must be 0"),
    "one name for two": ({"background": 0, "left kidney": 1, "Left_Kidney": 2}, "both called 'left_kidney'"),
    "a name of no letters": ({"background": 0, "../..": 1}, "cannot be a label's name"),
    "regions without their order": ({"background": 0, "both": [1, 2], "one": 1}, "regions_class_order must be a list"),
    "ids that are text": ({"background": 0, "liver": "1"}, "labels.liver must be a whole number"),
    "an ignore label in between": ({"background": 0, "ignore": 1, "liver": 2}, "ids must be 1 to 1"),
    "256 labels": ({"background": 0, **{f"l{n}": n for n in range(1, 257)}}, "254 at the most"),
    "nothing but background": ({"background": 0}, "ids must be 1 to 0"),
    "a name that clears the screen": ({"background": 0, "\x1b[2Jliver": "1"}, r"labels\.\?\[2Jliver must be a whole"),
    "a name without end": ({"background": 0, 9999 * "a": "1"}, "labels.a{100}… must be a whole"),
}


@pytest.mark.usefixtures("sound_checkpoint")
@pytest.mark.parametrize("kind", WRONG_PLANS)
def test_plans_that_cannot_be_imported(tmp_path, refused, kind):
    table, message = WRONG_PLANS[kind]
    folder = save_model(tmp_path / "model", folds=())
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "plans.json").write_text(json.dumps(PLANS if table is None else table))
    if table is None:
        (folder / "dataset.json").write_text(json.dumps({**DATASET, "channel_names": {"0": "CT", "1": "PET"}}))
    assert_matches(refused(folder), message, folder)


@pytest.mark.usefixtures("sound_checkpoint")
@pytest.mark.parametrize("kind", WRONG_LABELS)
def test_labels_that_cannot_be_imported(tmp_path, refused, kind):
    labels, message = WRONG_LABELS[kind]
    folder = save_model(tmp_path / "model", dataset=DATASET, folds=())
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "dataset.json").write_text(json.dumps({**DATASET, "labels": labels}))
    assert_matches(refused(folder), message, folder)


def assert_matches(line, message, folder):
    assert re.search(message, line), line
    assert str(folder) in line


@pytest.mark.usefixtures("sound_checkpoint")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "plans.json: cannot be read: No such file"),
        ("{", "plans.json: not JSON"),
        ("[]", "plans.json: the file must be a table"),
        ('{"dataset_name": 1, "dataset_name": 2}', "'dataset_name' is named twice"),
        (100_000 * "[", "plans.json: not JSON"),
        ("\udcff".encode("utf-8", "surrogateescape"), "plans.json: not JSON"),
    ],
    ids=["missing", "cut off", "a list", "a name twice", "nested without end", "no text"],
)
def test_files_that_are_no_plans(tmp_path, refused, content, message):
    folder = save_model(tmp_path / "model", folds=())
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    other = folder / "dataset.json" if content is None else folder / "plans.json"
    other.unlink()
    if content is None:
        assert "dataset.json: cannot be read" in refused(folder)
        return
    other.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert message in refused(folder)


def save_checkpoint(tmp_path, content, plans_table=PLANS):
    """A trainer's folder whose one checkpoint holds `content`."""
    folder = save_model(tmp_path / "model", plans_table, folds=())
    (folder / "fold_0").mkdir()
    torch.save(content, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def changed_weights(change):
    weights = weights_of(plan_of(PLANS))
    change(weights)
    return checkpoint(weights)


def drop(weights):
    for name in [name for name in weights if name.endswith(("seg_layers.1.weight",))]:
        del weights[name]


def disagree(weights):
    weights["decoder.encoder.stages.0.0.convs.0.conv.weight"] = torch.ones(4, 1, 1, 3, 3)


HEAD = "decoder.seg_layers.1.weight"
STEM = "encoder.stages.0.0.convs.0.norm.weight"
WRONG_CHECKPOINTS = {
    "a weight is missing": (lambda _: changed_weights(drop), f"has no weight {HEAD}"),
    "one is left over": (lambda _: changed_weights(lambda w: w.update(extra=torch.ones(1))), "extra is left over"),
    "one has another shape": (
        lambda _: changed_weights(lambda w: w.update({HEAD: torch.ones(5, 4, 1, 1, 1)})),
        r"has shape \(5, 4, 1, 1, 1\)",
    ),
    "one is NaN": (lambda _: changed_weights(lambda w: w[STEM].fill_(torch.nan)), f"weight {STEM} holds NaN"),
    "one is whole numbers": (
        lambda _: changed_weights(lambda w: w.update({HEAD: torch.ones(3, 4, 1, 1, 1, dtype=torch.int32)})), "int64",
    ),
    "two names, two values": (lambda _: changed_weights(disagree), "are one weight and have different values"),
    "a tensor of any size": (
        lambda _: changed_weights(lambda w: w.update({HEAD: torch.ones(1).expand(1 << 40)})), "made to do harm",
    ),
    "a sparse tensor": (lambda _: changed_weights(lambda w: w.update({HEAD: torch.ones(3).to_sparse()})), "no dense"),
    "a weight is text": (lambda _: changed_weights(lambda w: w.update({HEAD: "text"})), "is no dense tensor"),
    "no weights": (lambda _: {"state_dict": {}}, "has no network_weights"),
    "weights of nothing": (lambda _: checkpoint({}), "network_weights is empty"),
    "a list": (lambda _: [1, 2], "holds no table"),
    "a weight's name that clears the screen": (
        lambda _: changed_weights(lambda w: w.update({"\x1b[2J": torch.ones(1)})), "names that no network has",
    ),
    "a trainer's name without end": (
        lambda _: checkpoint(weights_of(plan_of(PLANS)), trainer_name=9999 * "a"), "does not say trainer_name",
    ),
    "no trainer": (lambda _: checkpoint(weights_of(plan_of(PLANS)), trainer_name=None), "does not say trainer_name"),
    "another dimension mirrored": (
        lambda _: checkpoint(weights_of(plan_of(PLANS)), inference_allowed_mirroring_axes=(7,)), "mirroring_axes",
    ),
    "a program": (lambda path: checkpoint(Program(path)), r"holds \S*system, which is neither tensor, number nor text"),
    "a program beside the weights": (
        lambda path: {**checkpoint(weights_of(plan_of(PLANS))), "hook": Program(path)}, "in a checkpoint is run",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", [kind if kind == "a program" else pytest.param(kind, marks=pytest.mark.slow) for kind in WRONG_CHECKPOINTS]
)
def test_checkpoints_that_cannot_be_imported(tmp_path, refused, kind):
    content, message = WRONG_CHECKPOINTS[kind]
    folder = save_checkpoint(tmp_path, content(tmp_path / "ran"))
    assert_matches(refused(folder), message, folder)


def test_a_checkpoint_of_pythons_own_is_no_zip_and_is_not_opened(tmp_path, refused):
    folder = save_checkpoint(tmp_path, {})
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(pickle.dumps(Program(tmp_path / "ran")))
    assert "is no checkpoint that PyTorch 1.6 or later saved" in refused(folder)


def test_a_checkpoint_that_is_cut_off_is_damaged(tmp_path, refused):
    folder = save_checkpoint(tmp_path, checkpoint(weights_of(plan_of(PLANS))))
    file = folder / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "or is damaged" in refused(folder)


def test_a_checkpoint_whose_entries_are_packed_is_not_opened(tmp_path, refused):
    folder = save_checkpoint(tmp_path, {})
    with zipfile.ZipFile(folder / "fold_0" / "checkpoint_final.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(100 << 20))
    assert "entries are compressed" in refused(folder)


def test_mirroring_that_training_did_not_is_refused_before_anything_is_made(tmp_path, refused, monkeypatch):
    folder = save_model(tmp_path / "model", inference_allowed_mirroring_axes=None)
    monkeypatch.setattr(import_nnunet, "network_of", lambda *_: pytest.fail("a network was made"))
    assert "was trained without mirroring; leave out --mirror" in refused(folder, mirror=True)


def test_a_fold_without_a_checkpoint_is_named(tmp_path, refused):
    folder = save_model(tmp_path / "model", folds=())
    (folder / "fold_0").mkdir()
    assert "fold_0 has no checkpoint_final.pth" in refused(folder)
    assert "fold_0 has no checkpoint_final.pth or checkpoint_best.pth in it" in refused(folder, fold="0")
    assert "fold_7 is not there" in refused(folder, fold="7")
    (folder / "fold_0").rmdir()
    assert "fold_all is not there" in refused(folder)


def archive_of(tmp_path, *entries, plain=True):
    """A zip of plans.json and of other entries: names, or ZipInfo with content."""
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if plain:
            archive.writestr(f"{FOLDER}/plans.json", json.dumps(PLANS))
        for entry, content in entries:
            archive.writestr(entry, content)
    return path


def link(name, target):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (("../../escaped", "x"), "leads out of a folder"),
        ((f"{FOLDER}/../../../../escaped", "x"), "leads out of a folder"),
        (("/tmp/escaped", "x"), "leads out of a folder"),
        (("C:\\escaped", "x"), "leads out of a folder"),
        (("folder/d:escaped", "x"), "leads out of a folder"),
        ((f"{FOLDER}/back\\slash", "x"), "with a backslash"),
        ((f"{FOLDER}/line\nbreak", "x"), "with what cannot be printed"),
        ((60_000 * "a", "x"), "of more than 1000 letters"),
        (link(f"{FOLDER}/fold_0", "/etc"), "is a link or no plain file"),
        ((f"{FOLDER}/fold_0/checkpoint_final.pth", bytes(300 << 20)), "declares 314572800 bytes"),
        ((f"{FOLDER}/./plans.json", "{}"), "holds .* twice"),
    ],
    ids=[
        "above",
        "above from within",
        "absolute",
        "of Windows",
        "of Windows, from within",
        "with a backslash",
        "with a line break",
        "without end",
        "link",
        "bomb",
        "twice",
    ],
)
def test_zips_that_are_not_unpacked(tmp_path, refused, entry, message):
    model = archive_of(tmp_path, entry)
    assert_matches(refused(model), message, model)


def test_a_zip_that_declares_more_than_there_can_be_is_not_unpacked(tmp_path, refused):
    model = archive_of(tmp_path, (f"{FOLDER}/fold_0/checkpoint_final.pth", "x"))
    data = bytearray(model.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the directory: its size is at 24
    data[at + 24 : at + 28] = (0xFFFFFFF0).to_bytes(4, "little")
    model.write_bytes(data)
    assert "declares 4294967280 bytes" in refused(model)


def test_a_zip_that_is_damaged_is_refused(tmp_path, refused):
    model = archive_of(tmp_path, (f"{FOLDER}/fold_0/checkpoint_final.pth", bytes(range(256)) * 40))
    data = bytearray(model.read_bytes())
    at = data.index(b"checkpoint_final.pth") + 40
    data[at : at + 20] = bytes(20)
    model.write_bytes(data)
    assert "is a damaged or encrypted zip" in refused(model)


def test_what_is_no_model_at_all_is_named(tmp_path, refused):
    assert "has no plans.json; supported are models that nnU-Net v2 trained" in refused(
        archive_of(tmp_path, ("readme.txt", "x"), plain=False)
    )
    (tmp_path / "empty").mkdir()
    assert "has no plans.json" in refused(tmp_path / "empty")
    assert "is not there" in refused(tmp_path / "nothing")
    (tmp_path / "text").write_text("x")
    assert "is neither a folder nor a zip" in refused(tmp_path / "text")


@pytest.mark.parametrize("name", ["", "a/b", "../team", ".", "-x", "a b", "team\n", 65 * "a"])
def test_names_that_no_folder_should_have(tmp_path, name):
    with pytest.raises(SetupError, match="must be letters, digits"):
        import_model(Choices(tmp_path, name, tmp_path, tmp_path))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"fold": "fold_0"}, "--fold 'fold_0': must be a number, or all"),
        ({"least_agreement": float("nan")}, "--least-agreement nan: must be a share"),
        ({"least_agreement": 98.0}, "--least-agreement 98.0: must be a share"),
        ({"most_difference": float("nan")}, "--most-difference nan: must be a share"),
        ({"int8": Path("nowhere")}, "nowhere"),
    ],
)
def test_options_that_would_fail_after_minutes(tmp_path, refused, choices, message):
    assert message in refused(save_model(tmp_path / "model", folds=()), **choices)


@pytest.mark.usefixtures("sound_checkpoint")
def test_plans_that_are_no_file(tmp_path, refused):
    folder = save_model(tmp_path / "model", folds=())
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "plans.json").unlink()
    os.mkfifo(folder / "plans.json")
    assert "plans.json: is no plain file" in refused(folder)
    os.mkfifo(tmp_path / "pipe.zip")
    assert "is neither a folder nor a zip" in refused(tmp_path / "pipe.zip")
