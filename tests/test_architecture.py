"""Promises about the project as a whole: who may import whom, and what the image's requirements are."""

import ast
import re
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
MODULES = sorted((PROJECT / "app").rglob("*.py"))

IMAGE_PACKAGES = {"app", "cc3d", "isal", "nibabel", "numpy", "openvino", "SimpleITK", "tqdm", "torch"}


def imported(path):
    """Dotted names: `from app.steps import region` is app.steps.region."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_app_imports_nothing_that_the_image_lacks(path):
    packages = {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
    assert packages <= IMAGE_PACKAGES


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_uses_the_inside_of_another(path):
    tree = ast.parse(path.read_text())
    private = re.compile(r"_(?!_)")
    assert not [name for name in imported(path) if name.startswith("app.") and private.match(name.split(".")[-1])]
    modules = {name.split(".")[-1] for name in imported(path) if name.startswith("app.")}
    attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    assert not [node.attr for node in attributes if node.value.id in modules and private.match(node.attr)]


@pytest.mark.parametrize("path", [PROJECT / "requirements.txt", *sorted((PROJECT / "requirements").glob("*.txt"))])
def test_every_requirement_is_pinned(path):
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    assert all("==" in line or line.startswith("-r ") for line in lines if line)


# each room of app may use those on the right, and the words that all share (SHARED below)
ROOMS = {
    "files": set(),
    "models": set(),
    "steps": {"models"},
    "system": {"models", "steps"},
    "run": {"files", "models", "steps", "system"},
}
SHARED = {"__init__", "__main__", "alignment", "errors", "grid", "notice", "schema", "types"}


def test_app_is_its_rooms_and_what_they_share():
    assert {path.stem for path in (PROJECT / "app").glob("*.py")} == SHARED
    assert {path.parent.name for path in (PROJECT / "app").glob("*/*.py")} == ROOMS.keys()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_arrows_between_rooms_point_one_way(path):
    used = {name.split(".")[1] for name in imported(path) if name.startswith("app.")} & ROOMS.keys()
    room = path.parent.name
    if room in ROOMS:
        assert used <= ROOMS[room] | {room}
    elif path.stem != "__main__":
        assert not used


EVALUATION = sorted((PROJECT / "evaluation").rglob("*.py"))
COMMANDS = {path.stem for path in (PROJECT / "evaluation").glob("*.py")} - {"__init__"}
EVALUATION_ROOMS = {  # as those of app; contenders stand alone
    "shared": set(),
    "contenders": set(),
    "scores": {"shared"},
    "efficiency": {"shared"},
    "pictures": {"shared"},
    "benchmark": {"shared", "scores", "efficiency"},
    "maintenance": {"shared", "scores", "efficiency"},
}


def test_evaluation_is_its_commands_and_its_rooms():
    assert {path.parent.name for path in (PROJECT / "evaluation").glob("*/*.py")} == EVALUATION_ROOMS.keys()
    parsing = {path for path in EVALUATION if "argparse.ArgumentParser(" in path.read_text()}
    assert {path.stem for path in parsing if path.parent.name != "contenders"} == COMMANDS


@pytest.mark.parametrize("path", EVALUATION, ids=lambda path: path.stem)
def test_arrows_between_rooms_of_evaluation_point_one_way(path):
    used = {name.split(".")[1] for name in imported(path) if name.startswith("evaluation.")}
    assert used <= EVALUATION_ROOMS.keys(), "a command is nobody's part"
    room = path.parent.name
    if room in EVALUATION_ROOMS:
        assert used <= EVALUATION_ROOMS[room] | {room}


@pytest.mark.parametrize("path", EVALUATION, ids=lambda path: path.stem)
def test_evaluation_uses_no_inside_of_another(path):
    names = [name.split(".")[-1] for name in imported(path) if name.startswith(("app.", "evaluation."))]
    assert not [name for name in names if re.match(r"_(?!_)", name)]


@pytest.mark.parametrize("path", EVALUATION, ids=lambda path: path.stem)
def test_contenders_stand_alone(path):
    """They run in an environment that lacks what the rest of evaluation needs, and the rest runs without theirs."""
    inside = path.parent.name == "contenders"
    names = {name for name in imported(path) if name.startswith("evaluation.")}
    assert all(name.startswith("evaluation.contenders.") == inside for name in names)


def test_only_one_place_knows_an_order():
    """Of the steps of a model `run.stage`, of a case `run.pipeline`; a step knows two others at the most."""
    for path in MODULES:
        used = {name.split(".")[2] for name in imported(path) if name.startswith("app.steps.")}
        if path.parent.name == "steps":
            assert len(used) <= 2, path.stem
        elif path.parent.name == "system":
            assert used <= {"clean", "merge", "region", "walk"}, path.stem  # what its rules are made of
        elif path.stem not in {"pipeline", "stage", "__init__"}:
            known = {
                "view": {"crop", "straighten", "surroundings"},
                "second_look": {"doubt"},
                "outcome": {"doubt"},  # keeps its evidence
            }
            assert used <= known.get(path.stem, set()), path.stem


PACK_SIDE = (
    "arithmetic", "augment", "carry", "distillation", "evaluate", "lesions", "losses", "networks", "optimiser", "pack",
    "recipe", "run_files", "sample", "start", "teacher", "train", "transplant", "volumes", "weighted_loss",
)  # fmt: skip
NUMBA_SIDE = {"convolution_loops", "depthwise", "depthwise_loops"}  # imported where numba is
PACK_FILES = [path for name in PACK_SIDE for path in (PROJECT / "training").glob(f"{name}.py")]
PACK_FILES += [path for path in (PROJECT / "training" / "networks").glob("*.py") if path.stem not in NUMBA_SIDE]


@pytest.mark.parametrize("path", PACK_FILES, ids=lambda path: path.stem)
def test_training_on_a_pack_imports_torch_and_numpy_alone(path):
    """As far as modules go; what a function needs beside them it imports when it is called."""
    body = ast.parse(path.read_text()).body
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in imports if isinstance(node, ast.ImportFrom)]
    outside = {dotted.split(".")[0] for dotted in names} - sys.stdlib_module_names
    assert outside <= {"numpy", "torch", "training"}
    assert {dotted.split(".")[1] for dotted in names if dotted.startswith("training.")} <= set(PACK_SIDE)
