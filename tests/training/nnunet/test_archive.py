"""Where a model's files are found. What is refused of a zip: `test_hostile`."""

import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.errors import SetupError
from training.nnunet.archive import opened

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"


def save_trainer(folder, folds=("0", "1")):
    """A trainer's folder, of files that nobody reads here."""
    for fold in folds:
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").touch()
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_text("{}")
    return folder


def found(model, configuration=None, fold=None):
    """The trainer's folder and the folds that a model is."""
    with opened(Path(model), configuration, fold) as trained:
        return trained.folder.resolve(), sorted(trained.folds)


def refused(model):
    with pytest.raises(SetupError) as error:
        found(model)
    return str(error.value)


def test_a_fold_however_it_is_called(tmp_path, monkeypatch):
    trainer = save_trainer(tmp_path / TRAINER)
    (tmp_path / "best").symlink_to(trainer / "fold_1")
    (trainer / "fold_1").rename(tmp_path / "elsewhere")
    (trainer / "fold_1").symlink_to(tmp_path / "elsewhere")
    for model in (trainer / "fold_1", f"{trainer}/fold_1/"):
        assert found(model) == (trainer, ["1"])
    (tmp_path / "first").symlink_to(trainer / "fold_0")
    monkeypatch.chdir(trainer / "fold_0")
    for model in (".", "../fold_0", tmp_path / "first"):
        assert found(model) == (trainer, ["0"])
    assert found("..") == (trainer, ["0", "1"])
    with pytest.raises(SetupError, match="is fold 0, and --fold says 1"):
        found(".", fold="1")


def test_of_the_folder_of_data_sets_one_must_be_given(tmp_path):
    for number in range(1, 8):
        save_trainer(tmp_path / f"Dataset00{number}_Team" / TRAINER)
    line = refused(tmp_path)
    assert "holds data sets; give the folder of one: " in line
    assert line.endswith(f"{tmp_path}/Dataset005_Team and 2 more")
    save_trainer(tmp_path / "Dataset001_Team" / "crossval_results" / "deeper")
    assert found(tmp_path / "Dataset001_Team") == (tmp_path / "Dataset001_Team" / TRAINER, ["0", "1"])


def test_of_several_trainers_paths_are_named_that_can_be_given(tmp_path, monkeypatch):
    for trainer in ("nnUNetTrainer", "nnUNetTrainerBN"):
        save_trainer(tmp_path / "Dataset001_Team" / f"{trainer}__nnUNetPlans__3d_fullres")
    monkeypatch.chdir(tmp_path)
    first, second = refused("Dataset001_Team").rpartition(": ")[2].split(", ")
    assert first == "Dataset001_Team/nnUNetTrainerBN__nnUNetPlans__3d_fullres"
    assert found(second) == (tmp_path / "Dataset001_Team" / TRAINER, ["0", "1"])


def test_names_in_a_zip_that_do_no_harm(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth", "notes 12:30.txt"):
            archive.writestr(f"Dataset001_Team/{TRAINER}/{name}", "{}")
    assert found(tmp_path / "model.zip")[1] == ["0"]
