"""The whole way from a model's files to a mask. What is refused: `nnunet/test_hostile`."""

import json
import sys

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
from tests.training.nnunet.made_up_model import (  # noqa: E402
    DATASET,
    RESIDUAL,
    checkpoint,
    network,
    plan_of,
    plans,
    save_model,
    weights_of,
    zipped,
)
from tests.training.nnunet.written_out import mirrored, segmented  # noqa: E402
from training.import_nnunet import Choices, import_model  # noqa: E402
from training.nnunet.proof import has_package, scores_of_package  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # nncf and the tracer warn of their own affairs


@pytest.fixture
def folders(tmp_path):
    for name in ("weights", "systems"):
        (tmp_path / name).mkdir()
    return {name: tmp_path / name for name in ("weights", "systems")}


def mask_of(system_file, tmp_path, voxels=None, spacing=(3, 3, 5)):
    scan, target = tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz"
    save_nifti(scan, body_phantom() if voxels is None else voxels, lps_affine(spacing))
    system = load_system(str(system_file))
    run_case(scan, target, system, lambda: load_models(system, threads=1, pinned=False), Outcome(), threads=1)
    return np.asarray(nibabel.load(target).dataobj)


@pytest.mark.slow
def test_a_zip_of_two_folds_becomes_systems_that_run(tmp_path, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)  # which only INT8 needs
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
@pytest.mark.skipif(not has_package(), reason="needs dynamic-network-architectures, without its own requirements")
@pytest.mark.parametrize(
    ("changes", "forward", "spacing"),
    [
        pytest.param({}, [0, 1, 2], (1.7, 1.6, 6.0), id="slices apart"),
        pytest.param({"spacing": [2.0, 1.5, 1.8]}, [2, 0, 1], (1.6, 2.2, 2.0), id="turned, and lower than a window"),
    ],
)
def test_masks_are_those_of_nnu_nets_steps_written_out(tmp_path, folders, changes, forward, spacing):
    """Noise with zeros around it, by two folds with mirrored windows. A mask may differ where two scores are the same
    but for the last bits."""
    table = plans(**changes) | {"transpose_forward": forward, "transpose_backward": np.argsort(forward).tolist()}
    plan, folder = plan_of(table), save_model(tmp_path / "model", table, folds=())
    folds = [weights_of(plan, seed) for seed in range(2)]
    for number, weights in enumerate(folds):
        weights["decoder.seg_layers.1.weight"] *= 9  # so that more than one label wins
        (folder / f"fold_{number}").mkdir()
        content = checkpoint(weights, inference_allowed_mirroring_axes=(0,))
        torch.save(content, folder / f"fold_{number}" / "checkpoint_final.pth")
    (system,) = import_model(Choices(folder, "team", mirror=True, **folders), say=lambda _: None)
    voxels = np.random.default_rng(0).normal(40, 150, (24, 20, 8)).astype(np.int16)
    voxels = np.pad(voxels, ((2, 1), (0, 3), (1, 0)))  # x, y, z
    mask = mask_of(system, tmp_path, voxels, spacing).T
    arrays = [{name: weight.numpy() for name, weight in weights.items()} for weights in folds]

    def network(window):
        found = [scores_of_package(plan, fold, window.transpose(plan.axes), folder) for fold in arrays]
        return np.mean(found, 0).transpose(0, *(1 + axis for axis in forward))

    expected, lead = segmented(voxels.T, spacing[::-1], table, mirrored(network, (0,)))
    assert 0.2 < (expected > 0).mean() < 0.8
    differs = mask != expected
    assert differs.mean() < 1e-3
    assert not differs.any() or lead[differs].max() < 1e-3


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
