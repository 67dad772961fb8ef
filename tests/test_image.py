"""The image as an organiser runs it, in a real engine; skipped with the reason where none answers."""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.files import body_phantom, lps_affine, save_nifti
from tests.shared import CASES, check_volumes, needs_cases, no_engine, skip

PROJECT = Path(__file__).parent.parent
NAME = "viscera-under-test"


@pytest.fixture(scope="module", autouse=True)
def _engine():
    if reason := no_engine():
        skip(reason)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory, _engine):
    """A copy to build in, so that what lies in the build folder of the project itself stays."""
    ours = shutil.ignore_patterns(".git", ".venv*", ".contenders", ".*_cache", "build", "__pycache__", "*.tar.gz*")
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("project") / "viscera", ignore=ours)


def build(project, folder, *options, **environment):
    command = ["sh", str(project / "build_and_save.sh"), *options]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory, project):
    folder = tmp_path_factory.mktemp("archive")
    result = build(project, folder, NAME)
    assert result.returncode == 0, result.stderr
    yield folder / f"{NAME}.tar.gz"
    subprocess.run(["docker", "image", "rm", "-f", NAME], capture_output=True, check=False)


@pytest.fixture(scope="module")
def image(archive):
    """What an organiser gets: loaded from the archive."""
    subprocess.run(["docker", "image", "rm", "-f", NAME], capture_output=True, check=True)
    subprocess.run(["docker", "load", "-i", str(archive)], capture_output=True, check=True)
    return NAME


@pytest.fixture
def folders(tmp_path):
    inputs, outputs = tmp_path / "inputs", tmp_path / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    outputs.chmod(0o777)
    return inputs, outputs


