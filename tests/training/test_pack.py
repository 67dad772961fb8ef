import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.phantoms import write_data, write_recipe  # noqa: E402
from training import pack  # noqa: E402
from training.layout import find_cases  # noqa: E402
from training.pack import is_pack, open_pack, write_pack  # noqa: E402
from training.prepare import load_volumes  # noqa: E402
from training.recipe import load_recipe  # noqa: E402

PROJECT = Path(__file__).parents[2]
SPACING = (4.0, 4.0, 4.0)

TRAIN = """
import sys
allowed = {"torch", "numpy", "training"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"app", "openvino", "SimpleITK", "nibabel", "cc3d", "isal", "scipy", "matplotlib"}:
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Refuse())
from training.train import main
main()
"""


@pytest.fixture
def recipe_path(tmp_path):
    return write_recipe(tmp_path)


@pytest.fixture
def packed(tmp_path, recipe_path, monkeypatch, capsys):
    data = write_data(tmp_path / "data")
    arguments = ["--data", str(data), "--spacing", "4", "4", "4", "--out", str(tmp_path / "pack")]
    monkeypatch.setattr(sys, "argv", ["pack", str(recipe_path), *arguments])
    pack.main()
    assert "MB in 3 files" in capsys.readouterr().out
    return tmp_path / "pack"


def test_volumes_come_out_as_they_went_in(packed, recipe_path, tmp_path):
    recipe = load_recipe(recipe_path)
    stage = recipe.stages[-1]
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
    assert opened.volumes(recipe, last, False).names == ["a1", "a2", "b"]


def test_a_pack_trains_with_torch_and_numpy_alone(packed, tmp_path):
    command = [sys.executable, "-c", TRAIN, str(packed / "tiny.json"), "--data", str(packed), "--out"]
    result = subprocess.run([*command, str(tmp_path / "run")], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "fine: step" not in result.stderr
    assert (tmp_path / "run" / "averaged.pt").exists()
    assert len((tmp_path / "run" / "evaluations.csv").read_text().splitlines()) == 3


def test_parts_are_no_larger_than_they_may_be(tmp_path, recipe_path, monkeypatch):
    recipe = load_recipe(recipe_path)
    volumes = list(load_volumes(find_cases(write_data(tmp_path / "data")), SPACING, recipe))
    one = len(pack._content(volumes[0]))
    monkeypatch.setattr(pack, "PART_BYTES", 2 * one + 100)
    write_pack(volumes, SPACING, tmp_path / "pack")
    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == [
        "index.json",
        "part-0000.bin",
        "part-0001.bin",
    ]
    opened = open_pack(tmp_path / "pack").volumes(recipe, recipe.stages[-1], False)
    assert np.array_equal(opened[2].labels.numpy(), volumes[2].labels.numpy())
    monkeypatch.setattr(pack, "PART_BYTES", one - 1)
    with pytest.raises(ValueError, match=r"a1: .* MB at .* pack"):
        write_pack(volumes, SPACING, tmp_path / "small")


def test_recipes_that_show_different_slices_are_packed_apart(tmp_path, recipe_path, monkeypatch, capsys):
    other = tmp_path / "other.toml"
    other.write_text(recipe_path.read_text().replace('fold_patients = ["B"]', 'fold_patients = ["A"]'))
    arguments = [str(recipe_path), str(other), "--data", "none", "--spacing", "4", "4", "4", "--out", "none"]
    monkeypatch.setattr(sys, "argv", ["pack", *arguments])
    with pytest.raises(SystemExit) as stopped:
        pack.main()
    assert stopped.value.code == 2
    assert "differ in [data]" in capsys.readouterr().err


def test_the_index_is_plain(packed):
    table = json.loads((packed / "index.json").read_text())
    assert table["spacing_mm"] == [4, 4, 4]
    assert table["volumes"][0]["name"] == "a1"
