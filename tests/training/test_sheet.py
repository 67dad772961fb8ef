import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib: scripts/test --with-torch")
torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from PIL import Image  # noqa: E402

from tests.training.phantoms import write_data, write_recipe  # noqa: E402
from training import sheet  # noqa: E402


def run(monkeypatch, recipe, *arguments):
    monkeypatch.setattr(sys, "argv", ["sheet", str(recipe), *map(str, arguments)])
    try:
        sheet.main()
    except SystemExit as end:
        return end.code
    return 0


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


class OneSample:
    """Soft tissue, of which the upper right quarter of each coronal slice is liver; every draw the same."""

    def __init__(self):
        self.seeds = []

    def draw(self, rng):
        self.seeds.append(rng.integers(1 << 30))
        image, labels = torch.full((8, 6, 8), 40.0), torch.zeros((8, 6, 8), dtype=torch.uint8)
        labels[4:, :, 4:] = 1
        return image, labels


def test_each_sample_is_drawn_once_with_its_labels_head_up(tmp_path):
    sampler = OneSample()
    sheet.draw_sheet(sampler, 11, 3, tmp_path / "sheet.png")
    assert len(set(sampler.seeds)) == 11  # each with numbers of its own
    drawn = pixels(tmp_path / "sheet.png")
    assert drawn.shape == (352, 1600, 3)  # two rows of ten
    places = drawn.reshape(2, 176, 10, 160, 3).transpose(0, 2, 1, 3, 4).reshape(20, 176, 160, 3)
    assert [bool((place < 250).any()) for place in places] == [True] * 11 + [False] * 9
    rows, columns = np.nonzero((places[0] < 250).any(axis=2))
    picture = places[0][rows.min() : rows.max(), columns.min() : columns.max()]
    coloured = np.ptp(picture, axis=2) > 20  # what is grey has no label
    height, width = coloured.shape
    assert coloured[: height // 2 - 2, width // 2 + 2 :].mean() > 0.9
    assert coloured[height // 2 + 2 :].mean() < 0.1
    assert coloured[:, : width // 2 - 2].mean() < 0.1


def test_the_same_seed_gives_the_same_sheet(tmp_path, monkeypatch):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = ("--out", tmp_path / f"{name}.png")
        assert run(monkeypatch, recipe, "--data", data, *out, "--count", 2, "--stage", 0, "--seed", seed) == 0
    first, same, other = (pixels(tmp_path / f"{name}.png") for name in "abc")
    assert (first == same).all()
    assert (first != other).any()


def test_what_cannot_be_drawn_is_a_line_and_status_2(tmp_path, monkeypatch, capsys):
    data, recipe = write_data(tmp_path / "data"), write_recipe(tmp_path)
    out = ("--out", tmp_path / "sheet.png")
    assert run(monkeypatch, recipe, "--data", data, *out, "--stage", 7) == 2
    assert run(monkeypatch, recipe, "--data", tmp_path / "nowhere", *out) == 2
    assert run(monkeypatch, tmp_path / "none.toml", "--data", data, *out) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors[0] == f"{recipe}: has 2 stages, counted from 0"
    assert len(errors) == 3
    assert not (tmp_path / "sheet.png").exists()
