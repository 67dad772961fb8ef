"""The papers' recipes, at their width: that they load, and build the networks that the papers print."""

from pathlib import Path

import pytest

from training.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
PAPERS = RECIPES / "papers"
NAMES = sorted(path.stem for path in PAPERS.glob("*.toml") if path.stem != "common")

PARAMETERS = {
    "lyy1-teacher": 30_794_784,
    "lyy1": 30_266_896,
    "hanglok-locate": 1_367_618,
    "hanglok": 9_373_994,
    "hanglok-deep": 11_810_714,
    "sdust": 5_644_256,
    "cfs-coarse": 30_794_784,
    "cfs-organs": 30_794_784,
    "cfs-tumour-1": 30_795_584,
    "cfs-tumour-2": 30_795_584,
    "dkfz": 30_713_158,
    "dkfz-half": 30_713_158,
}


def paper(name):
    return load_recipe(PAPERS / f"{name}.toml")


def test_every_recipe_is_known_here():
    assert set(PARAMETERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_network_has_the_papers_parameters(name):
    torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
    from training.networks import build_network

    recipe = paper(name)
    assert recipe.name == name
    with torch.device("meta"):
        network = build_network(recipe.network, recipe.classes)
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_narrow_one_at_full_width(name):
    """Kind, plan and classes; a paper's systems take either, by the same names."""
    narrow, recipe = load_recipe(RECIPES / f"{name.removesuffix('-deep')}.toml"), paper(name)
    assert (recipe.network.kind, recipe.network.plan) == (narrow.network.kind, narrow.network.plan)
    assert (recipe.role, recipe.labels) == (narrow.role, narrow.labels)


@pytest.mark.parametrize("name", NAMES)
def test_windows_are_the_patches(name):
    recipe = paper(name)
    if recipe.role == "fine":
        assert recipe.export.window["largest"] == [*recipe.stages[-1].shape]


def test_the_student_meets_its_teacher():
    pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
    from training.distillation import check_shapes

    check_shapes(paper("lyy1"), paper("lyy1-teacher"))


def test_levels_count_as_the_papers_say():
    """Five heads of which the coarsest weighs nothing, six of the student; all four of paper 002's."""
    counted = {name: paper(name).loss.counted_levels for name in NAMES}
    assert counted == {
        **dict.fromkeys(NAMES, 4), "lyy1": 5, "hanglok-locate": 0, "hanglok": 0, "hanglok-deep": 0, "sdust": 0,
    }  # fmt: skip
