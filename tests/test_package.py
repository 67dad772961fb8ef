"""What `pip install .` brings: the program, and what the default image holds."""

import os
import shutil
import site
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import __version__

PROJECT = Path(__file__).parent.parent
PACKAGE = tomllib.loads((PROJECT / "pyproject.toml").read_text())


def test_the_package_holds_what_the_default_image_holds(tmp_path):
    command = [sys.executable, "-B", PROJECT / "scripts" / "stage_image.py", PROJECT, tmp_path, "viscera"]
    subprocess.run(command, check=True, capture_output=True)
    staged = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    table = PACKAGE["tool"]["setuptools"]["data-files"]
    assert {name for names in table.values() for name in names} == staged
    assert all(Path("share/viscera", name).parent == Path(place) for place, names in table.items() for name in names)


def test_the_package_needs_what_the_image_needs_and_has_its_version():
    assert PACKAGE["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.txt"]}
    assert PACKAGE["project"]["version"] == __version__


@pytest.mark.parametrize(("beside", "root"), [(True, "checkout"), (False, "prefix/share/viscera")])
def test_systems_lie_beside_the_program_or_where_pip_puts_them(tmp_path, beside, root):
    shutil.copytree(PROJECT / "app", tmp_path / "checkout" / "app", ignore=shutil.ignore_patterns("__pycache__"))
    if beside:
        (tmp_path / "checkout" / "systems").mkdir()
    code = f"import sys; sys.prefix = {str(tmp_path / 'prefix')!r}; from app.system import definition as d"
    code += "; print(d.SYSTEMS, d.WEIGHTS)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "checkout", capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [f"{tmp_path}/{root}/systems", f"{tmp_path}/{root}/weights"]


@pytest.mark.slow
def test_the_command_segments_from_any_folder(tmp_path):
    """The wheel in an environment of its own, which has the packages of this one beside it."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools to build a wheel without an index")
    ours = shutil.ignore_patterns(".*", "build", "__pycache__", "*.tar.gz*", "training", "evaluation", "tests", "docs")
    project = shutil.copytree(PROJECT, tmp_path / "project", ignore=ours)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    place = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    (place / "ours.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", "--python", tmp_path / "venv" / "bin" / "python", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", project]
    result = subprocess.run(install, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    phantom = PROJECT / "tests" / "data" / "phantom_0000.nii.gz"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for words in (["--list-systems"], ["--inputs", phantom, "--outputs", tmp_path / "out"]):
        command = [tmp_path / "venv" / "bin" / "viscera", *words]
        result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "phantom.nii.gz").stat().st_size
