"""In a real engine, with a small image that does what its scan's name says; skipped where no engine answers."""

import subprocess

import numpy as np
import pytest

from app.errors import SetupError
from evaluation.efficiency import containers
from evaluation.efficiency.containers import CGROUP, ENGINE, Engine
from evaluation.efficiency.timing import container_timer, workspace
from tests.files import save_nifti
from tests.shared import no_engine, skip

pytestmark = pytest.mark.slow
NAME = "harness-under-test"

DOCKERFILE = """FROM python:3.11-slim-bookworm
WORKDIR /workspace
COPY predict.sh work.py mask.nii.gz ./
"""
WORK = """
import pathlib, shutil, sys, time
(scan,) = pathlib.Path("/workspace/inputs").iterdir()
mask = pathlib.Path("/workspace/outputs") / scan.name.replace("_0000", "")
print("working on", scan.name, flush=True)
if scan.name.startswith("hungry"):
    held = []
    while True:
        held.append(bytearray(b"x" * 10_000_000))
if scan.name.startswith("slow"):
    time.sleep(60)
if scan.name.startswith("broken"):
    sys.exit(3)
if scan.name.startswith("large"):
    held = bytearray(b"x" * 100_000_000)
    while time.process_time() < 1:  # and not by the clock: other work may have the CPUs
        pass
if not scan.name.startswith("silent"):
    shutil.copy("mask.nii.gz", mask)
"""


@pytest.fixture(scope="module")
def engine():
    if reason := no_engine():
        skip(reason)
    with Engine() as found:
        yield found


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "predict.sh").write_text("python3 work.py\n")
    (folder / "work.py").write_text(WORK)
    save_nifti(folder / "mask.nii.gz", np.zeros((2, 2, 2), np.uint8))
    subprocess.run(
        ["docker", "build", "--network", "none", "-q", "-t", NAME, str(folder)], check=True, capture_output=True
    )
    yield engine.image(NAME)
    subprocess.run(["docker", "image", "rm", "-f", NAME], capture_output=True, check=False)


def scan(folder, name):
    path = folder / f"{name}_0000.nii.gz"
    path.write_text("a scan")
    return path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("fine", "done", id="done"),
        pytest.param("silent", "no mask", id="no mask"),
        pytest.param("broken", "exit status 3", id="failed"),
        pytest.param("slow", "time limit", id="killed at its time limit"),
        pytest.param("hungry", "out of memory", id="killed for memory"),
    ],
)
def test_every_end_is_a_row(engine, image, tmp_path, name, expected):
    timer = container_timer(engine, image, memory="200m", limit=5)
    with workspace(tmp_path) as place:
        result = timer(scan(tmp_path, name), place)
    assert result.status == expected
    last_words = {"fine": "", "hungry": "Killed"}  # the latter are the shell's
    assert result.note == last_words.get(name, f"working on {name}_0000.nii.gz")
    left = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"name={NAME}"], capture_output=True, text=True, check=True
    )
    assert left.stdout == ""


@pytest.mark.parametrize("source", [CGROUP, ENGINE])
def test_what_the_container_uses(engine, image, tmp_path, monkeypatch, source):
    if source == ENGINE:
        monkeypatch.setattr(containers, "find_cgroup", lambda _: None)
    with workspace(tmp_path) as place:
        found = container_timer(engine, image, memory="1g")(scan(tmp_path, "large"), place)
    if source == CGROUP and found.source == ENGINE:
        skip("the containers' cgroups cannot be read here")
    assert (found.source, found.status) == (source, "done")
    assert 100e6 < found.run.peak_memory < 200e6
    assert 0.5 < found.run.cpu_seconds < 5
    # asking the engine costs more than reading a file does
    assert found.run.own_cpu_seconds < (0.02 if source == CGROUP else 0.2) * max(found.run.cpu_seconds, 1)


def test_a_limit_before_there_is_a_container(engine, image, tmp_path, monkeypatch):
    """The client is all there is to end."""
    monkeypatch.setattr(containers, "_identity", lambda _: "")
    with workspace(tmp_path) as place:
        result = container_timer(engine, image, limit=0.5)(scan(tmp_path, "slow"), place)
    assert result.status == "time limit"
    subprocess.run(["docker", "rm", "-f", NAME], capture_output=True, check=True)


def test_a_scan_that_cannot_be_read_is_a_row(engine, image, tmp_path):
    dangling = tmp_path / "a_0000.nii.gz"
    dangling.symlink_to("nowhere")
    with workspace(tmp_path) as place:
        result = container_timer(engine, image)(dangling, place)
    assert result.status == "not read"
    assert "No such file" in result.note


def test_the_organisers_command(engine, image, tmp_path, monkeypatch):
    commands = []

    def recorded(command, *_, **__):
        commands.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(containers, "measure", recorded)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    for network in (False, True):
        with pytest.raises(KeyboardInterrupt), workspace(tmp_path) as place:
            container_timer(engine, image, network=network)(scan(tmp_path, "fine"), place)
    first, second = ([word for word in command if "/container" not in word] for command in commands)
    plain = [word for word in second if word != "--cidfile"]
    # the protocol's line, word by word
    line = f"docker container run -m 8G --name {NAME} --rm -v {place.inputs}/:/workspace/inputs/ "
    line += f"-v {place.outputs}/:/workspace/outputs/ {NAME}:latest /bin/bash -c"
    assert plain == [*line.split(), "sh predict.sh"]
    assert [word for word in first if word not in second and "/workspace" not in word] == ["--network", "none"]
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path) as place:
        container_timer(engine, image, network=True)(scan(tmp_path, "fine"), place)
    assert [word for word in commands[-1] if word not in commands[1] and "/" not in word] == [
        "-e",
        "ONEDNN_MAX_CPU_ISA",
    ]


def test_images_by_archive_and_by_name(engine, image, tmp_path):
    assert (image.name, image.team) == (f"{NAME}:latest", NAME)
    archive = tmp_path / f"{NAME}.tar.gz"
    subprocess.run(["docker", "save", f"{NAME}:latest", "-o", str(archive)], check=True)
    assert engine.image(str(archive)) == image
    subprocess.run(["docker", "tag", NAME, "team:v2"], check=True)
    other = tmp_path / "Team.tar.gz"
    subprocess.run(["docker", "save", "team:v2", "-o", str(other)], check=True)
    with pytest.raises(SetupError, match=r"holds team:v2, but the organisers run team:latest"):
        engine.image(str(other))
    subprocess.run(["docker", "image", "rm", "team:v2"], check=True, capture_output=True)
    archive.rename(other)
    with pytest.raises(SetupError, match=rf"holds {NAME}:latest, but the organisers run team:latest"):
        engine.image(str(other))
    other.write_text("no archive")
    with pytest.raises(SetupError, match="no image with a name in it"):
        engine.image(str(other))
    identity = subprocess.run(
        ["docker", "images", "-q", NAME], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert engine.image(identity).name == identity
    with pytest.raises(SetupError, match="no such file and no image"):
        engine.image("nowhere")
