"""Promises about the project as a whole: who may import whom, and what the image's requirements are."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = sorted((PROJECT / "app").glob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_app_imports_nothing_that_the_image_lacks(path):
    packages = {name.split(".")[0] for name in imported(path)}
    assert not packages & {"training", "evaluation", "tests", "scipy", "matplotlib", "PIL", "monai"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_uses_the_inside_of_another(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("app"):
            assert not [alias.name for alias in node.names if re.match(r"_(?!_)", alias.name)]


@pytest.mark.parametrize("path", [PROJECT / "requirements.txt", *sorted((PROJECT / "requirements").glob("*.txt"))])
def test_every_requirement_is_pinned(path):
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    assert all("==" in line or line.startswith("-r ") for line in lines if line)


def test_only_the_pipeline_knows_the_order():
    steps = {"locate", "segment", "clean", "restore", "write"}
    for path in MODULES:
        used = {name.removeprefix("app.") for name in imported(path) if name.startswith("app.")}
        assert path.stem == "pipeline" or len(used & steps) <= 1
