"""In a real engine, with a small image that does what its scan's name says; skipped where no engine answers."""

import subprocess

import pytest

from app.errors import SetupError
from evaluation import containers
from evaluation.containers import CGROUP, ENGINE, Engine, run_case
from evaluation.time_cases import container_case, judged
from tests.shared import no_engine, skip

pytestmark = pytest.mark.slow
NAME = "harness-under-test"

DOCKERFILE = """FROM python:3.11-slim-bookworm
WORKDIR /workspace
COPY predict.sh work.py ./
"""
WORK = """
import pathlib, sys, time
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
    end = time.time() + 1.5
    while time.time() < end:
        pass
if not scan.name.startswith("silent"):
    mask.write_text("a mask")
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
    subprocess.run(
        ["docker", "build", "--network", "none", "-q", "-t", NAME, str(folder)], check=True, capture_output=True
    )
    yield engine.image(NAME)
    subprocess.run(["docker", "image", "rm", "-f", NAME, "other"], capture_output=True, check=False)


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
def test_every_end_is_a_row(engine, image, tmp_path, name, expected):  # noqa: ARG001
    case = container_case(engine, NAME, memory="200m", limit=5)
    result = case(scan(tmp_path, name), tmp_path / "workspace")
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
    found = run_case(engine, image, scan(tmp_path, "large"), tmp_path / "workspace", memory="1g")
    if source == CGROUP and found.source == ENGINE:
        skip("the containers' cgroups cannot be read here")
    assert (found.source, found.out_of_memory, found.run.status) == (source, False, 0)
    assert 100e6 < found.run.peak_memory < 200e6
    assert 0.5 < found.run.cpu_seconds < 5
    assert found.run.own_cpu_seconds < (0.02 if source == CGROUP else 0.2) * max(found.run.cpu_seconds, 1)
    assert (
        judged(tmp_path / "large_0000.nii.gz", found.run, tmp_path / "workspace", source, out_of_memory=False).status
        == "done"
    )


def test_the_organisers_command(engine, image, tmp_path, monkeypatch):
    commands = []

    def recorded(command, *_, **__):
        commands.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(containers, "measure", recorded)
    for network in (False, True):
        with pytest.raises(KeyboardInterrupt):
            run_case(engine, image, scan(tmp_path, "fine"), tmp_path / "w", memory="8G", network=network)
    plain = [word for word in commands[1] if word not in ("--cidfile", str(tmp_path / "w" / "id"))]
    # the protocol's line, word by word
    line = f"docker container run -m 8G --name {NAME} --rm -v {tmp_path}/w/inputs/:/workspace/inputs/ "
    line += f"-v {tmp_path}/w/outputs/:/workspace/outputs/ {NAME}:latest /bin/bash -c"
    assert plain == [*line.split(), "sh predict.sh"]
    assert [word for word in commands[0] if word not in commands[1]] == ["--network", "none"]


def test_images_by_archive_and_by_name(engine, image, tmp_path):
    assert (image.name, image.team) == (f"{NAME}:latest", NAME)
    archive = tmp_path / f"{NAME}.tar.gz"
    subprocess.run(["docker", "save", f"{NAME}:latest", "-o", str(archive)], check=True)
    assert engine.image(str(archive)) == image
    other = archive.rename(tmp_path / "Team.tar.gz")
    with pytest.raises(SetupError, match=rf"holds {NAME}:latest, but the organisers run team:latest"):
        engine.image(str(other))
    other.write_text("no archive")
    with pytest.raises(SetupError, match="cannot load"):
        engine.image(str(other))
    with pytest.raises(SetupError, match="no such file and no image"):
        engine.image("nowhere")
