from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.files.orientation import Orientation
from app.grid import Box, Grid
from app.models.bundle import Intensity, Resampling, ScanIntensity, Window
from app.models.engine import Model
from app.run import stage as module
from app.run.stage import grid_of, run_stage
from app.steps.restore import restore
from app.steps.walk import Walk, stepped
from app.system.definition import Stage
from app.system.rules import Cleaning, LargeParts, LargeRegionsIfUnlocated, Seen, UntilOrgan, Walking
from tests.models import FINE, LOCALISER, tissue_is_liver

GRID = Grid((32, 16, 48), (5.0, 4.0, 3.0))
STAGE = Stage("any", "openvino-int8", "f32")


def run(voxels, box=None, stage=STAGE, bundle=LOCALISER, engine=None, **choices):
    model = Model(bundle, engine or tissue_is_liver(bundle))
    return run_stage(voxels, GRID, box, stage, model, timed=lambda _: nullcontext(), **choices)


def block():
    """Tissue in air, z 8..16, y 4..12, x 12..24."""
    voxels = np.full(GRID.shape, -1000, np.int16)
    voxels[8:16, 4:12, 12:24] = 40
    return voxels


def test_the_steps_are_told_how_many_threads_they_may_use(monkeypatch):
    told = {}

    def recorded(step):
        call = getattr(module, step)

        def recording(*arguments, **choices):
            told[step] = choices["threads"]
            return call(*arguments, **choices)

        return recording

    for step in ("segment", "classify"):
        monkeypatch.setattr(module, step, recorded(step))
    run(block(), threads=3)
    assert told == {"segment": 3, "classify": 3}


def test_a_model_of_a_shape_sees_all_at_once_on_its_own_grid():
    answer = run(block())
    assert answer.labels.shape == LOCALISER.shape == GRID.shape
    assert answer.scores.shape == (14, *GRID.shape)
    assert ((answer.labels == 1) == (block() > 0)).all()
    assert answer.box == Box((0, 0, 0), GRID.shape)


def test_a_model_of_a_spacing_sees_the_box_on_a_grid_of_its_extent():
    """Of 10 x 12 x 20 voxels, 50 x 48 x 60 mm, at 4 x 3 x 2 mm: 12 (of 12.5), 16 and 30."""
    box = Box((6, 2, 8), (16, 14, 28))
    answer = run(block(), box, bundle=FINE)
    assert answer.labels.shape == (12, 16, 30)
    assert answer.box == box
    assert not answer.labels[:2].any()
    assert answer.labels[3:, 4:12, 8:22].all()


def test_the_grid_is_told_before_anything_is_made_on_it():
    told = []

    def refuse(grid, _):
        told.append(grid.shape)
        raise MemoryError

    with pytest.raises(MemoryError):
        run(block(), bundle=FINE, engine=lambda _: pytest.fail("the network was run"), check=refuse)
    assert told == [(40, 21, 72)]


def two_parts():
    """Liver of 24 voxels, 1.44 ml, and one of 12, 0.72 ml."""
    voxels = np.full(GRID.shape, -1000, np.int16)
    voxels[4:8, 4:6, 4:7] = 40
    voxels[20:22, 4:6, 4:7] = 40
    return voxels


def test_scores_follow_what_the_rules_leave():
    plain = run(two_parts())
    cleaned = run(two_parts(), stage=replace(STAGE, clean=(LargeParts(0.6), LargeRegionsIfUnlocated(1.0))))
    assert plain.labels[20:22].any()
    assert not cleaned.labels[20:22].any()
    assert (cleaned.labels[:16] == plain.labels[:16]).all()
    assert (cleaned.scores.argmax(0) == cleaned.labels).all()


def test_quantised_scores_come_with_their_unit_and_follow_the_rules():
    """Steps of 10: tissue is liver by 7 of them."""

    def engine(volume):
        return np.stack([np.where(volume > 0, label == 1, label == 0) * 7 for label in range(14)]).astype(np.int8)

    stage = replace(STAGE, clean=(LargeParts(0.6),))
    bundle = replace(FINE, intensity=Intensity(-1024, 3000, 0, 10), score_step=10.0)
    answer = run(two_parts(), Box((0, 0, 0), GRID.shape), bundle=bundle, engine=engine, stage=stage)
    assert answer.scores.dtype == np.int16
    assert answer.scores.max() * answer.score_unit == pytest.approx(70)
    assert answer.labels.any()
    assert not answer.labels[25:].any()
    assert (answer.scores.argmax(0) == answer.labels).all()


