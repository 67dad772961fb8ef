import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import TINY, write_data, write_recipe  # noqa: E402
from training import pack  # noqa: E402
from training.layout import find_cases  # noqa: E402
from training.pack import is_pack, open_pack, write_pack  # noqa: E402
from training.prepare import load_volumes  # noqa: E402
from training.recipe import load_recipe  # noqa: E402

PROJECT = Path(__file__).parents[2]
SPACING = (3.0, 3.0, 3.0)

TRAIN = """
import sys
from importlib.metadata import packages_distributions, requires
from re import match

bare = {"numpy"}  # what a machine has that has torch: torch and all that it requires
waiting = ["torch"]
while waiting:
    bare.add(name := waiting.pop())
    lines = [line for line in requires(name) or () if "extra ==" not in line and "platform_" not in line]
    needed = {match("[A-Za-z0-9_.-]+", line)[0].replace("-", "_") for line in lines}
    waiting += needed - bare
refused = {"app", "evaluation"}
for name, owners in packages_distributions().items():
    if name not in sys.stdlib_module_names and not bare & {owner.replace("-", "_") for owner in owners}:
        refused.add(name)

sys.modules |= dict.fromkeys(refused - set(sys.modules))  # None: neither found nor imported
from training.train import main
main()
assert not any(sys.modules.get(name) for name in ("app", "SimpleITK", "openvino", "matplotlib", "numba"))
"""


@pytest.fixture
def recipe_path(tmp_path):
    return write_recipe(tmp_path)


@pytest.fixture
def packed(tmp_path, recipe_path, monkeypatch, capsys):
    data = write_data(tmp_path / "data")
    arguments = ["--data", str(data), "--spacing", "3", "3", "3", "--out", str(tmp_path / "pack")]
    monkeypatch.setattr(sys, "argv", ["pack", str(recipe_path), *arguments])
    pack.main()
    assert "MB in 3 files" in capsys.readouterr().out
    return tmp_path / "pack"


