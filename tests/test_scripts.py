"""The shell scripts where something is wrong: one line, and nothing that they did not make is removed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
WHEEL = "torch-2.0.0+cpu-cp311-cp311-linux_x86_64.whl"


def sh(*command, cwd=PROJECT, **environment):
    return subprocess.run(
        ["sh", *map(str, command)],
        cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def program(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("python", "message"),
    [
        pytest.param("nowhere/python", "no such program", id="not there"),
        pytest.param("no-such-python", "no such program", id="not in PATH"),
        pytest.param("plain", "no such program", id="not executable"),
        pytest.param("folder", "no such program", id="a folder"),
        pytest.param("older", "needs Python 3.11, {}/older is Python 3.9.1 (PYTHON=PATH names another)", id="not 3.11"),
        pytest.param("other", "needs Python 3.11, {}/other is usage: other", id="another program"),
    ],
)
def test_a_wrong_python_is_one_line(tmp_path, python, message):
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    program(tmp_path / "older", '[ "$1" = --version ] && echo Python 3.9.1 && exit', "exit 1")
    program(tmp_path / "other", "printf 'usage: other\\nand more\\n' >&2", "exit 2")
    name = python if python.startswith("no-") else str(tmp_path / python)
    result = sh("-euc", ". scripts/environment.sh; environment $0", tmp_path / "venv", PYTHON=name)
    assert result.returncode == 1
    (line,) = (result.stdout + result.stderr).splitlines()
    assert message.format(tmp_path) in line
    assert not (tmp_path / "venv").exists()


def cpu_torch(folder, wheel):
    """Runs it with a pip that says which arguments it got, and that everything is a CPU build."""
    program(
        folder / "venv/bin/python", f'for word; do echo "$word"; done >>"{folder}/said"', 'echo \'"version": "2+cpu"\''
    )
    return sh("-euc", ". scripts/environment.sh; cpu_torch $0", folder / "venv", TORCH_WHEEL=str(wheel))


def test_a_torch_wheel_in_a_folder_with_spaces(tmp_path):
    wheel = tmp_path / "my wheels" / WHEEL
    wheel.parent.mkdir()
    wheel.touch()
    assert cpu_torch(tmp_path, wheel).returncode == 0
    assert (tmp_path / "said").read_text().splitlines().count(str(wheel)) == 2  # once to look, once to install


def test_a_torch_wheel_that_is_not_there_is_one_line(tmp_path):
    result = cpu_torch(tmp_path, tmp_path / "my wheels" / WHEEL)
    assert result.returncode == 1
    assert result.stderr == f"TORCH_WHEEL={tmp_path}/my wheels/{WHEEL}: no such file\n"
    assert not (tmp_path / "said").exists()


@pytest.fixture
def build(tmp_path):
    """Runs build_and_save.sh in a copy, in a folder with a space, up to an engine that builds nothing."""
    project = tmp_path / "the project"
    project.mkdir()
    shutil.copy(PROJECT / "build_and_save.sh", project)
    program(tmp_path / "bin" / "python3", "exit 0")
    program(tmp_path / "bin" / "docker", '[ "$1" = info ] || { echo no build here >&2; exit 1; }')
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    def run(*options, **environment):
        return sh(project / "build_and_save.sh", *options, cwd=project, PATH=path, **environment), project

    return run


def test_a_build_with_a_torch_wheel_in_a_folder_with_spaces(build, tmp_path):
    wheel = tmp_path / "my wheels" / WHEEL
    wheel.parent.mkdir()
    wheel.write_text("a wheel")
    for _ in range(2):  # what it gathered itself may go
        result, project = build("--with-torch", TORCH_WHEEL=str(wheel))
        assert "docker build failed; the last line was: no build here" in result.stderr
        assert (project / "build" / "wheels" / WHEEL).read_text() == "a wheel"


def test_a_build_removes_no_wheels_that_it_has_not_gathered(build):
    _, project = build("--help")
    kept = project / "build" / "wheels" / "mine.whl"
    kept.parent.mkdir(parents=True)
    kept.write_text("of a user")
    result, _ = build()
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "build/wheels was not made by this script; move it away" in line
    assert kept.read_text() == "of a user"


def test_a_build_ends_with_the_sizes_of_archive_and_image(build, tmp_path):
    _, project = build("--help")
    shutil.copytree(PROJECT / "tests" / "data", project / "tests" / "data")
    program(
        tmp_path / "bin" / "docker",
        'case "$1" in',
        "run) printf mask | gzip >build/trial/outputs/phantom.nii.gz ;;",
        'save) head -c 3000000 /dev/urandom >"$3" ;;',
        "image) echo 656123456 ;;",
        "esac",
    )
    result, project = build("team")
    assert result.returncode == 0, result.stderr
    size = (project / "team.tar.gz").stat().st_size
    assert result.stdout.splitlines()[-2:] == [
        f"team.tar.gz: 3 MB ({size} bytes)",
        "team:latest: 656 MB uncompressed, its base included (656123456 bytes)",
    ]


def test_a_build_replaces_no_archive_but_that_of_an_earlier_one(build):
    _, project = build("--help")
    (project / "team.tar.gz").write_text("of a user")
    result, _ = build("team")
    (line,) = result.stderr.splitlines()
    assert "team.tar.gz is not of an earlier build here" in line
    subprocess.run("sha256sum team.tar.gz >team.tar.gz.sha256", cwd=project, shell=True, check=True)
    assert "docker build failed" in build("team")[0].stderr
    assert (project / "team.tar.gz").read_text() == "of a user"