def test_rules_are_told_whether_there_was_a_box():
    large = replace(STAGE, clean=(LargeRegionsIfUnlocated(1.5),))
    assert not run(two_parts(), stage=large).labels.any()
    located = run(two_parts(), Box((0, 0, 0), GRID.shape), stage=large)
    assert (located.labels == run(two_parts()).labels).all()


def test_rules_are_applied_in_their_order():
    """The small part of the liver lies beside spleen, 2.16 ml together: it is the largest once the other has gone."""
    voxels = two_parts()
    voxels[22:26, 4:6, 4:7] = 900
    parts, regions = LargeParts(0.6), LargeRegionsIfUnlocated(2.0)
    assert not run(voxels, stage=replace(STAGE, clean=(parts, regions))).labels.any()
    left = run(voxels, stage=replace(STAGE, clean=(regions, parts))).labels
    assert np.bincount(left.ravel()).tolist() == [left.size - 36, 12, 0, 24]
    assert (left[20:22, 4:6, 4:7] == 1).all()


class Everything(Cleaning):
    """Liver becomes spleen, in a new array or in place."""

    def __init__(self, in_place):
        self.in_place = in_place

    def __call__(self, labels, grid, seen):
        del grid, seen
        changed = labels if self.in_place else labels.copy()
        changed[changed == 1] = 3
        return changed


def test_a_rule_may_rename_and_the_scores_follow():
    answer = run(block(), stage=replace(STAGE, clean=(Everything(in_place=False),)))
    assert set(np.unique(answer.labels)) == {0, 3}
    assert (answer.scores.argmax(0) == answer.labels).all()


def test_a_rule_that_works_in_place_is_stopped():
    with pytest.raises(ValueError, match="read-only"):
        run(block(), stage=replace(STAGE, clean=(Everything(in_place=True),)))


def test_rules_measure_on_the_grid_of_the_labels_which_may_be_coarser_than_the_models():
    """The block is 46 ml, on whatever grid: of scores half as fine 96 voxels of 0.48 ml."""

    def half(volume):
        return tissue_is_liver(LOCALISER)(volume)[:, ::2, ::2, ::2]

    for least, kept in ((45.0, True), (47.0, False)):
        stage = replace(STAGE, clean=(LargeRegionsIfUnlocated(least),))
        assert bool(run(block(), stage=stage, engine=half).labels.any()) == kept


class Shown:
    """A network that keeps what it is shown, of two classes."""

    def __init__(self):
        self.volumes = []

    def __call__(self, volume):
        self.volumes.append(volume.copy())
        return np.stack([np.zeros_like(volume), volume])


def shown(voxels, spacing, box=None, walk=None, steps=None, **changes):
    """What a model sees of a scan, and the stage's answer. steps: gets the names of those that were timed."""
    bundle = replace(FINE, labels=("background", "organ"), **changes)
    network, stage = Shown(), STAGE if walk is None else replace(STAGE, walk=walk)
    voxels = np.array(voxels, np.int16).reshape(1, 1, -1) if np.ndim(voxels) == 1 else voxels
    grid = Grid(voxels.shape, spacing)

    def timed(step):
        if steps is not None:
            steps.append(step)
        return nullcontext()

    answer = run_stage(voxels, grid, box, stage, Model(bundle, network), timed=timed)
    return network.volumes, answer


