import json

import pytest

from app.errors import SetupError
from app.system import catalogue, definition
from app.system.catalogue import Measured, Proof, bundles_of, entries, proof_of, read_measured, size_mb, weights_of
from app.system.definition import load_system, mask_labels, read_system
from tests.made_up import save_bundle, save_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(definition, "SYSTEMS", tmp_path / "systems")
    monkeypatch.setattr(definition, "WEIGHTS", tmp_path / "weights")
    return save_project(tmp_path)


def measured_as(project, table):
    (project / "systems" / "measured.json").write_text(json.dumps(table))


def test_a_system_that_cannot_be_loaded_does_not_stop_the_others(project):
    found = {entry.name: entry for entry in entries()}
    assert list(found) == ["lost", "ours", "ours-float32", "ours-torch", "torn", "twice"]
    ours, lost, torn = found["ours"], found["lost"], found["torn"]
    assert (ours.title, ours.bundles, ours.error) == ("a coarse model, then a fine one", ("coarse", "fine"), None)
    assert ours.labels == ("background", "liver", "inferior_vena_cava")
    assert (lost.title, lost.bundles, lost.size_mb) == (ours.title, ("coarse", "lost"), None)
    assert lost.error.endswith(f"{project}/weights/lost/bundle.json: cannot be read: No such file or directory")
    assert (torn.title, torn.bundles) == (None, ())
    assert torn.error.startswith(f"{project}/systems/torn.toml: not TOML: ")


@pytest.mark.usefixtures("project")
def test_only_files_of_the_engines_count_and_each_once():
    sizes = {name: size_mb(load_system(name)) for name in ("ours", "ours-float32", "ours-torch", "twice")}
    assert sizes == {"ours": 0.5 + 0.5, "ours-float32": 0.5 + 1.0, "ours-torch": 0.5 + 0.7, "twice": 3 * 0.5}
    assert bundles_of(read_system("twice")) == ("organs", "tumour-1", "tumour-2")


def test_a_file_of_an_engine_that_is_not_there_is_a_reason_for_those_who_read_it(project):
    (project / "weights" / "fine" / "large.bin").unlink()
    found = {entry.name: entry for entry in entries()}
    assert found["ours"].error is None
    assert "fine/large.bin: named in bundle.json, cannot be read" in found["ours-float32"].error


@pytest.mark.usefixtures("project")
def test_labels_of_a_merge_are_those_of_all_its_maps():
    assert mask_labels(load_system("twice")) == ("background", "liver", "inferior_vena_cava", "tumour")


def test_figures_are_of_the_weights_that_are_there(project):
    weights = weights_of(load_system("ours"))
    measured_as(project, {"ours": {"mean_dice": 0.5, "weights": weights}, "twice": {"weights": "of others"}})
    found = {entry.name: entry for entry in entries()}
    assert found["ours"].measured == Measured(mean_dice=0.5, weights=weights)
    assert found["twice"].measured is None
    assert found["ours-float32"].measured is None
    bundle = project / "weights" / "fine" / "bundle.json"
    bundle.write_text(bundle.read_text().replace(weights_sha(bundle, "small.bin"), "0" * 64))
    assert weights_of(load_system("ours")) != weights
    assert {entry.name: entry for entry in entries()}["ours"].measured is None


def weights_sha(bundle, name):
    return json.loads(bundle.read_text())["files"]["openvino-int8"][name]


def test_no_figures_and_figures_that_are_none(project):
    assert read_measured() == {}
    measured_as(project, [])
    with pytest.raises(SetupError, match=r"measured\.json: the file must be a table"):
        read_measured()
    measured_as(project, {"ours": {"dice": 1}})
    with pytest.raises(SetupError, match=r"measured\.json: unknown field ours\.dice"):
        entries()
    (project / "systems" / "measured.json").write_text("{")
    with pytest.raises(SetupError, match=r"measured\.json: cannot be read: .*; remove it, or measure again"):
        entries()


def test_a_bundle_lists_where_no_engine_could_run(project, monkeypatch):
    """What is listed is looked at, never loaded."""
    save_bundle(project / "weights" / "lost")
    monkeypatch.setattr("app.models.engine.load_engine", lambda *_, **__: pytest.fail("an engine was loaded"))
    assert [entry.name for entry in catalogue.entries() if entry.error] == ["torn"]


def with_accuracy(project, bundle, accuracy):
    path = project / "weights" / bundle / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"accuracy": accuracy}))


def test_a_proof_is_of_the_bundles_that_run_in_float32(project):
    scores = {"largest_difference": 1e-6, "against": "a network"}
    with_accuracy(project, "fine", {"raw_scores": scores, "whole_case": {"same_label": 0.5, "against": "a program"}})
    found = {entry.name: entry.proof for entry in entries()}
    assert found["ours-float32"] == Proof(1e-6, "a network", 0.5, "a program")
    assert found["ours"] is None
    with_accuracy(project, "fine", {"raw_scores": scores})
    assert proof_of(load_system("ours-float32")) == Proof(1e-6, "a network")


@pytest.mark.parametrize("scores", [1, {"largest_difference": "little", "against": ""}, {"against": "a network"}])
def test_a_table_of_accuracy_that_somebody_else_filled_is_no_proof(project, scores):
    with_accuracy(project, "fine", {"raw_scores": scores})
    assert proof_of(load_system("ours-float32")) is None