def test_volumes_come_out_as_they_went_in(packed, recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    stage = replace(recipe.stages[-1], spacing_mm=SPACING)
    assert is_pack(packed)
    assert not is_pack(tmp_path)
    out = open_pack(packed).volumes(recipe, stage, False)
    before = list(load_volumes(find_cases(tmp_path / "data"), SPACING, recipe))
    assert out.names == [volume.name for volume in before]
    assert out.patients == ["A", "A", "B"]
    for index, volume in enumerate(before):
        got = out[index]
        assert torch.equal(got.labels, volume.labels)
        assert (got.extent, got.organ_free, got.patient) == (volume.extent, volume.organ_free, volume.patient)
        for ours, theirs in zip(got.organ_points, volume.organ_points, strict=True):
            assert torch.equal(ours, theirs)
        clipped = volume.image.clamp(-512, 508)
        assert (got.image - clipped).abs().max() <= 2  # kept in steps of 4 HU
        assert out.has_organ_free[index] == bool(volume.organ_free)


def test_the_fold_is_in_the_pack_and_left_out_of_training(packed, recipe_path):
    recipe = load_recipe(recipe_path)
    first, last = recipe.stages
    opened = open_pack(packed)
    assert opened.volumes(recipe, first, False).names == ["a1", "a2"]
    assert opened.volumes(recipe, first, True).names == ["b"]
    assert opened.volumes(recipe, replace(last, spacing_mm=SPACING), False).names == ["a1", "a2", "b"]


@pytest.mark.slow
def test_a_pack_trains_with_torch_and_numpy_alone(packed, tmp_path):
    command = [sys.executable, "-c", TRAIN, str(packed / "tiny.json"), "--data", str(packed), "--out"]
    result = subprocess.run([*command, str(tmp_path / "run")], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "fold's mean Dice" in result.stdout
    assert (tmp_path / "run" / "averaged.pt").exists()
    assert len((tmp_path / "run" / "evaluations.csv").read_text().splitlines()) == 3


def test_two_runs_of_one_model_travel_together(tmp_path, recipe_path, monkeypatch, capsys):
    """Recipes of the same name, the second to start from the first; the pack knows them by their files."""
    second = recipe_path.with_name("second.toml")
    second.write_text(recipe_path.read_text())
    arguments = ["--data", str(write_data(tmp_path / "data")), "--spacing", "3", "3", "3"]
    monkeypatch.setattr(
        sys, "argv", ["pack", str(recipe_path), str(second), *arguments, "--out", str(tmp_path / "pack")]
    )
    pack.main()
    assert "MB in 4 files" in capsys.readouterr().out
    first, again = (load_recipe(tmp_path / "pack" / name) for name in (f"{recipe_path.stem}.json", "second.json"))
    assert first == again == load_recipe(recipe_path)


def test_parts_are_no_larger_than_they_may_be(tmp_path, recipe_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    volumes = list(load_volumes(find_cases(write_data(tmp_path / "data")), SPACING, recipe))
    write_pack(volumes[:1], {"one": recipe}, SPACING, tmp_path / "one")
    one = (tmp_path / "one" / "part-0000.bin").stat().st_size
    monkeypatch.setattr(pack, "PART_BYTES", 2 * one + 100)
    write_pack(volumes, {"tiny": recipe}, SPACING, tmp_path / "pack")
    parts = sorted((tmp_path / "pack").glob("*.bin"))
    assert [path.name for path in parts] == ["part-0000.bin", "part-0001.bin"]
    opened = open_pack(tmp_path / "pack").volumes(recipe, recipe.stages[0], False)
    assert torch.equal(opened[1].labels, volumes[1].labels)
    monkeypatch.setattr(pack, "PART_BYTES", one - 1)
    with pytest.raises(ValueError, match=r"a1: .* MB at .* pack"):
        write_pack(volumes, {"tiny": recipe}, SPACING, tmp_path / "small")
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("spacing_mm = [4.0, 4.0, 4.0]", "spacing_mm = [2.0, 4.0, 4.0]", "packed at .* stage coarse wants"),
        ("[optimiser]", "[intensity]\nlow = -900\n[optimiser]", "HU from -512 to 508 are kept"),
        ("[network]", 'without_above = ["a1"]\n[network]', "packed with other slices left out"),
        ('fold_patients = ["B"]', 'fold_patients = ["B", "X"]', "has no X, which data of the recipe names"),
        ('fold_patients = ["B"]', "fold_patients = []", "no volume of the fold"),
    ],
)
def test_a_pack_that_is_not_what_the_recipe_asks_for(packed, tmp_path, old, new, message):
    assert old in TINY
    recipe = load_recipe(write_recipe(tmp_path, TINY.replace(old, new)))
    with pytest.raises(ValueError, match=message):
        open_pack(packed).volumes(recipe, recipe.stages[0], True)


@pytest.mark.parametrize(
    ("other", "out", "message"),
    [('fold_patients = ["A"]', "new", "differ in [data]"), ('fold_patients = ["B"]', ".", "is there already")],
)
def test_what_cannot_be_packed_is_one_line(tmp_path, recipe_path, monkeypatch, capsys, other, out, message):
    text = TINY.replace('fold_patients = ["B"]', other).replace('name = "tiny"', 'name = "other"')
    (tmp_path / "other.toml").write_text(text)
    arguments = [str(recipe_path), str(tmp_path / "other.toml"), "--data", "none", "--out", str(tmp_path / out)]
    monkeypatch.setattr(sys, "argv", ["pack", *arguments, "--spacing", "4", "4", "4"])
    with pytest.raises(SystemExit) as stopped:
        pack.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_damaged_part_is_named(packed, recipe_path):
    recipe = load_recipe(recipe_path)
    (packed / "part-0000.bin").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"part-0000\.bin: b cannot be read"):
        open_pack(packed).volumes(recipe, recipe.stages[0], True)[0]


def test_the_index_is_plain(packed):
    table = json.loads((packed / "index.json").read_text())
    assert table["spacing_mm"] == [3, 3, 3]
    assert table["volumes"][0]["name"] == "a1"