HALF = {"shape": (1, 1, 2), "spacing_mm": None, "window": None}
LINE = [-2000, 500, 40, 40]
ONE_MM = (1.0, 1.0, 1.0)
EXACT = Window((64, 64, 64), (1, 1, 1), 1, 0.5)  # as large as what is seen


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # paper 004's example: -2000 and 500 HU are -958 and 270 by then, or -750 together
        pytest.param("clip-resample-normalise", [-3.2013, -0.4157], id="clip first"),
        pytest.param("normalise-resample", [-3.2013, -0.4157], id="normalise first"),
        pytest.param("resample-normalise", [-6.1466, -0.4157], id="resample first"),
    ],
)
@pytest.mark.parametrize("averages", [True, False])
def test_the_order_of_the_steps_is_the_bundles(order, averages, expected):
    intensity = Intensity(-958, 270, 97.297, 137.848)
    how = Resampling(order, averages=averages)
    (volume,), _ = shown(LINE, ONE_MM, intensity=intensity, resampling=how, **HALF)
    assert volume.dtype == np.float32
    assert volume.ravel() == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # of 0, 100, 300, 500, 700, 1000 HU a tenth and nine tenths are 50 and 850; pairs are averaged
        # clipped: 50, 100 | 300, 500 | 700, 850 -> 75, 400, 775, of mean 416.7
        pytest.param("clip-resample-normalise", [75, 400, 775], id="clip first"),
        pytest.param("resample-normalise", [50, 400, 850], id="resample first: 50, 400, 850 need no clipping"),
        # normalised first: mean 416.7 and deviation 285.2 of the six, and then averaged
        pytest.param("normalise-resample", None, id="normalise first"),
    ],
)
def test_a_scans_own_figures_in_each_order(order, expected):
    line = [0, 100, 300, 500, 700, 1000]
    figures = {"intensity": None, "scan_intensity": ScanIntensity(10, 90, False), "resampling": Resampling(order)}
    (volume,), _ = shown(line, ONE_MM, **figures, **HALF | {"shape": (1, 1, 3)})
    if expected is None:
        fine = np.clip(line, 50, 850)
        expected_volume = ((fine - fine.mean()) / fine.std()).reshape(3, 2).mean(1)
    else:
        expected_volume = (np.array(expected) - np.mean(expected)) / np.std(expected)
    assert volume.ravel() == pytest.approx(expected_volume, abs=1e-5)


def test_percentiles_are_the_whole_scans_and_mean_and_deviation_those_of_what_the_model_sees():
    """Of 0, 0, 100, 200, 900: the box holds 100 and 200, of which the scan's limits 0 and 900 cut nothing."""
    figures = {"intensity": None, "scan_intensity": ScanIntensity(0, 100, True)}
    steps = []
    box = Box((0, 0, 2), (1, 1, 4))
    (volume,), answer = shown([0, 0, 100, 200, 900], ONE_MM, box, steps=steps, **figures, **HALF)
    assert volume.ravel() == pytest.approx([-1, 1])
    assert answer.box == box
    assert steps == ["crop", "percentiles", "resample", "normalise", "network", "clean"]


@pytest.mark.parametrize(
    ("order", "steps"),
    [
        ("resample-normalise", ["crop", "resample", "normalise", "network", "clean"]),
        ("clip-resample-normalise", ["crop", "normalise", "resample", "normalise", "network", "clean"]),
        ("normalise-resample", ["crop", "normalise", "resample", "network", "clean"]),
    ],
)
def test_steps_are_timed_by_their_names(order, steps):
    found = []
    shown(LINE, ONE_MM, steps=found, resampling=Resampling(order), **HALF)
    assert found == steps


def test_zeros_survive_resampling_where_the_scan_was_clipped_first():
    """Air of -1000 and -900 below a limit of -800 is 0 on the model's grid, however its voxels lie."""
    figures = {"intensity": None, "scan_intensity": ScanIntensity(50, 100, True)}
    how = Resampling("clip-resample-normalise", averages=False)
    line = [-1000, -900, -1000, -900, -800, 100, 100, 100, 400]
    (volume,), _ = shown(line, ONE_MM, resampling=how, **figures, **HALF | {"shape": (1, 1, 7)})
    assert (volume.ravel()[:4] == 0).all()
    assert volume.ravel()[4:].all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, Grid((2, 5, 8), (5.0, 0.96, 0.875)), id="to the nearest: 2, 4.8 and 7.78"),
        pytest.param({"resampling": Resampling(rounds_down=True)}, Grid((2, 4, 7), (5.0, 1.2, 1.0)), id="rounded down"),
        pytest.param(
            {"resampling": Resampling(averages=False, alignment="corners")},
            Grid((2, 5, 8), (5.0, 0.96, 0.875)),
            id="corners",
        ),
        pytest.param(
            # 5 / 5 + 1, 3.6 / 1 + 1 and 6 / 0.9 + 1
            {"resampling": Resampling(averages=False, alignment="first-voxel")},
            Grid((2, 5, 8), (5.0, 1.0, 0.9)),
            id="from the first voxel",
        ),
        pytest.param(
            {"shape": (1, 2, 3), "spacing_mm": None, "window": None}, Grid((1, 2, 3), (10.0, 2.4, 7 / 3)), id="shape"
        ),
    ],
)
def test_the_models_grid(changes, expected):
    bundle = replace(FINE, **{"spacing_mm": (5.0, 1.0, 0.9)} | changes)
    grid = grid_of(bundle, Grid((2, 4, 7), (5.0, 1.2, 1.0)))
    assert grid.shape == expected.shape
    assert grid.spacing == pytest.approx(expected.spacing)


