import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from training import augment  # noqa: E402
from training.dataset import Volume  # noqa: E402
from training.recipe import load_recipe  # noqa: E402

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
IDENTITY = np.eye(3)


def volume(shape=(4, 6, 8), spacing=(2.0, 1.0, 1.0)):
    values = torch.arange(np.prod(shape), dtype=torch.float32).reshape(shape)
    labels = (values % 14).to(torch.uint8)
    extent = tuple(n * s for n, s in zip(shape, spacing, strict=True))
    return Volume("v", "p", values, labels, extent, tuple(torch.zeros(0, 3) for _ in range(13)))


def points(shape, centre, size, matrix, scan, waves=None):
    return augment.sample_points(shape, np.array(centre), np.array(size), np.array(matrix), waves, scan)


def test_the_whole_volume_read_at_its_own_grid_is_itself():
    scan = volume()
    where = points((4, 6, 8), (0, 0, 0), scan.extent, IDENTITY, scan)
    torch.testing.assert_close(augment._read_image(scan.image, where), scan.image, atol=1e-2, rtol=0)
    assert torch.equal(augment._read_labels(scan.labels, where), scan.labels)


def test_a_part_of_it_and_what_lies_outside():
    scan = volume()
    # half of x from its middle to one extent beyond: centre at the right edge
    where = points((4, 6, 8), (0, 0, 1), scan.extent, IDENTITY, scan)
    image, labels = augment._read_image(scan.image, where), augment._read_labels(scan.labels, where)
    torch.testing.assert_close(image[..., :3], scan.image[..., 4:7], atol=1e-2, rtol=0)
    assert torch.equal(labels[..., :4], scan.labels[..., 4:])
    assert (image[..., 5:] == -1024).all()
    assert (labels[..., 4:] == 0).all()


def test_a_quarter_turn_in_the_axial_plane():
    scan = volume((1, 4, 4), (1.0, 1.0, 1.0))
    turn = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    labels = augment._read_labels(scan.labels, points((1, 4, 4), (0, 0, 0), scan.extent, turn, scan))
    assert torch.equal(labels[0], torch.rot90(scan.labels[0], -1))


def test_image_and_labels_move_together():
    """A bright organ stays under its label through turn, scale and bend."""
    labels = torch.zeros(24, 24, 24, dtype=torch.uint8)
    labels[6:18, 8:16, 5:20] = 7
    scan = Volume("v", "p", labels.float() * 100, labels, (48.0, 36.0, 24.0), ())
    rng = np.random.default_rng(1)
    matrix = augment._turn_and_scale(load_recipe(RECIPES / "fine.toml").augmentation, rng)
    where = points((24, 24, 24), (0, 0, 0), scan.extent, matrix, scan, rng.normal(0, 2, (3, 4, 4, 4)))
    image, moved = augment._read_image(scan.image, where), augment._read_labels(scan.labels, where)
    assert not torch.equal(moved, labels)
    assert ((image > 350) == (moved == 7)).float().mean() > 0.97


def test_cut_ends_removes_image_and_labels_alike():
    rng = np.random.default_rng(0)
    image, labels = torch.zeros(20, 2, 2), torch.ones(20, 2, 2, dtype=torch.uint8)
    augment.cut_ends(image, labels, rng)
    assert torch.equal(image == -1024, labels == 0)
    gone = (labels[:, 0, 0] == 0).sum()
    assert 1 <= gone <= 10


def test_shift_organs_moves_an_organ_and_blurs_the_edge():
    image, labels = torch.zeros(3, 3, 8), torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]).expand(3, 3, 8)
    shifts = torch.zeros(14)
    shifts[2] = 30
    got = augment.shift_organs(image, labels, shifts)
    torch.testing.assert_close(got, torch.tensor([0.0, 0, 0, 10, 20, 30, 30, 30]).expand(3, 3, 8))


def test_change_contrast_keeps_air():
    got = augment.change_contrast(torch.tensor([-1024.0, 40, 140]), 5.0, 2.0)
    assert got.tolist() == [-1024, 45, 245]


def test_thicken_slices():
    image = torch.tensor([0.0, 4, 8, 12]).reshape(4, 1, 1)
    # means 2 and 10 at 0.5 and 2.5 voxels; read at 0, 1, 2, 3
    assert augment.thicken_slices(image, 2).flatten().tolist() == [2, 4, 8, 10]


def test_blur():
    image = torch.zeros(5, 5, 5)
    image[2, 2, 2] = 64
    got = augment.blur(image)
    assert got[2, 2].tolist() == [0, 4, 8, 4, 0]
    assert got.sum() == 64
    torch.testing.assert_close(augment.blur(torch.full((2, 3, 4), 7.0)), torch.full((2, 3, 4), 7.0))


@pytest.mark.parametrize("name", ["fine", "localiser"])
def test_a_sample_has_the_shape_of_its_stage(name):
    recipe = load_recipe(RECIPES / f"{name}.toml")
    scan, stage = volume((40, 50, 60), (5.0, 4.0, 4.0)), recipe.stages[0]
    for seed in range(4):
        image, labels = augment.draw_sample(scan, recipe, stage, np.random.default_rng(seed))
        assert tuple(image.shape) == stage.shape
        assert tuple(labels.shape) == tuple(n // recipe.network.stem_stride for n in stage.shape)
        assert labels.dtype == torch.int64
        assert torch.isfinite(image).all()
        again, _ = augment.draw_sample(scan, recipe, stage, np.random.default_rng(seed))
        assert torch.equal(image, again)


def test_an_empty_sample_shows_no_patient():
    kinds = set()
    for seed in range(30):
        image = augment.empty_sample((4, 20, 24), np.random.default_rng(seed))
        assert tuple(image.shape) == (4, 20, 24)
        assert image.min() > -1200
        assert image.max() < 350
        kinds.add(bool(image.max() - image.min() > 400))
    assert kinds == {True, False}  # a cylinder in air, and one value


def test_empty_samples_are_drawn_as_often_as_the_stage_says():
    recipe = load_recipe(RECIPES / "fine.toml")
    stage = recipe.stages[-1]
    labels = torch.ones(40, 50, 60, dtype=torch.uint8)
    scan = Volume("v", "p", labels.float(), labels, (200.0, 200.0, 240.0), ())
    stage = replace(stage, shape=(16, 16, 16), empty_share=0.25)
    draws = [augment.draw_sample(scan, recipe, stage, np.random.default_rng(seed))[1] for seed in range(200)]
    assert 25 <= sum(not drawn.any() for drawn in draws) <= 75  # a quarter of 200 is 50