def run(image, folders, *options, command=(), network="none"):
    inputs, outputs = folders
    mounts = ["-v", f"{inputs}:/workspace/inputs", "-v", f"{outputs}:/workspace/outputs"]
    whole = ["docker", "run", "--rm", "--network", network, "-m", "8g", *mounts, *options, image, *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def labels(path):
    return np.asarray(nib.load(path).dataobj)


def phantom(folder, name="phantom_0000.nii.gz"):
    return save_nifti(folder / name, body_phantom((50, 40, 30)), lps_affine((6, 6, 8)))


def test_the_archive_comes_with_its_sum(archive):
    words = (archive.parent / f"{NAME}.tar.gz.sha256").read_text().split()
    assert words[1] == archive.name
    assert (
        subprocess.run(["sha256sum", "-c", f"{archive.name}.sha256"], cwd=archive.parent, check=False).returncode == 0
    )


def test_no_torch_in_the_default_image(image, folders):
    result = run(image, folders, command=["python", "-c", "import torch"])
    assert "ModuleNotFoundError" in result.stderr


def held(image, folders, *places):
    """Files below /workspace, sorted."""
    result = run(image, folders, command=["find", *places, "-type", "f"])
    assert result.returncode == 0, result.stderr
    return sorted(result.stdout.split())


INT8 = ["bundle.json", "model-int8.bin", "model-int8.xml"]
FIGURES = "systems/measured.json"


PAPERS = ["lyy1", "hanglok", "sdust", "cfs", "dkfz"]


@needs_cases
@pytest.mark.parametrize("system", PAPERS)
def test_a_published_system_in_its_own_container(tmp_path, folders, project, system):
    """Read-only, by a user without rights: the scan's geometry, plausible organs, and nothing said but its line."""
    name, (inputs, outputs) = f"{NAME}-{system}", folders
    try:
        result = build(project, tmp_path, "--system", system, name)
        assert result.returncode == 0, result.stderr
        shutil.copy(CASES / "hcc_006_0000.nii.gz", inputs)
        options = ["--read-only", "--cap-drop", "ALL", "--user", "12345:12345"]
        result = run(
            name, folders, *options, command=["sh", "predict.sh", "--report", "/workspace/outputs/report.jsonl"]
        )
        assert (result.returncode, result.stderr) == (0, "")
    finally:
        subprocess.run(["docker", "image", "rm", "-f", name], capture_output=True, check=False)
    mask, scan = nib.load(outputs / "hcc_006.nii.gz"), nib.load(inputs / "hcc_006_0000.nii.gz")
    assert mask.shape == scan.shape
    np.testing.assert_array_equal(mask.affine, scan.affine)
    check_volumes(json.loads((outputs / "report.jsonl").read_text())["volume_ml"])


def test_the_default_image_holds_the_systems_that_run_on_its_bundles(image, folders):
    names = ["viscera-bf16", "viscera-float32", "viscera"]
    systems = [path for path in held(image, folders, "systems") if path != FIGURES]
    assert systems == [f"systems/{name}.toml" for name in names]
    fine = [f"weights/fine/{name}" for name in sorted([*INT8, "model.bin", "model.xml"])]
    assert held(image, folders, "weights") == [*fine, *(f"weights/localiser/{name}" for name in INT8)]
    listed = run(image, folders, command=["python", "-m", "app", "--list-systems", "--json"])
    assert {entry["name"]: entry["error"] for entry in json.loads(listed.stdout)} == dict.fromkeys(names)


def test_an_image_of_a_system_holds_its_bundles_and_no_others(tmp_path, folders, project):
    """One stage on the whole scan, so that one of the two bundles here is left out."""
    name = f"{NAME}-one"
    text = ['title = "phase one alone"', "[stage.only]", 'bundle = "localiser"', 'engine = "openvino-int8"']
    (project / "systems" / "one.toml").write_text("\n".join([*text, 'precision = "f32"', "[result]", 'of = "only"']))
    try:
        result = build(project, tmp_path, "--system", "one", name)
        assert result.returncode == 0, result.stderr
        assert held(name, folders, "weights") == [f"weights/localiser/{file}" for file in INT8]
        assert [path for path in held(name, folders, "systems") if path != FIGURES] == ["systems/one.toml"]
        phantom(folders[0])
        result = run(name, folders)
        assert result.returncode == 0, result.stderr
        assert labels(folders[1] / "phantom.nii.gz").shape == (50, 40, 30)
        (entry,) = json.loads(run(name, folders, command=["python", "-m", "app", "--list-systems", "--json"]).stdout)
        assert (entry["name"], entry["default"], entry["error"]) == ("one", True, None)
    finally:
        (project / "systems" / "one.toml").unlink()
        subprocess.run(["docker", "image", "rm", "-f", name], capture_output=True, check=False)


@needs_cases
def test_a_real_scan_both_ways(image, folders):
    inputs, outputs = folders
    shutil.copy(CASES / "hcc_006_0000.nii.gz", inputs)
    theirs = nib.load(inputs / "hcc_006_0000.nii.gz")
    masks = []
    for command in ((), ("/bin/bash", "-c", "sh predict.sh --report /workspace/outputs/report.jsonl")):
        result = run(image, folders, command=command)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith("hcc_006: ")
        ours = nib.load(outputs / "hcc_006.nii.gz")
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours.affine, theirs.affine)
        masks.append(labels(outputs / "hcc_006.nii.gz"))
    np.testing.assert_array_equal(masks[0], masks[1])
    line = json.loads((outputs / "report.jsonl").read_text())
    check_volumes(line["volume_ml"])


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="plain"),
        pytest.param(("--read-only", "--cap-drop", "ALL"), id="read-only, no capabilities"),
        pytest.param(("--user", "12345:12345"), id="numeric user"),
        pytest.param(("--read-only", "--cap-drop", "ALL", "--user", "12345:12345", "--shm-size", "64m"), id="all"),
        pytest.param(("--cpus", "1", "--pids-limit", "128"), id="one CPU of quota, few processes"),
    ],
)
def test_hostile_containers(image, folders, options):
    inputs, outputs = folders
    phantom(inputs)
    result = run(image, folders, *options)
    errors = [line for line in result.stderr.splitlines() if ": warning: " not in line]
    assert (result.returncode, errors) == (0, [])
    assert labels(outputs / "phantom.nii.gz").shape == (50, 40, 30)
    assert [path.name for path in outputs.iterdir()] == ["phantom.nii.gz"]