def test_alignment_reaches_the_network_and_the_way_back():
    """Of 0, 10, 20, 30 with corners held: 0, 15, 30, and voxel 1 lies two thirds of the way to the second of these."""
    how = Resampling(averages=False, alignment="corners")
    changes = HALF | {"shape": (1, 1, 3), "intensity": Intensity(-100, 100, 0, 1), "resampling": how}
    (volume,), answer = shown([0, 10, 20, 30], ONE_MM, **changes)
    assert volume.ravel() == pytest.approx([0, 15, 30])
    assert answer.positions[2] == pytest.approx([0, 2 / 3, 4 / 3, 2])
    assert answer.positions[0] == pytest.approx([0])


def test_a_walk_knows_the_models_grid_and_what_the_stage_sees():
    """Voxels of 0.024 ml; the check is told the walk before anything is made on the grid."""
    told = []

    class Asks(Walking):
        def __call__(self, grid, seen):
            told.append((grid, seen))
            return Walk(stepped, lambda plan, look, take: None)  # noqa: ARG005

    checked = []
    box = Box((0, 0, 0), (16, 12, 32))
    model = Model(FINE, lambda _: pytest.fail("the network was run"))
    answer = run_stage(
        block(), GRID, box, replace(STAGE, walk=Asks()), model,
        timed=lambda _: nullcontext(), check=lambda *about: checked.append((len(told), *about)),
    )  # fmt: skip
    assert told == [(Grid((20, 16, 48), (4.0, 3.0, 2.0)), Seen(FINE.labels, located=True))]
    ((count, grid, walk),) = checked
    assert (count, grid, walk.plan) == (1, told[0][0], stepped)
    assert not answer.labels.any()


def test_what_is_not_walked_is_background_on_the_way_back_too():
    """Liver in all of 40 slices, in windows of 32 from the feet up: only the first is taken."""
    voxels = np.full((40, 48, 64), 40, np.int16)
    grid = Grid(voxels.shape, (4.0, 3.0, 2.0))
    stage = replace(STAGE, walk=UntilOrgan("liver", 1.0))
    answer = run_stage(voxels, grid, None, stage, Model(FINE, tissue_is_liver(FINE)), timed=lambda _: nullcontext())
    assert (answer.labels[:32] == 1).all()
    assert not answer.labels[32:].any()
    mask = restore(answer.scores, answer.labels, answer.box, grid, positions=answer.positions)
    assert (mask == answer.labels).all()


@pytest.mark.parametrize(
    ("orientation", "as_seen", "model_spacing"),
    [
        pytest.param("patient", lambda body: body, (5.0, 4.0, 3.0), id="as the body lies"),
        pytest.param("ras", lambda body: body[:, ::-1, ::-1], (5.0, 4.0, 3.0), id="to the right and to the front"),
        pytest.param("file", lambda body: body[:, ::-1, ::-1].transpose(1, 2, 0), (4.0, 3.0, 5.0), id="as the file"),
    ],
)
def test_a_model_sees_the_axes_that_it_was_trained_on_and_its_answer_lies_as_the_body(
    orientation, as_seen, model_spacing
):
    """A block off the middle along every axis; the file's run to the head, to the right, and to the front."""
    file = Orientation((0, 2, 1), (False, True, True))
    voxels = np.full((8, 10, 12), -1000, np.int16)
    voxels[1:3, 1:4, 2:7] = 40
    lies, grid, network = as_seen(voxels), Grid(voxels.shape, (5.0, 4.0, 3.0)), Shown()
    bundle = replace(
        FINE,
        labels=("background", "organ"),
        spacing_mm=model_spacing,
        orientation=orientation,
        window=Window(lies.shape, lies.shape, 1, 0.5),
    )
    answer = run_stage(voxels, grid, None, STAGE, Model(bundle, network), timed=lambda _: nullcontext(), file=file)

    def hounsfield(values):
        return values * FINE.intensity.deviation + FINE.intensity.mean

    assert_allclose(hounsfield(network.volumes[0]), lies, atol=0.01)
    assert_allclose(hounsfield(answer.scores[1]), voxels, atol=0.01)
    assert_array_equal(answer.labels, (voxels > -50).astype(np.uint8), strict=True)
    assert [where.tolist() for where in answer.positions] == [list(range(n)) for n in voxels.shape]
    mask = restore(answer.scores, answer.labels, answer.box, grid, positions=answer.positions)
    assert_array_equal(mask == 1, voxels == 40)


