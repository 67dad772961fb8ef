"""The shell scripts where something is wrong: one line, and nothing that they did not make is removed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.made_up import save_project

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


@pytest.mark.parametrize(
    ("where", "command"),
    [
        pytest.param("work space", "sh predict.sh --strict", id="as the challenge calls it"),
        pytest.param("work space", '/bin/bash -c "sh predict.sh --strict"', id="and through bash"),
        pytest.param("elsewhere", 'sh "{}/work space/predict.sh" --strict', id="from another folder"),
        pytest.param("/", 'sh "{}/work space/predict.sh" --strict', id="from the root"),
        pytest.param(".", 'sh "work space/predict.sh" --strict', id="from the folder above"),
    ],
)
def test_predict_runs_the_program_beside_it_wherever_it_is_called_from(tmp_path, where, command):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "work space").mkdir()
    shutil.copy(PROJECT / "predict.sh", tmp_path / "work space")
    program(tmp_path / "bin" / "python", 'pwd; echo "$@"')
    result = sh("-c", command.format(tmp_path), cwd=tmp_path / where, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    place, said = result.stdout.splitlines()
    assert (result.returncode, place) == (0, str(tmp_path / "work space"))
    assert said == "-m app --inputs /workspace/inputs --outputs /workspace/outputs --strict"


def test_the_image_calls_predict_by_its_whole_path():
    last = (PROJECT / "Dockerfile").read_text().splitlines()[-1]
    assert last == 'CMD ["sh", "/workspace/predict.sh"]'


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


@pytest.fixture
def stage(tmp_path):
    """Packs a system of the made-up ones, by a Python that has its standard library alone; what then is there."""
    project, out = save_project(tmp_path), tmp_path / "out"

    def run(*options):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        command = [sys.executable, "-I", "-S", "-B", PROJECT / "scripts" / "stage_image.py", project, out, *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return result, sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())

    return run


SMALL = ["bundle.json", "small.bin", "small.xml"]
LARGE = ["bundle.json", "large.bin", "large.xml"]


def files(**bundles):
    return [f"weights/{bundle}/{name}" for bundle, names in bundles.items() for name in names]


def test_an_image_holds_the_systems_of_its_bundles_and_the_engines_that_they_name(stage):
    result, found = stage("ours")
    assert (result.returncode, result.stderr) == (0, "")
    both = sorted({*SMALL, *LARGE})
    assert found == ["systems/ours-float32.toml", "systems/ours.toml", *files(coarse=SMALL, fine=both)]
    assert "left out: " in result.stdout  # torn.toml is no system
    _, found = stage("ours-torch", "--with-torch")
    systems = ["systems/ours-float32.toml", "systems/ours-torch.toml", "systems/ours.toml"]
    assert found == [*systems, *files(coarse=SMALL, fine=sorted({*both, "model.pt"}))]


def test_a_system_alone_takes_what_it_extends_its_bundles_and_its_engines(stage):
    result, found = stage("ours-float32", "--alone")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert found == ["systems/ours-float32.toml", "systems/ours.toml", *files(coarse=SMALL, fine=LARGE)]
    _, found = stage("twice", "--alone")
    averaged = {"organs": SMALL, "tumour-1": SMALL, "tumour-2": SMALL}
    assert found == ["systems/twice.toml", *files(**averaged)]


def test_figures_go_with_the_systems(stage, tmp_path):
    (tmp_path / "systems" / "measured.json").write_text("{}")
    assert "systems/measured.json" in stage("twice", "--alone")[1]


@pytest.mark.parametrize(
    ("system", "change", "message"),
    [
        pytest.param("none", None, "none.toml: cannot be read: No such file or directory; known", id="no system"),
        pytest.param("torn", None, "systems/torn.toml: not TOML", id="no TOML"),
        pytest.param("ours-torch", None, "ours-torch.toml: runs in TorchScript; build it --with-torch", id="no torch"),
        pytest.param("lost", None, "weights/lost/bundle.json: cannot be read: No such", id="no bundle"),
        pytest.param("ours", "drop", "coarse/small.bin: named in bundle.json, not there", id="no file"),
        pytest.param("ours", "change", "coarse/small.bin: SHA-256 is not the one in bundle.json", id="another file"),
        pytest.param("ours", "no engine", "coarse/bundle.json: names no files of openvino-int8", id="no engine"),
        pytest.param("ours", "whole path", "ours.toml: bundle /coarse is not in weights/", id="a bundle elsewhere"),
        pytest.param("ours", "no stage", "ours.toml: its stages do not name bundle and engine", id="no stage"),
        pytest.param("ours", "a number", "ours.toml: its stages do not name bundle and engine", id="a bundle of 3"),
        pytest.param("ours", "above", "ours.toml: extends ../base, which is not in systems/", id="a base elsewhere"),
    ],
)
def test_what_cannot_be_packed_is_one_line(stage, tmp_path, system, change, message):
    coarse, ours = tmp_path / "weights" / "coarse", tmp_path / "systems" / "ours.toml"
    if change == "drop":
        (coarse / "small.bin").unlink()
    elif change == "change":
        (coarse / "small.bin").write_text("other")
    elif change == "no engine":
        (coarse / "bundle.json").write_text('{"files": {}}')
    elif change:
        text = ours.read_text()
        (tmp_path / "base.toml").write_text(text)
        texts = {
            "whole path": text.replace('"coarse"', '"/coarse"'),
            "no stage": "stage = 3",
            "a number": text.replace('"coarse"', "3"),
            "above": 'extends = "../base"\n',
        }
        ours.write_text(texts[change])
    result, _ = stage(system, "--alone")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert message in line


def test_an_older_python_reads_toml_by_its_pip_or_is_told(tmp_path):
    """Its standard library has no tomllib; pip brings the same parser under another name."""
    script, project, out = PROJECT / "scripts" / "stage_image.py", save_project(tmp_path), tmp_path / "out"
    out.mkdir()
    arguments = [str(script), str(project), str(out), "twice", "--alone"]
    older = f"import runpy, sys; sys.modules['tomllib'] = None; sys.argv = {arguments}; "
    older += f"runpy.run_path({str(script)!r}, run_name='__main__')"

    def run(*options):
        command = [sys.executable, "-I", "-B", *options, "-c", older]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("-S").stderr == "stage_image.py: needs Python 3.11, or an older one with pip 21.2 or newer\n"
    assert list(out.iterdir()) == []
    assert run().returncode == 0
    assert (out / "systems" / "twice.toml").is_file()


def test_a_build_of_a_system_says_which_and_names_the_image_after_it(build, tmp_path):
    program(tmp_path / "bin" / "python3", f'echo "$@" >>"{tmp_path}/said"')
    program(tmp_path / "bin" / "docker", f'[ "$1" = info ] || {{ echo "$@" >>"{tmp_path}/said"; exit 1; }}')
    build("--system", "dkfz-half")
    said = (tmp_path / "said").read_text()
    assert "stage_image.py" in said
    assert " dkfz-half --alone\n" in said
    assert "--build-arg SYSTEM=dkfz-half --tag dkfz-half:latest" in said
    build("--system", "dkfz-half", "--with-torch", "team", TORCH_WHEEL="/none")
    assert " dkfz-half --alone --with-torch\n" in (tmp_path / "said").read_text()
    (tmp_path / "said").unlink()
    build()
    said = (tmp_path / "said").read_text()
    assert " viscera\n" in said
    assert "--alone" not in said
    assert "--build-arg SYSTEM=viscera --tag viscera:latest" in said


@pytest.mark.parametrize("arguments", [("--system",), ("--system", "--with-torch"), ("--system", "a/b"), ("a", "b")])
def test_a_build_with_wrong_words_is_one_line(build, arguments):
    result, project = build(*arguments)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert ("--system takes the NAME of a file" if "--system" in arguments else "one IMAGE_NAME") in line
    assert not (project / "build").exists()


def test_what_cannot_be_packed_ends_a_build_before_wheels_are_gathered(build, tmp_path):
    program(tmp_path / "bin" / "python3", 'case "$*" in *stage_image*) echo "no such bundle" >&2; exit 1 ;; esac')
    result, project = build("--system", "lost")
    assert result.stderr == "build_and_save.sh: no such bundle\n"
    assert not (project / "build" / "wheels").exists()
