"""The steps of a bundle that says it is fed and read as nnU-Net does it, against nnU-Net's own functions.

They run where the `nnunetv2` package is, of which nothing here needs more.
"""

import warnings
from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations, permutations, product
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.alignment import axis_apart
from app.files.read import read
from app.grid import Grid, grid_at_spacing
from app.models.bundle import Intensity, Resampling, ScanIntensity, Window
from app.models.engine import Model
from app.run.stage import run_stage
from app.run.turn import turn_of
from app.run.view import lying
from app.steps.crop import box_of_nonzero
from app.steps.normalise import normalise, normalise_by_itself
from app.steps.restore import restore
from app.steps.segment import averaged, mirrored
from app.steps.windows import plan_windows, window_weights
from app.system.definition import Stage
from tests.files import save_nifti
from tests.models import FINE

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    nnunetv2 = pytest.importorskip("nnunetv2", reason="nnunetv2 is not installed, so there is nothing to compare with")
    torch = pytest.importorskip("torch")
    from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
    from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
    from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization, ZScoreNormalization
    from nnunetv2.preprocessing.resampling.default_resampling import (
        compute_new_shape,
        determine_do_sep_z_and_axis,
        resample_data_or_seg_to_shape,
    )
    from nnunetv2.utilities.label_handling.label_handling import LabelManager

pytestmark = pytest.mark.filterwarnings("ignore")
HOW = Resampling(
    "normalise-resample", "cubic", averages=False, by_ratio=True, separates_axis_above=3.0, keeps_range=True
)
SPACINGS = [0.25, 0.7, 0.8, float(np.float32(0.8)), 1.0, 1.1, 1.25, 1.5, 2.5, 3.0, 5.0]


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO, NibabelIOWithReorient])
@pytest.mark.parametrize(("axes", "flips"), [*product([*permutations(range(3))][::2], [(1, 1, 1), (-1, 1, -1)])])
def test_voxels_lie_as_its_readers_have_them(tmp_path, reader, axes, flips):
    """Whatever order a file has, and a little oblique; sizes to the last bit."""
    affine = np.eye(4)
    turn = np.array([[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]])
    affine[:3, :3] = (turn @ np.diag(flips))[:, axes] * [0.7, 0.8, 2.5]
    voxels = np.random.default_rng(0).integers(0, 4000, (4, 5, 6)).astype(np.int16)
    path = save_nifti(tmp_path / "a.nii.gz", voxels, affine)
    theirs, properties = reader().read_images([str(path)])
    scan = read(path, as_it_is=True)
    orientation = "ras" if reader is NibabelIOWithReorient else "file"
    ours, grid = lying(scan.voxels, scan.grid, turn_of(orientation, scan.orientation))
    assert_array_equal(ours, theirs[0])
    assert_allclose(grid.spacing, properties["spacing"], rtol=1e-6 if orientation == "ras" else 0)


def test_shapes_are_rounded_as_there():
    for old, new, size in product(SPACINGS, SPACINGS, range(1, 400, 3)):
        found = grid_at_spacing(Grid((size, 1, 1), (old, 1.0, 1.0)), (new, 1.0, 1.0), by_ratio=True).shape[0]
        assert found == max(1, compute_new_shape((size,), (old,), (new,))[0])


def test_the_axis_apart_is_the_one_there():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        first, then = (tuple(float(mm) for mm in rng.choice(SPACINGS, 3)) for _ in range(2))
        does, axis = determine_do_sep_z_and_axis(None, first, then)
        assert axis_apart(first, then, 3.0) == (axis if does else None)


