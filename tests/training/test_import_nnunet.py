"""The whole way from a model's files to a mask. What is refused: `nnunet/test_hostile`."""

import json

import nibabel
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from app.errors import SetupError  # noqa: E402
from app.models.bundle import load_bundle  # noqa: E402
from app.run.outcome import Outcome  # noqa: E402
from app.run.pipeline import load_models, run_case  # noqa: E402
from app.system.definition import load_system  # noqa: E402
from tests.files import body_phantom, lps_affine, save_nifti  # noqa: E402
from tests.training.nnunet.made_up_model import DATASET, RESIDUAL, network, save_model, zipped  # noqa: E402
from training.import_nnunet import Choices, import_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs


@pytest.fixture
def folders(tmp_path):
    for name in ("weights", "systems"):
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in ("weights", "systems")}


def mask_of(system_file, tmp_path):
    scan, target = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    save_nifti(scan, body_phantom(), lps_affine((3, 3, 5)))
    system = load_system(str(system_file))
    run_case(scan, target, system, lambda: load_models(system, threads=1, pinned=False), Outcome(), threads=1)
    return np.asarray(nibabel.load(target).dataobj)


@pytest.mark.slow
def test_a_zip_of_two_folds_becomes_systems_that_run(tmp_path, folders):
    model = zipped(save_model(tmp_path / "model", folds=("0", "1", "all")), tmp_path / "model.zip")
    said = []
    files = import_model(Choices(model, "team", mirror=True, fast=True, **folders), said.append)
    assert [file.name for file in files] == ["team.toml", "team-fast.toml"]
    names = ["team-fast-fold-0", "team-fast-fold-1", "team-fold-0", "team-fold-1"]
    assert sorted(path.name for path in folders["weights"].iterdir()) == names
    bundle = load_bundle(folders["weights"] / "team-fold-1")
    assert bundle.accuracy["raw_scores"]["largest_difference"] < 1e-4
    assert (bundle.orientation, bundle.crops_to_nonzero, bundle.training["fold"]) == ("file", True, "1")
    assert bundle.labels == ("background", "liver", "left_kidney")
    assert not load_bundle(folders["weights"] / "team-fast-fold-1").crops_to_nonzero
    mask = mask_of(files[0], tmp_path)
    assert mask.shape == body_phantom().shape
    assert set(np.unique(mask)) <= {0, 1, 2}
    with pytest.raises(SetupError, match="is there; give another --name"):
        import_model(Choices(model, "team", **folders))


@pytest.mark.slow
def test_a_residual_model_of_regions_along_turned_axes_and_in_int8(tmp_path, folders):
    table = network(RESIDUAL, residual=True) | {"transpose_forward": [2, 0, 1]}
    labels = {"background": 0, "organs": [1, 2], "kidney": 2}
    folder = save_model(tmp_path / "model", table, {**DATASET, "labels": labels, "regions_class_order": [1, 2]})
    scan = tmp_path / "calibration" / "scan_0000.nii.gz"
    scan.parent.mkdir()
    save_nifti(scan, body_phantom(), lps_affine((3, 3, 5)))
    choices = Choices(folder / "fold_0", "team", int8=scan.parent, least_agreement=0.1, **folders)
    said = []
    files = import_model(choices, said.append)
    assert [file.name for file in files] == ["team.toml", "team-int8.toml"]
    bundle = load_bundle(folders["weights"] / "team")
    assert (bundle.regions, set(bundle.files)) == ((1, 2), {"openvino-float32", "openvino-int8"})
    assert bundle.spacing_mm == (2.0, 1.5, 5.0)
    assert any("INT8 and float32 agree on" in line for line in said)
    assert set(np.unique(mask_of(files[1], tmp_path))) <= {0, 1, 2}


@pytest.mark.slow
def test_int8_that_is_too_far_from_float32_leaves_nothing(tmp_path, folders):
    folder = save_model(tmp_path / "model")
    scan = tmp_path / "scan_0000.nii.gz"
    save_nifti(scan, body_phantom(), lps_affine((3, 3, 5)))
    with pytest.raises(SetupError, match=r"less than 100\.00%; give more scans"):
        import_model(Choices(folder, "team", int8=scan, least_agreement=1.0, **folders), say=lambda _: None)
    assert not any(path for place in folders.values() for path in place.iterdir())


@pytest.mark.slow
def test_a_system_that_cannot_be_written_takes_its_bundle_away_again(tmp_path, folders, monkeypatch):
    folder = save_model(tmp_path / "model")
    monkeypatch.setattr("training.import_nnunet.fast_system", lambda *_: json.loads("{"))
    with pytest.raises(ValueError, match="Expecting"):
        import_model(Choices(folder, "team", fast=True, **folders), say=lambda _: None)
    assert not any(path for place in folders.values() for path in place.iterdir())
