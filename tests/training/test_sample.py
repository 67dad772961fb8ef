from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.grid import Grid, grid_of_shape  # noqa: E402
from app.steps.resample import resample  # noqa: E402
from training import sample  # noqa: E402
from training.recipe import LESION, load_recipe  # noqa: E402
from training.sample import STRAIGHT, FieldOfView, Sampler, Warp, Zoom  # noqa: E402
from training.volumes import AIR, InMemory, Volume, make_volume  # noqa: E402

RECIPES = Path(__file__).parents[2] / "training" / "recipes"
FINE, LOCALISER = (load_recipe(RECIPES / f"{name}.toml") for name in ("fine", "localiser"))


def volume(shape=(4, 6, 8), spacing=(2.0, 1.0, 1.0)):
    values = torch.arange(np.prod(shape)).reshape(shape)
    extent = tuple(n * s for n, s in zip(shape, spacing, strict=True))
    return Volume("v", "p", values.to(torch.int16), (values % 14).to(torch.uint8), extent, (), ())


def body(name="v", shape=(60, 40, 50), organ_from=20):
    """Tissue of 40 HU in air, its upper slices liver."""
    image = np.full(shape, -1024, np.int16)
    image[:, 8:32, 8:42] = 40
    labels = np.zeros(shape, np.uint8)
    labels[organ_from:, 12:28, 12:30] = 1
    extent = tuple(4.0 * n for n in shape)
    return make_volume(name, name, image, labels, extent, 14, np.random.default_rng(0))


def read(scan, centre, size, shape, warp=STRAIGHT):
    points = sample.sample_points(shape, FieldOfView(np.array(centre, float), np.array(size, float)), warp, scan)
    return sample.read_image(scan.image, points), sample.read_labels(scan.labels, points)


def test_the_whole_volume_read_at_its_own_grid_is_itself():
    scan = volume()
    image, labels = read(scan, (0, 0, 0), scan.extent, (4, 6, 8))
    torch.testing.assert_close(image, scan.image.float(), atol=1e-2, rtol=0)
    assert torch.equal(labels, scan.labels)


def test_a_part_of_it_and_what_lies_outside():
    scan = volume()
    image, labels = read(scan, (0, 0, 1), scan.extent, (4, 6, 8))  # from the middle of x to one half beyond
    torch.testing.assert_close(image[..., :4], scan.image[..., 4:].float(), atol=1e-2, rtol=0)
    assert torch.equal(labels[..., :4], scan.labels[..., 4:])
    assert (image[..., 4:] == AIR).all()
    assert (labels[..., 4:] == 0).all()


@pytest.mark.parametrize(
    "shape",
    [(8, 10, 12), (4, 13, 10), (21, 10, 24)],
)
def test_a_scan_is_read_as_app_reads_it(shape):
    """Finer, coarser and much coarser than the volume, also where its size is no multiple of the block."""
    values = np.random.default_rng(0).normal(0, 200, (16, 20, 24)).round().astype(np.int16)
    grid = Grid((16, 20, 24), (2.0, 2.0, 2.0))
    extent = grid.extent
    scan = make_volume("v", "p", values, np.zeros(values.shape, np.uint8), extent, 14, np.random.default_rng(0))
    view = FieldOfView(np.zeros(3), np.array(extent))
    image, _ = sample.read_view(scan, view, STRAIGHT, shape, FINE)
    expected = resample(values, grid, grid_of_shape(grid, shape))
    inner = tuple(slice(0, n - 2) for n in shape)  # app leaves out a last block that is not full
    assert np.abs(image.numpy() - expected)[inner].max() <= 1.1  # app rounds the means to whole HU


def test_the_edge_of_a_scan_is_as_bright_as_its_inside():
    volume = Volume(
        "v", "p", torch.full((4, 4, 4), 40, dtype=torch.int16), torch.zeros(4, 4, 4), (4.0, 4.0, 4.0), (), ()
    )
    image, _ = read(volume, (0, 0, 0), (4, 4, 4), (9, 9, 9))
    torch.testing.assert_close(image, torch.full((9, 9, 9), 40.0))


def test_a_quarter_turn_in_the_axial_plane():
    scan = volume((1, 4, 4), (1.0, 1.0, 1.0))
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    _, labels = read(scan, (0, 0, 0), scan.extent, (1, 4, 4), Warp(turn))
    assert torch.equal(labels[0], torch.rot90(scan.labels[0], -1))


