from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from app.errors import SetupError  # noqa: E402
from app.grid import Grid, grid_at_spacing  # noqa: E402
from app.steps.resample import resample  # noqa: E402
from tests.files import body_phantom, lps_affine, save_nifti  # noqa: E402
from tests.training.phantoms import write_data, write_recipe  # noqa: E402
from training.layout import find_cases  # noqa: E402
from training.prepare import OnDemand, Prepared, load_volumes, nearest, shown_slices  # noqa: E402
from training.recipe import load_recipe  # noqa: E402


@pytest.fixture
def recipe(tmp_path):
    return load_recipe(write_recipe(tmp_path))


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


def test_volumes_are_apps_own_preprocessing(data, recipe):
    volume = next(load_volumes(find_cases(data), (8.0, 6.0, 6.0), recipe))
    voxels = body_phantom((30, 28, 26)).T
    grid = Grid((26, 28, 30), (4.0, 4.0, 4.0))
    expected = resample(voxels, grid, grid_at_spacing(grid, (8.0, 6.0, 6.0)))
    np.testing.assert_allclose(volume.image.numpy(), expected, atol=0.5)  # kept as whole HU
    assert volume.image.dtype == torch.int16
    assert volume.extent == pytest.approx((104, 112, 120))


def test_labels_are_kept_finer_than_the_image_but_not_finer_than_they_are(data, recipe):
    coarse, fine = (next(load_volumes(find_cases(data), (s, s, s), recipe)) for s in (16.0, 4.0))
    assert tuple(fine.labels.shape) == (26, 28, 30)
    assert (fine.labels.numpy() == (body_phantom((30, 28, 26)).T > 0)).all()
    assert tuple(coarse.labels.shape) == (13, 14, 15)  # 8 mm


@pytest.mark.parametrize(
    ("above", "below", "expected"),
    [((), (), (0, 6)), (("a",), (), (0, 4)), ((), ("a",), (2, 6)), (("a",), ("a",), (2, 4)), (("b",), ("b",), (0, 6))],
)
def test_slices_that_are_not_shown(recipe, above, below, expected):
    labels = np.zeros((6, 2, 2), np.uint8)
    labels[2:4] = 1
    choice = replace(recipe.data, without_above=above, without_below=below)
    kept = shown_slices(labels, "a", choice)
    assert range(6)[kept] == range(*expected)
    assert range(6)[shown_slices(labels * 0, "a", choice)] == range(6)


def test_nearest_keeps_what_fits():
    labels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    assert (nearest(labels, (2, 2, 2)) == labels).all()
    assert nearest(labels, (1, 2, 4)).tolist() == [[[4, 4, 5, 5], [6, 6, 7, 7]]]


def test_the_fold_is_held_out_whole_and_only_where_the_stage_says_so(data, recipe):
    prepared = Prepared(data)
    first, last = recipe.stages
    assert prepared.volumes(recipe, first, False).names == ["a1", "a2"]
    assert prepared.volumes(recipe, first, True).names == ["b"]
    assert prepared.volumes(recipe, last, False).names == ["a1", "a2", "b"]


@pytest.mark.parametrize("field", ["fold_patients", "exclude", "without_above", "without_below"])
def test_a_misspelt_name_in_the_recipe_is_refused(data, recipe, field):
    recipe = replace(recipe, data=replace(recipe.data, **{field: ("X",)}))
    with pytest.raises(SetupError, match=rf"data\.{field} of the recipe names X, not in these 3 cases"):
        Prepared(data).volumes(recipe, recipe.stages[0], False)


def test_excluded_scans_are_never_shown(data, recipe):
    recipe = replace(recipe, data=replace(recipe.data, exclude=("a2",)))
    assert Prepared(data).volumes(recipe, recipe.stages[-1], False).names == ["a1", "b"]
    recipe = replace(recipe, data=replace(recipe.data, exclude=("b",)))
    with pytest.raises(SetupError, match="stage coarse: none of the 2 cases is of the fold"):
        Prepared(data).volumes(recipe, recipe.stages[0], True)


def test_volumes_on_demand_are_the_same(data, recipe):
    stage = recipe.stages[0]
    there, then = Prepared(data).volumes(recipe, stage, False), OnDemand(data, recipe, stage)
    assert (then.names, then.patients) == (there.names, there.patients)
    assert torch.equal(then[1].image, there[1].image)


@pytest.mark.parametrize(
    ("labels", "spacing", "message"),
    [
        (np.zeros((3, 3, 3), np.uint8), (4, 4, 4), "b: shape of the label"),
        (np.zeros((30, 28, 26), np.uint8), (4, 4, 5), "b: spacing of the label"),
        (np.full((30, 28, 26), 14, np.uint8), (4, 4, 4), "b: unknown labels 14"),
        (np.full((30, 28, 26), 2.98, np.float32), (4, 4, 4), "b: values that are not whole numbers.*: 2.98"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(data, recipe, labels, spacing, message):
    save_nifti(data / "b.nii.gz", labels, lps_affine(spacing))
    with pytest.raises(SetupError, match=message):
        list(load_volumes(find_cases(data), (4.0, 4.0, 4.0), recipe))


def test_labels_that_scaling_has_left_a_little_off_are_the_same_volume(data, recipe):
    """Stored 29999 / 10000 for 3."""
    cases = [case for case in find_cases(data) if case.name == "b"]
    masks = {"whole": np.full((30, 28, 26), 3, np.uint8), "scaled": np.full((30, 28, 26), 29999, np.int16)}
    volumes = {}
    for name, labels in masks.items():
        scaling = (1e-4, 0) if name == "scaled" else None
        save_nifti(data / "b.nii.gz", labels, lps_affine((4, 4, 4)), scaling=scaling)
        (volumes[name],) = load_volumes(cases, (4.0, 4.0, 4.0), recipe)
    assert torch.equal(volumes["scaled"].labels, volumes["whole"].labels)
    assert volumes["scaled"].labels.eq(3).all()