@pytest.mark.parametrize(
    ("shape", "spacing", "target"),
    [
        pytest.param((20, 31, 24), (2.5, 0.8, 0.8), (2.0, 1.5, 1.5), id="alike, coarser"),
        pytest.param((20, 11, 14), (2.0, 1.5, 1.5), (1.5, 0.9, 0.9), id="alike, finer"),
        pytest.param((12, 31, 24), (5.0, 0.8, 0.8), (4.0, 1.0, 1.0), id="planes apart, finer along them"),
        pytest.param((30, 31, 24), (1.0, 0.8, 0.8), (5.0, 1.0, 1.0), id="planes apart, for the target's sake"),
        pytest.param((24, 12, 31), (0.8, 4.0, 0.8), (1.0, 8.0, 1.0), id="y apart, half between two"),
        pytest.param((14, 14, 9), (0.8, 0.8, 4.0), (0.5, 0.5, 2.0), id="x apart"),
        pytest.param((20, 31, 24), (0.24, 1.25, 1.25), (1.0, 1.0, 1.0), id="two long sides"),
        pytest.param((9, 9, 9), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), id="the same"),
    ],
)
def test_what_the_network_sees_and_what_becomes_of_its_scores(shape, spacing, target):
    """Of noise: intensities clipped, normalised and resampled, and labels of scores that are noise themselves."""
    rng = np.random.default_rng(1)
    voxels = rng.normal(0, 300, shape).astype(np.int16)
    own = Intensity(-160, 240, 40, 100)
    figures = {"mean": 40, "std": 100, "percentile_00_5": -160, "percentile_99_5": 240}
    normalised = CTNormalization(False, figures).run(voxels[None].astype(np.float32))
    assert_array_equal(normalise(voxels, own), normalised[0])
    fine = tuple(compute_new_shape(shape, spacing, target).tolist())
    theirs = resample_data_or_seg_to_shape(
        normalised, fine, spacing, target, is_seg=False, order=3, order_z=0, force_separate_z=None
    )
    scores = rng.normal(size=(4, *fine)).astype(np.float32)
    seen = []
    window = Window((64, 64, 64), (64, 64, 64), 1, 0.5, "gaussian", "scores", "zero", True)
    bundle = replace(
        FINE, labels=("background", "a", "b", "c"), intensity=own, resampling=HOW, spacing_mm=target, window=window
    )

    def network(volume):
        inside = tuple(slice((64 - n) // 2, (64 - n) // 2 + n) for n in fine)
        seen.append(volume[inside].copy())
        assert not np.delete(volume, np.s_[inside[0]], 0).any()  # zeros around it
        answer = np.zeros((bundle.channels, 64, 64, 64), np.float32)
        answer[:, *inside] = scores[: bundle.channels]
        return answer

    grid = Grid(shape, spacing)
    for regions in ((), (3, 1, 2)):
        bundle = replace(bundle, regions=regions)
        answer = run_stage(
            voxels, grid, None, Stage("b", "openvino-float32", "f32"), Model(bundle, network),
            timed=lambda _: nullcontext(),
        )  # fmt: skip
        assert_allclose(seen[-1], theirs[0], atol=5e-6)
        mask = restore(
            answer.scores, answer.labels, answer.box, grid, positions=answer.positions, regions=bundle.regions
        )
        back = resample_data_or_seg_to_shape(
            scores[: bundle.channels], shape, target, spacing, is_seg=False, order=1, order_z=0, force_separate_z=None
        )
        labels = {"background": 0, "a": 1, "b": 2, "c": 3}
        if regions:
            labels = {"background": 0, "whole": [1, 2, 3], "parts": [1, 2], "part": 2}
        manager = LabelManager(labels, list(regions) or None)
        expected = manager.convert_logits_to_segmentation(back.astype(np.float32))
        assert np.mean(mask != np.asarray(expected)) < 1e-3  # two scores may be the same but for the last bit


def test_the_scans_own_figures_are_its_mean_and_deviation():
    voxels = np.random.default_rng(2).normal(300, 200, (5, 6, 7)).astype(np.float32)
    limits = (float(voxels.min()), float(voxels.max()))
    ours = normalise_by_itself(voxels, limits, ScanIntensity(0, 100, False))
    assert_allclose(ours, ZScoreNormalization(False, {}).run(voxels[None].copy())[0], atol=1e-5)


def test_the_box_of_what_is_not_zero_is_the_one_there():
    rng = np.random.default_rng(3)
    for share in (0.002, 0.01, 0.5, 0):
        voxels = (rng.random((7, 8, 9)) < share).astype(np.float32)
        _, _, box = crop_to_nonzero(voxels[None])
        ours = box_of_nonzero(voxels)
        assert [list(span) for span in zip(ours.start, ours.stop, strict=True)] == [list(span) for span in box]


def test_windows_lie_where_they_lie_there():
    """Of fourteen along an axis at the most; of more the odd one lies a voxel beside."""
    for side, size in product((32, 48, 160), range(20, 700, 7)):
        window = Window((side,) * 3, (side,) * 3, 1, 0.5)
        if size > 7 * side:
            continue
        plan = plan_windows((size, size, size), window)
        filled = max(size, side)
        steps = compute_steps_for_sliding_window((filled,) * 3, (side,) * 3, 0.5)
        assert [list(starts) for starts in plan.starts] == steps


@pytest.mark.parametrize("shape", [(32, 48, 64), (27, 33, 20)])
def test_windows_count_as_there(shape):
    window = Window(shape, shape, 1, 0.5, "gaussian")
    theirs = compute_gaussian(shape, 1 / 8, 10, torch.float32, torch.device("cpu")).numpy()
    assert_allclose(window_weights(shape, window), theirs / theirs.max(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("axes", ["", "z", "yx", "zyx"])
def test_mirrored_windows_are_those_there(axes):
    """Of a network that is not the same mirrored."""
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1).eval()
    volume = torch.randn(1, 1, 8, 9, 10)

    def engine(window):
        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(window[None, None])))[0].numpy()

    there = SimpleNamespace(
        network=network, use_mirroring=bool(axes), allowed_mirroring_axes=tuple("zyx".index(axis) for axis in axes)
    )
    theirs = nnUNetPredictor._internal_maybe_mirror_and_predict(there, volume)[0].numpy()
    ours = averaged(mirrored(engine, tuple(axes)), FINE)(volume[0, 0].numpy())
    assert_allclose(ours, theirs, atol=1e-6)
    assert len(mirrored(engine, tuple(axes))) == sum(1 for n in range(4) for _ in combinations(axes, n))