def test_a_scale_and_a_shift_of_the_lattice_in_mm():
    scan = volume((1, 1, 8), (1.0, 1.0, 2.0))
    twice = Warp(np.diag([1.0, 1.0, 0.5]))
    image, _ = read(scan, (0, 0, 0), scan.extent, (1, 1, 8), twice)
    torch.testing.assert_close(image.flatten(), torch.linspace(1.75, 5.25, 8), atol=1e-2, rtol=0)
    waves = np.zeros((3, 4, 4, 4))
    waves[2] = 4.0  # mm along x, two voxels
    _, labels = read(scan, (0, 0, 0), scan.extent, (1, 1, 8), Warp(np.eye(3), waves))
    assert labels.flatten().tolist() == [2, 3, 4, 5, 6, 7, 0, 0]


def test_a_zoom_shows_what_is_near_its_centre_larger_and_leaves_the_rest():
    """Around the third of eight voxels of 2 mm: twice as large at the centre, as it was from 6 mm on."""
    scan = volume((1, 1, 8), (1.0, 1.0, 2.0))
    centre = np.array([0.0, 0.0, -3 / 8])  # 5 mm from the left
    image, _ = read(scan, (0, 0, 0), scan.extent, (1, 1, 8), Warp(np.eye(3), zoom=Zoom(centre, 0.5, 2.0)))
    near, far = 0.5 * np.exp(-(2**2) / 8), 0.5 * np.exp(-(4**2) / 8)
    expected = [0 + 2 * far, 1 + near, 2, 3 - near, 4 - 2 * far, 5, 6, 7]
    torch.testing.assert_close(image.flatten(), torch.tensor(expected, dtype=torch.float32), atol=0.07, rtol=0)


def test_a_zoom_below_zero_shows_it_smaller():
    scan = volume((1, 1, 8), (1.0, 1.0, 2.0))
    centre = np.array([0.0, 0.0, -3 / 8])
    image, _ = read(scan, (0, 0, 0), scan.extent, (1, 1, 8), Warp(np.eye(3), zoom=Zoom(centre, -0.5, 2.0)))
    near, far = 0.5 * np.exp(-(2**2) / 8), 0.5 * np.exp(-(4**2) / 8)
    expected = [0, 1 - near, 2, 3 + near, 4 + 2 * far, 5, 6, 7]  # the first would lie outside
    torch.testing.assert_close(image.flatten(), torch.tensor(expected, dtype=torch.float32), atol=0.07, rtol=0)


def test_zooms_are_drawn_as_often_as_asked():
    """Nothing else disturbed, the same seeds: without zooms the same label maps, with one a sample most differ."""

    def changed(zoom_probability):
        samples = drawn(FINE, 10, zoom_probability, organ_share=1.0)
        return sum((labels != before).any() for (_, labels), (_, before) in zip(samples, plain, strict=True))

    plain = drawn(FINE, 10, organ_share=1.0)
    assert changed(0.0) == 0
    assert changed(1.0) > 5  # a weak zoom within a large liver moves no voxel's label


def test_a_zoom_is_of_an_organ_in_the_field_of_view():
    scan = body("a")
    choice = replace(FINE.augmentation, zoom=10.0)
    view = FieldOfView(np.zeros(3), np.array(scan.extent))
    zooms = [sample.draw_zoom(choice, scan, view, np.random.default_rng(seed)) for seed in range(30)]
    assert max(abs(zoom.strength) for zoom in zooms) == sample.STRONGEST_ZOOM  # and no more
    assert all(choice.zoom_mm[0] <= zoom.radius <= choice.zoom_mm[1] for zoom in zooms)
    points = torch.cat(scan.organ_points)
    assert all((points == torch.from_numpy(zoom.centre)).all(1).any() for zoom in zooms)
    labels = torch.zeros(4, 4, 40, dtype=torch.uint8)
    labels[..., 2], labels[..., 25] = 1, 2  # of 40 mm in x; what is seen below ends at 24 mm
    both = make_volume(
        "b", "b", np.zeros((4, 4, 40), np.int16), labels.numpy(), (4.0, 4.0, 40.0), 14, np.random.default_rng(0)
    )
    left = FieldOfView(np.array([0.0, 0.0, -0.4]), np.array([4.0, 4.0, 24.0]))
    seen = [sample.draw_zoom(choice, both, left, np.random.default_rng(seed)).centre[2] for seed in range(20)]
    assert max(seen) < -0.8  # of the first organ, never of the second
    elsewhere = FieldOfView(np.array([0.0, 3.0, 0.0]), np.ones(3))
    assert sample.draw_zoom(choice, scan, elsewhere, np.random.default_rng(0)) is None