def test_what_is_not_zero_is_seen_and_the_rest_is_background():
    """Of a box the part that is not 0: there the model says organ everywhere."""
    voxels = np.zeros((6, 8, 10), np.int16)
    voxels[2:5, 1:7, 3:9] = 700
    for box, seen in ((None, Box((2, 1, 3), (5, 7, 9))), (Box((0, 2, 0), (4, 8, 10)), Box((2, 2, 3), (4, 7, 9)))):
        volumes, answer = shown(voxels, (4.0, 3.0, 2.0), box, crops_to_nonzero=True, window=EXACT)
        assert volumes[0].shape == answer.box.shape == seen.shape
        assert answer.box == seen
        mask = restore(answer.scores, answer.labels, answer.box, Grid((6, 8, 10), ONE_MM), positions=answer.positions)
        expected = np.zeros(voxels.shape, np.uint8)
        expected[seen.slices] = 1
        assert_array_equal(mask, expected)
    _, answer = shown(np.zeros((2, 2, 2), np.int16), ONE_MM, crops_to_nonzero=True)
    assert answer.box == Box((0, 0, 0), (2, 2, 2))


def test_planes_are_apart_on_the_way_to_the_network_and_on_the_way_back():
    """Planes of 100, 200, 300 and 400 HU at 6 mm, of 2 x 2 mm: 8 at 3 mm are each twice, and nothing in between."""
    voxels = np.repeat(np.array([100, 200, 300, 400], np.int16), 4).reshape(4, 2, 2)
    how = Resampling("normalise-resample", "cubic", averages=False, separates_axis_above=2.0)
    intensity = Intensity(-1000, 1000, 0, 100)
    spacing = (3.0, 1.5, 1.5)
    (volume,), answer = shown(
        voxels, (6.0, 2.0, 2.0), spacing_mm=spacing, intensity=intensity, resampling=how, window=EXACT
    )
    assert volume.shape == (8, 3, 3)
    assert_allclose(volume[:, 0, 0], [1, 1, 2, 2, 3, 3, 4, 4], atol=1e-5)
    assert answer.positions[0].tolist() == [1, 3, 5, 7]  # half between two, the later
    assert_allclose(answer.positions[1], [0.25, 1.75])
    (volume,), answer = shown(
        voxels, (6.0, 3.5, 3.5), spacing_mm=spacing, intensity=intensity, resampling=how, window=EXACT
    )
    assert abs(volume[1, 0, 0] - 1) > 0.1  # 6 mm are not twice 3.5, nor 3 twice 1.5
    assert_allclose(answer.positions[0], [0.5, 2.5, 4.5, 6.5])


def test_regions_are_painted():
    """A channel each, none of the background; of an answer that is 0 where they begin."""
    line = np.array([[-1, 1, 1, -1], [-1, -1, 2, 2]], np.float32).reshape(2, 1, 1, 4)
    bundle = replace(FINE, labels=("background", "lesion", "organ"), regions=(2, 1), spacing_mm=ONE_MM, window=EXACT)
    voxels, grid = np.zeros((1, 1, 4), np.int16), Grid((1, 1, 4), ONE_MM)
    answer = run_stage(voxels, grid, None, STAGE, Model(bundle, lambda _: line), timed=lambda _: nullcontext())
    assert answer.labels.ravel().tolist() == [0, 2, 1, 1]
    assert answer.scores.shape == (2, 1, 1, 4)