def test_without_an_output_mount_one_warning(image, folders):
    inputs, _ = folders
    phantom(inputs)
    command = ["docker", "run", "--rm", "--network", "none", "-v", f"{inputs}:/workspace/inputs", image]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stderr.count("is not a mount") == 1


def test_bad_scans_and_exit_status(image, folders):
    inputs, outputs = folders
    assert run(image, folders).returncode == 2
    phantom(inputs)
    whole = phantom(inputs, "cut_0000.nii.gz").read_bytes()
    (inputs / "cut_0000.nii.gz").write_bytes(whole[: len(whole) // 2])
    (inputs / "text.nii.gz").write_bytes(gzip.compress(b"words"))
    result = run(image, folders)
    assert result.returncode == 1
    failed = [line for line in result.stderr.splitlines() if ": failed: " in line]
    assert [line.split(":")[0] for line in failed] == ["cut", "text"]
    assert [path.name for path in outputs.iterdir()] == ["phantom.nii.gz"]


def test_threads_follow_the_quota_and_memory_the_limit(image, folders):
    code = "from app.run import resources as r; print(r.thread_count(), r.memory_limit())"
    result = run(image, folders, "--cpus", "1", command=["python", "-c", code])
    assert result.stdout.split() == ["1", str(8 << 30)]


def test_build_stops_with_one_line(tmp_path, project):
    wheel = tmp_path / "torch-2.13.0-cp311-cp311-manylinux_2_28_x86_64.whl"
    wheel.write_bytes(b"")
    result = build(project, tmp_path, "--with-torch", TORCH_WHEEL=str(wheel))
    assert result.returncode == 1
    assert "not a CPU build" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert build(project, tmp_path, "Capital").returncode == 1


@needs_cases
def test_the_image_with_torch_gives_the_mask_of_the_default_one(image, folders, tmp_path, project):
    """TorchScript in the one, OpenVINO float32 in the other, on a real scan."""
    name = f"{NAME}-torch"
    result = build(project, tmp_path, "--with-torch", name)
    if "not a CPU build" in result.stderr or "gathering torch failed" in result.stderr:
        skip(f"no CPU build of torch here: {result.stderr.strip()}")
    assert result.returncode == 0, result.stderr
    inputs, outputs = folders
    shutil.copy(CASES / "hcc_006_0000.nii.gz", inputs)
    try:
        result = run(name, folders, "--read-only", "--cap-drop", "ALL", "--user", "12345:12345")
        assert (result.returncode, result.stderr) == (0, "")
        torch = labels(outputs / "hcc_006.nii.gz")
        shutil.copy(phantom(inputs, "cut_0000.nii.gz"), inputs / "text.nii.gz")
        (inputs / "cut_0000.nii.gz").write_bytes(b"words")
        bad = run(name, folders, "--cpus", "1", "--pids-limit", "128")
        assert bad.returncode == 1
        assert next(line for line in bad.stderr.splitlines() if "failed" in line).startswith("cut: failed: ")
        assert (outputs / "text.nii.gz").exists()
        (inputs / "cut_0000.nii.gz").unlink()
        (inputs / "text.nii.gz").unlink()
        (outputs / "hcc_006.nii.gz").unlink()
        result = run(image, folders, command=["sh", "predict.sh", "--system", "viscera-float32"])
        assert (result.returncode, result.stderr) == (0, "")
    finally:
        subprocess.run(["docker", "image", "rm", "-f", name], capture_output=True, check=False)
    openvino = labels(outputs / "hcc_006.nii.gz")
    assert (torch == openvino).mean() >= 0.999
    inside = (torch > 0) | (openvino > 0)
    assert (torch == openvino)[inside].mean() >= 0.99