def test_image_and_labels_move_together():
    """A bright organ stays under its label through turn, scale, bend and zoom."""
    labels = torch.zeros(24, 24, 24, dtype=torch.uint8)
    labels[6:18, 8:16, 5:20] = 7
    scan = Volume("v", "p", labels.to(torch.int16) * 100, labels, (48.0, 36.0, 24.0), (), ())
    choice = replace(FINE.augmentation, deformation_probability=1.0, deformation_mm=2.0)
    warp = replace(sample.draw_warp(choice, np.random.default_rng(1)), zoom=Zoom(np.zeros(3), 0.4, 8.0))
    image, moved = read(scan, (0, 0, 0), scan.extent, (24, 24, 24), warp)
    assert not torch.equal(moved, labels)
    assert ((image > 350) == (moved == 7)).float().mean() > 0.97


@pytest.mark.parametrize("recipe", [FINE, LOCALISER], ids=["fine", "localiser"])
def test_a_sample_has_the_shape_of_its_stage_and_depends_on_the_generator_alone(recipe):
    stage = replace(recipe.stages[0], shape=(32, 32, 48))
    sampler = Sampler(InMemory([body("a"), body("b")]), recipe, stage)
    for seed in range(12):
        image, labels = sampler.draw(np.random.default_rng(seed))
        assert tuple(image.shape) == stage.shape
        assert tuple(labels.shape) == tuple(n // recipe.network.label_stride for n in stage.shape)
        assert (image.dtype, labels.dtype) == (torch.float32, torch.uint8)
        assert torch.isfinite(image).all()
        again, _ = sampler.draw(np.random.default_rng(seed))
        assert torch.equal(image, again)


def drawn(recipe, count=40, zoom_probability=0.0, **shares):
    """Samples of the body with nothing else disturbed and these shares, all others zero."""
    none = dict.fromkeys(
        (
            "phantom_share", "organ_free_share", "organ_share", "slab_share", "box_share", "stitched_share",
            "padded_share",
        ),
        0.0,
    )  # fmt: skip
    quiet = {name: 0.0 for name in dir(recipe.augmentation) if name.endswith("_probability")}
    quiet["zoom_probability"] = zoom_probability
    calm = {"rotation_degrees": 0.0, "scale": 0.0, "axis_scale": 0.0}
    recipe = replace(
        recipe,
        sampling=replace(recipe.sampling, **{**none, **shares}),
        augmentation=replace(recipe.augmentation, **quiet, **calm),
    )
    stage = replace(recipe.stages[0], shape=(32, 32, 32))
    sampler = Sampler(InMemory([body("a"), body("b")]), recipe, stage)
    return [sampler.draw(np.random.default_rng(seed)) for seed in range(count)]


@pytest.mark.parametrize("recipe", [FINE, LOCALISER], ids=["fine", "localiser"])
def test_phantoms_and_what_is_beyond_the_labels_show_no_organ(recipe):
    for shares in ({"phantom_share": 1.0}, {"organ_free_share": 1.0}):
        samples = drawn(recipe, **shares)
        assert not any(labels.any() for _, labels in samples)
        assert any((image > -200).any() for image, _ in samples)


def test_shares_are_kept():
    empty = sum(not labels.any() for _, labels in drawn(LOCALISER, 200, phantom_share=0.25))
    assert 25 <= empty <= 75  # a quarter of 200 is 50


def test_a_whole_scan_a_slab_a_padded_and_a_stitched_one():
    for image, labels in drawn(LOCALISER, 10):
        assert (image[:, 16, 16] > 0).all()  # tissue from end to end, organs in the upper two thirds
        assert labels.any((1, 2)).float().mean() == pytest.approx(2 / 3, abs=0.1)
    heights = [labels.any((1, 2)).float().mean() for _, labels in drawn(LOCALISER, slab_share=1.0)]
    assert min(heights) < 0.4
    assert max(heights) == 1
    tissue = [(image[:, 16, 16] > 0).float().mean() for image, _ in drawn(LOCALISER, padded_share=1.0)]
    assert min(tissue) < 0.3
    stitched = [labels[:, 8, 8] > 0 for _, labels in drawn(LOCALISER, stitched_share=1.0)]
    assert max(int((column[1:] & ~column[:-1]).sum()) for column in stitched) >= 2  # organs begin more than once


def test_a_box_has_a_point_of_an_organ_in_its_middle_as_far_as_the_volume_allows():
    """Of 50 mm in a volume of 100 x 40 x 200; positions run from -1 to 1."""
    extent = (100.0, 40.0, 200.0)
    whole = replace(volume(), extent=extent, organ_points=(torch.tensor([[0.9, 0.0, -0.5]]),))
    near = replace(LOCALISER.sampling, box_mm=(50.0, 50.0), organ_share=1.0)
    view = sample.box_view(whole, near, np.random.default_rng(0))
    np.testing.assert_allclose(view.size, (50, 40, 50))
    np.testing.assert_allclose(view.centre, (0.5, 0, -0.5))
    far = replace(near, box_mm=(10.0, 90.0), organ_share=0.0)
    views = [sample.box_view(whole, far, np.random.default_rng(n)) for n in range(20)]
    views.append(sample.box_view(replace(whole, organ_points=()), near, np.random.default_rng(0)))
    for view in views:
        assert (np.abs(view.centre) + view.size / extent <= 1 + 1e-6).all()
    sides = np.array([view.size for view in views])
    assert sides[:, 0].std() > 10  # each is drawn by itself
    assert np.corrcoef(sides[:, 0], sides[:, 2])[0, 1] < 0.9


def test_a_box_is_cut_out_of_the_body_with_an_organ_in_it():
    recipe = replace(LOCALISER, sampling=replace(LOCALISER.sampling, box_mm=(20.0, 30.0)))
    samples = drawn(recipe, box_share=1.0, organ_share=1.0)
    assert all(labels.any() for _, labels in samples)
    assert all((image > -200).all() for image, _ in samples)  # nothing of the air around
    some = drawn(recipe, 200, box_share=0.25, organ_share=1.0, padded_share=1.0)
    assert 25 <= sum(bool((image > -200).all()) for image, _ in some) <= 75


def test_there_is_no_couch_in_a_box(monkeypatch):
    """Gas in a lung or in bowel is not the air around a body."""
    surrounded = []
    monkeypatch.setattr(sample, "surround", lambda image, *_: surrounded.append(1) or image)
    drawn(LOCALISER, 10, box_share=1.0)
    assert not surrounded
    drawn(LOCALISER, 10)
    assert len(surrounded) == 10


def test_patches_are_centred_near_organs_as_often_as_asked():
    near = np.mean([bool(labels.any()) for _, labels in drawn(FINE, organ_share=1.0)])
    assert near > 0.9


def test_a_calibration_sample_is_the_scan_as_it_is():
    sampler = Sampler(InMemory([body()]), LOCALISER, replace(LOCALISER.stages[0], shape=(60, 40, 50)))
    image, _ = sampler.draw_plain(np.random.default_rng(0))
    torch.testing.assert_close(image, body().image.float(), atol=0.01, rtol=0)


def test_thick_slices_are_so_many_mm_whatever_the_sample_is():
    quiet = {name: 0.0 for name in dir(FINE.augmentation) if name.endswith("_probability")}
    choice = replace(FINE.augmentation, **{**quiet, "thick_slice_probability": 1.0}, thick_slice_mm=(8.0, 8.0))
    image = torch.zeros(16, 2, 2)
    image[::2] = 100
    for spacing_z, expected in ((4.0, 50), (8.0, 100), (2.0, 50)):  # two slices, one, four
        got, _ = sample.disturb(
            image, image > 1, choice, (spacing_z, 2.0, 2.0), FINE.intensity, np.random.default_rng(0)
        )
        assert got.max() == expected


def refilled(organ, seed):
    """Down the middle of a block of an organ, y from front to back; stomachs are refilled with 200 to 300 HU.

    Voxels are as long as the wall is thick at the most, but along y.
    """
    quiet = {name: 0.0 for name in dir(FINE.augmentation) if name.endswith("_probability")}
    quiet["fill_probability"] = 1.0
    choice = replace(FINE.augmentation, **quiet, hollow_organs=(11,), wall_mm=(2.0, 4.0), fill_hu=(200.0, 300.0))
    image = torch.full((15, 15, 15), 40.0)
    labels = torch.zeros(15, 15, 15, dtype=torch.uint8)
    labels[1:14, 1:14, 1:14] = organ
    got, left = sample.disturb(image, labels, choice, (4.0, 2.0, 4.0), FINE.intensity, np.random.default_rng(seed))
    assert torch.equal(left, labels)
    return got[7, :, 7]


def test_hollow_organs_are_refilled_as_the_recipe_says():
    lines = torch.stack([refilled(11, seed) for seed in range(100)])
    with_gas = (lines == -1000).any(1)
    assert 30 < with_gas.sum() < 70
    content = lines[:, 10]  # three quarters of the depth: beyond the most gas
    assert content.min() >= 200
    assert content.max() <= 300
    assert content.median() < 240  # the lower part more often: a quarter of the range, where half would be even
    assert (lines[:, [0, 14]] == 40).all()
    walls = (lines[~with_gas][:, :7] < content[~with_gas, None]).sum(1)  # voxels from the edge to the new content
    assert set(walls.tolist()) == {3, 4}  # air, one or two of wall, and the lumen's first, a mix


def test_other_organs_are_not_refilled():
    assert torch.equal(refilled(12, 0), torch.full((15,), 40.0))


def test_every_disturbance_at_once():
    always = {name: 1.0 for name in dir(FINE.augmentation) if name.endswith("_probability")}
    with_lesions = (*FINE.augmentation.organ_shift_hu, 30.0)
    choice = replace(FINE.augmentation, **always, lesion_organs=(1,), organ_shift_hu=with_lesions)
    scan = body()
    image, labels = sample.disturb(
        scan.image.float(), scan.labels, choice, (2.5, 2.5, 2.5), FINE.intensity, np.random.default_rng(0)
    )
    assert (sample.surround(image, choice, np.random.default_rng(0)) != image).any()
    assert torch.isfinite(image).all()
    assert set(labels.unique().tolist()) <= {0, 1, LESION}
    assert not torch.equal(image, scan.image.float())


def quiet(recipe, **augmentation):
    """The recipe without disturbances but these, in samples all near an organ."""
    off = {name: 0.0 for name in dir(recipe.augmentation) if name.endswith("_probability")}
    shares = {"phantom_share": 0.0, "organ_free_share": 0.0, "organ_share": 1.0}
    return replace(
        recipe,
        sampling=replace(recipe.sampling, **shares),
        augmentation=replace(recipe.augmentation, **{**off, **augmentation}),
    )


def test_one_organ_is_one_class_after_augmentation_has_known_them_all():
    labels = np.zeros((32, 32, 32), np.uint8)
    labels[4:28, 4:16, 4:28], labels[4:28, 16:28, 4:28] = 3, 7
    scan = make_volume("v", "p", np.zeros_like(labels, np.int16), labels, (128.0,) * 3, 14, np.random.default_rng(0))
    several = quiet(FINE)
    one = replace(
        several,
        labels=("background", "organs"),
        data=replace(several.data, one_organ=True),
        loss=replace(several.loss, class_weights=(1.0, 1.0)),
    )
    stage = replace(FINE.stages[0], shape=(32, 32, 32))
    organs, seen = (
        Sampler(InMemory([scan]), recipe, stage).draw(np.random.default_rng(0))[1] for recipe in (several, one)
    )
    assert set(organs.unique().tolist()) == {0, 3, 7}
    assert torch.equal(seen, (organs > 0).to(torch.uint8))


def test_lesions_are_painted_and_labelled():
    """In half of the samples, with a label of their own; the image differs there from that of a sample without."""
    sure = {"organ_shift_hu": (*FINE.augmentation.organ_shift_hu, 30.0), "lesion_organs": (1,)}
    loss = replace(FINE.loss, class_weights=(1.0,) * 15)
    recipe = quiet(
        replace(FINE, labels=(*FINE.labels, "tumour"), loss=loss, augmentation=replace(FINE.augmentation, **sure))
    )
    half = replace(recipe, augmentation=replace(recipe.augmentation, lesion_probability=0.5))
    stage = replace(FINE.stages[0], shape=(32, 32, 32))
    samples = [Sampler(InMemory([body()]), half, stage).draw(np.random.default_rng(seed)) for seed in range(40)]
    with_lesions = [(image, labels) for image, labels in samples if (labels == LESION).any()]
    assert 10 < len(with_lesions) < 30
    differences = [(image[labels == LESION].mean() - 40).abs() for image, labels in with_lesions]
    assert torch.stack(differences).median() > 5
    without = [labels for _, labels in samples if not (labels == LESION).any()]
    assert all(set(labels.unique().tolist()) <= {0, 1} for labels in without)


def test_boxes_of_cut_mix_are_of_any_size_within_the_patch_and_on_its_grid():
    shape = (8, 10, 12)
    boxes = [sample.draw_box(shape, np.random.default_rng(seed)) for seed in range(400)]
    low, high = (np.array(ends) for ends in zip(*boxes, strict=True))
    assert low.min() == 0
    assert high.max() == 1
    assert (low <= high).all()
    np.testing.assert_allclose(low * shape, np.round(low * shape), atol=1e-9)
    volumes = (high - low).prod(1)
    assert volumes.min() < 0.01
    assert volumes.max() > 0.8
    assert 0.2 < volumes.mean() < 0.4  # of a uniform one about a half; the edge of the patch cuts into it


def test_a_box_of_a_patch_shows_another():
    """One scan is all liver, the other all spleen: in half of the patches some of both; those alone without it."""
    whole = [
        make_volume(
            name, name, np.full((40, 40, 40), hu, np.int16), np.full((40, 40, 40), organ, np.uint8),
            (160.0,) * 3, 14, np.random.default_rng(0),
        )
        for name, hu, organ in (("liver", 100, 1), ("spleen", 0, 3))
    ]  # fmt: skip
    stage = replace(FINE.stages[0], shape=(16, 16, 16))

    def mixed(probability):
        recipe = quiet(FINE)
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, cut_mix_probability=probability))
        samples = [Sampler(InMemory(whole), recipe, stage).draw(np.random.default_rng(seed)) for seed in range(60)]
        for image, labels in samples:
            assert ((image[labels == 1] - 100).abs() < 0.01).all()
            assert (image[labels == 3].abs() < 0.01).all()
        return sum({1, 3} <= set(labels.unique().tolist()) for _, labels in samples)

    assert mixed(0.0) == 0
    assert 15 < mixed(1.0) < 45  # half of the others are of the same scan


def test_whose_labels_a_sample_has():
    """Of two scans those of one are drawn by hand; phantoms, whatever the scans, count as right."""
    recipe = quiet(FINE)
    recipe = replace(recipe, data=replace(recipe.data, manual=("hand_*",)))
    stage = replace(FINE.stages[0], shape=(8, 8, 8))

    def pseudo(names, recipe=recipe):
        sampler = Sampler(InMemory([body(name) for name in names]), recipe, stage)
        return [sampler.draw_with_origin(np.random.default_rng(seed))[2] for seed in range(20)]

    assert pseudo(["hand_1"]) == [False] * 20
    assert pseudo(["other"]) == [True] * 20
    assert set(pseudo(["hand_1", "other"])) == {True, False}
    assert pseudo(["other"], replace(recipe, sampling=replace(recipe.sampling, phantom_share=1.0))) == [False] * 20


STITCHED = {"stitched_share": 1.0, "slab_share": 0.0, "padded_share": 0.0, "box_share": 0.0, "body_mm": 1.0}


def test_a_phantom_in_a_stitched_body_makes_no_labels_pseudo():
    """One piece a body, of which one in five is a phantom."""
    recipe = quiet(LOCALISER)
    recipe = replace(recipe, sampling=replace(recipe.sampling, **STITCHED))
    stage = replace(LOCALISER.stages[0], shape=(8, 8, 8))
    sampler = Sampler(InMemory([body("other")]), recipe, stage)
    found = [sampler.draw_with_origin(np.random.default_rng(seed)) for seed in range(60)]
    assert 3 < sum(not pseudo for *_, pseudo in found) < 25
    assert not any(labels.any() for _, labels, pseudo in found if not pseudo)
