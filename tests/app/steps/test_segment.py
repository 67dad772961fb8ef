from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.models.bundle import Bundle, Intensity, ScanIntensity, Window
from app.steps.classify import classify
from app.steps.segment import WHOLE, averaged, mirrored, score_unit, segment, softmax
from app.steps.walk import Walk, middle_windows
from app.steps.windows import plan_windows
from tests.models import LOCALISER
from training.recipe import CHALLENGE_LABELS


def bundle(step=0.5):
    return Bundle(
        name="test",
        role="fine",
        axes="zyx",
        labels=CHALLENGE_LABELS,
        intensity=Intensity(-100, 100, 0, 100),
        files={"openvino-float32": {"model.xml": "", "model.bin": ""}},
        training={},
        accuracy={},
        spacing_mm=(1.0, 1.0, 1.0),
        window=Window((16, 16, 16), (16, 16, 16), 16, step),
    )


class EveryClassTimes:
    """Score of class c at a voxel is c times its value, so the right answer is known wherever windows lie."""

    def __init__(self):
        self.seen = []

    def __call__(self, volume):
        self.seen.append(volume.copy())
        return np.arange(14, dtype=np.float32)[:, None, None, None] * volume


@pytest.mark.parametrize(
    ("shape", "windows"),
    [
        pytest.param((1, 1, 1), 1, id="one voxel"),
        pytest.param((16, 16, 16), 1, id="just one window"),
        pytest.param((40, 16, 5), 4, id="larger along z only"),
        pytest.param((17, 20, 23), 8, id="a little larger everywhere"),
    ],
)
def test_overlapping_windows_agree_with_the_whole(shape, windows):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    engine = EveryClassTimes()
    scores = segment(volume, bundle(), engine)
    assert scores.shape == (14, *shape)
    assert scores.dtype == np.float32
    assert len(engine.seen) == windows
    assert_allclose(scores, np.arange(14)[:, None, None, None] * volume, rtol=1e-5, atol=1e-6)


def test_windows_count_alike_where_they_overlap():
    """Two windows of 16 along x, at 0 and 4, answering 1 and 3: the twelve voxels they share get 2."""
    answers = iter([1.0, 3.0])
    scores = segment(
        np.zeros((16, 16, 20), np.float32), bundle(), lambda v: np.full((14, *v.shape), next(answers), np.float32)
    )
    assert_allclose(scores[0, 0, 0], [1] * 4 + [2] * 12 + [3] * 4)


def test_windows_fall_linearly_where_they_overlap():
    """The same two: of the first voxel that they share the first window has 12 parts of 13, of the last one."""
    answers = iter([1.0, 3.0])
    falling = replace(bundle(), window=replace(bundle().window, weights="linear"))
    scores = segment(
        np.zeros((16, 16, 20), np.float32), falling, lambda v: np.full((14, *v.shape), next(answers), np.float32)
    )
    assert_allclose(scores[0, 0, 0], [1] * 4 + [1 + 2 * k / 13 for k in range(1, 13)] + [3] * 4, rtol=1e-6)
    assert (scores == scores[0, 0, 0]).all()


def quantised(*answers):
    """Windows whose scores are these int8 numbers, the same at every voxel; and a bundle of them, in steps of 0.5."""
    each = iter(answers)

    def engine(volume):
        return np.full((2, *volume.shape), np.array(next(each)).reshape(2, 1, 1, 1), np.int8)

    return engine, replace(bundle(), labels=CHALLENGE_LABELS[:2], score_step=0.5)


def test_quantised_scores_are_averaged_as_whole_numbers_too():
    """Two windows of 16 at 0 and 4 that say 10 and 20, and where they overlap the mean, 15; in steps of 0.5, 7.5."""
    engine, ours = quantised((10, -128), (20, 127))
    scores = segment(np.zeros((16, 16, 20), np.float32), ours, engine)
    assert scores.dtype == np.int16
    assert_allclose(scores[0, 0, 0] * score_unit(scores, ours), [5] * 4 + [7.5] * 12 + [10] * 4)
    assert_allclose(scores[1, 0, 0] * score_unit(scores, ours), [-64] * 4 + [-0.25] * 12 + [63.5] * 4)


def test_quantised_scores_fall_linearly_in_parts_of_128():
    """Of the first voxel that they share the second window has one part of 13, 10 of 128."""
    engine, ours = quantised((10, 127), (30, 127))
    falling = replace(ours, window=replace(ours.window, weights="linear"))
    scores = segment(np.zeros((16, 16, 20), np.float32), falling, engine)
    assert scores[0, 0, 0, 4] == 118 * 10 + 10 * 30
    assert_allclose(scores[0, 0, 0] / WHOLE, [10] * 4 + [10 + 20 * k / 13 for k in range(1, 13)] + [30] * 4, atol=0.2)
    assert_allclose(scores[1] / WHOLE, 127)


def test_quantised_scores_of_eight_windows_fit_their_sum():
    """What they say is as low and as high as can be, and the shares of a corner are rounded up."""
    engine, ours = quantised(*[(-128, 127)] * 64)
    falling = replace(ours, window=replace(ours.window, weights="linear"))
    scores = segment(np.zeros((37, 37, 37), np.float32), falling, engine)
    assert_allclose(scores[0] / WHOLE, -128, rtol=0.02)
    assert_allclose(scores[1] / WHOLE, 127, rtol=0.02)


def test_quantised_scores_of_one_window():
    engine, ours = quantised((-3, 7))
    scores = segment(np.zeros((4, 5, 6), np.float32), ours, engine)
    assert (scores.dtype, scores.shape) == (np.int16, (2, 4, 5, 6))
    assert (scores[:, 3, 4, 5] * score_unit(scores, ours)).tolist() == [-1.5, 3.5]


@pytest.mark.parametrize("window", [{"weights": "gaussian"}, {"adds": "probabilities"}])
def test_quantised_scores_are_added_up_in_float32_where_parts_would_be_too_coarse(window):
    engine, ours = quantised((2, 4), (2, 4))
    ours = replace(ours, window=replace(ours.window, **window))
    scores = segment(np.zeros((16, 16, 20), np.float32), ours, engine)
    assert (scores.dtype, score_unit(scores, ours)) == (np.float32, 1)
    expected = [1, 2] if "weights" in window else [1 / (1 + np.e), np.e / (1 + np.e)]
    assert_allclose(scores[:, 3, 3, 10], expected, rtol=1e-6)


def test_quantised_scores_of_several_networks_are_averaged_in_float32():
    one, ours = quantised((100, 120))
    other, _ = quantised((100, -20))
    engine = averaged([one, other], ours)
    assert engine(np.zeros((1, 1, 1), np.float32)).ravel().tolist() == [50, 25]


def test_missing_voxels_are_air():
    engine = EveryClassTimes()
    segment(np.ones((1, 1, 2), np.float32), bundle(), engine)
    assert engine.seen[0].shape == (16, 16, 16)
    assert engine.seen[0][0, 0, :3].tolist() == [1, 1, -1]  # -1024 HU, clipped to -100, divided by 100


def test_the_scores_of_one_window_do_not_share_the_engines_buffer():
    buffer = np.zeros((14, 16, 16, 16), np.float32)
    scores = segment(np.zeros((16, 16, 16), np.float32), bundle(), lambda _: buffer)
    buffer += 1
    assert not scores.any()


def test_without_a_window_all_is_seen_at_once_and_the_scores_are_the_engines_own():
    """Of any size, also coarser than the volume."""
    buffer = np.zeros((14, 2, 2, 3), np.float32)
    assert segment(np.zeros((4, 4, 6), np.float32), LOCALISER, lambda _: buffer) is buffer


def but(window=None, **changes):
    """The bundle with other fields, its window with some, too."""
    own = bundle()
    return replace(own, window=replace(own.window, **(window or {})), **changes)


def numbered(volume):
    """Two classes' scores that no average of others gives by chance: a voxel's value, and its square."""
    return np.stack([volume, volume**2 - 1]).astype(np.float32)


TWO = ("background", "organ")


def slowly(volume, tiles, weights, answer):
    """The mean at each voxel over the windows that hold it, voxel by voxel. tiles: their first voxels."""
    sums = np.zeros((2, *volume.shape))
    counts = np.zeros(volume.shape)
    for tile in tiles:
        at = tuple(slice(a, a + n) for a, n in zip(tile, weights.shape, strict=True))
        scores = answer(volume[at])
        for index in np.ndindex(*weights.shape):
            voxel = tuple(a + i for a, i in zip(tile, index, strict=True))
            sums[(slice(None), *voxel)] += scores[(slice(None), *index)] * weights[index]
            counts[voxel] += weights[index]
    return np.where(counts > 0, sums / np.where(counts > 0, counts, 1), 0)


def gaussian(n):
    return np.exp(-0.5 * ((np.arange(n) - n // 2) / (n / 8)) ** 2)


def off_by_window(volume):
    """Answers that differ between windows that overlap: each adds its own first voxel."""
    return numbered(volume + volume.ravel()[0])


@pytest.mark.parametrize("adds", ["scores", "probabilities"])
@pytest.mark.parametrize("weights", ["uniform", "gaussian"])
def test_overlapping_windows_are_averaged_as_a_plain_loop_does_it(weights, adds):
    """4 x 4 x 6 voxels of 6 x 4 x 10, half a window apart: two at 0 and 2, one, and three at 0, 2 and 4."""
    window = {"largest": (4, 4, 6), "smallest": (4, 4, 6), "multiple": 1, "weights": weights, "adds": adds}
    volume = np.random.default_rng(2).normal(size=(6, 4, 10)).astype(np.float32)
    tiles = [(z, 0, x) for z in (0, 2) for x in (0, 2, 4)]
    tile = (
        gaussian(4)[:, None, None] * gaussian(4)[:, None] * gaussian(6) if weights == "gaussian" else np.ones((4, 4, 6))
    )

    def answer(part):
        scores = off_by_window(part)
        return np.exp(scores) / np.exp(scores).sum(0) if adds == "probabilities" else scores

    got = segment(volume, but(window, labels=TWO), off_by_window)
    assert got.dtype == np.float32
    assert_allclose(got, slowly(volume, tiles, tile, answer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weights", ["uniform", "linear", "gaussian"])
def test_threads_change_no_score(weights):
    window = {"largest": (4, 4, 6), "smallest": (4, 4, 6), "multiple": 1, "weights": weights}
    volume = np.random.default_rng(3).normal(size=(6, 4, 10)).astype(np.float32)
    one, several = (segment(volume, but(window), EveryClassTimes(), threads=threads) for threads in (1, 3))
    assert np.ptp(one) > 1
    assert_array_equal(one, several, strict=True)


def test_what_fails_in_a_thread_is_raised():
    """Two windows, whose second class is missing."""
    answer = np.zeros((1, 16, 16, 16), np.float32)
    two = replace(bundle(), labels=CHALLENGE_LABELS[:2])
    with pytest.raises(IndexError, match="out of bounds"):
        segment(np.zeros((16, 16, 20), np.float32), two, lambda _: answer, threads=2)


def test_the_papers_line_of_two_weighted_windows():
    """Paper 002: windows of 4 at 0 and 2 over 6, that say 0.9 and 0.3."""
    window = {"largest": (4, 1, 1), "smallest": (4, 1, 1), "multiple": 1, "weights": "gaussian"}
    answers = iter([0.9, 0.3])
    engine = lambda part: np.full((2, *part.shape), next(answers), np.float32)  # noqa: E731
    got = segment(np.zeros((6, 1, 1), np.float32), but(window, labels=TWO), engine)
    assert_allclose(got[0].ravel(), [0.9, 0.9, 0.899799, 0.6, 0.3, 0.3], atol=1e-6)


def test_what_no_window_covers_is_background():
    """Only the second of three windows is taken; its scores are below zero, and its organ wins all the same."""

    def second(plan, look, take):
        for corner in plan.corners[:2]:
            look(corner)
        take()

    window = {"largest": (4, 1, 1), "smallest": (4, 1, 1), "multiple": 1, "step": 1.0}
    engine = lambda part: np.stack([part - 5, part - 2])  # noqa: E731
    for weights in ("uniform", "gaussian"):
        for adds in ("scores", "probabilities"):
            ours = but(window | {"weights": weights, "adds": adds}, labels=TWO)
            got = segment(np.zeros((12, 1, 1), np.float32), ours, engine, Walk(plan_windows, second))
            assert classify(got).ravel().tolist() == [0] * 4 + [1] * 4 + [0] * 4
            assert not got[:, [0, 1, 2, 3, 8, 9, 10, 11]].any()
            if adds == "scores":
                assert_allclose(got[:, 4:8, 0, 0], [[-5] * 4, [-2] * 4])


def test_a_walk_that_takes_nothing_leaves_background():
    walk = Walk(plan_windows, lambda plan, look, _: look(plan.corners[0]))
    got = segment(np.ones((20, 3, 3), np.float32), but(labels=TWO), numbered, walk)
    assert got.shape == (2, 20, 3, 3)
    assert not got.any()


def test_a_walk_that_takes_what_it_has_not_looked_at_is_stopped():
    with pytest.raises(ValueError, match="takes a window that it has not looked at"):
        segment(np.ones((3, 3, 3), np.float32), bundle(), numbered, Walk(plan_windows, lambda _, __, take: take()))


def test_a_walk_sees_the_volume_filled_up():
    """Windows of 16 on the middle of 40 slices, and of what is less: 5 rows, filled up."""
    seen = []

    def go(plan, look, take):
        seen.append((plan.shape, plan.starts))
        look(plan.corners[0])
        take()

    got = segment(np.ones((40, 5, 16), np.float32), but(labels=TWO), numbered, Walk(middle_windows, go))
    assert seen == [((16, 16, 16), ((0, 8, 16, 24), (0,), (0,)))]
    assert got.shape == (2, 40, 5, 16)
    assert got[0, :16].all()
    assert not got[0, 16:].any()


def test_probabilities_of_one_window_are_those():
    got = segment(np.zeros((2, 2, 2), np.float32), but({"adds": "probabilities"}, labels=TWO), numbered)
    assert_allclose(got[:, 0, 0, 0], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "side", "before", "after"),
    [(55, 80, 12, 13), (45, 64, 9, 10), (158, 160, 1, 1), (164, 224, 30, 30), (164, 192, 14, 14), (1, 2, 0, 1)],
)
def test_filled_up_on_both_sides(size, side, before, after):
    """Papers 000, 003 and 004: the odd voxel at the end."""
    for axis in range(3):
        shape, sides = [1, 1, 1], [1, 1, 1]
        shape[axis], sides[axis] = size, side
        window = {"largest": tuple(sides), "smallest": tuple(sides), "multiple": 1, "fill": "zero", "centred": True}
        seen = []

        def engine(part, seen=seen):
            seen.append(part.ravel().tolist())
            return numbered(part)

        volume = np.full(shape, 7, np.float32) + np.arange(size, dtype=np.float32).reshape(shape)
        got = segment(volume, but(window, labels=TWO), engine)
        assert seen == [[0] * before + volume.ravel().tolist() + [0] * after]
        assert_allclose(got, numbered(volume))  # where it was


BY_SCAN = {"intensity": None, "scan_intensity": ScanIntensity(5, 95, True)}


@pytest.mark.parametrize(
    ("window", "changes", "fill"),
    [
        pytest.param({}, {}, -1, id="air: -1024 HU, clipped to -100, divided by 100"),
        pytest.param({"fill": "zero"}, {}, 0, id="zero"),
        pytest.param({}, BY_SCAN, 0, id="air by a scan's own figures"),
        pytest.param({"fill": "zero"}, BY_SCAN, 0, id="zero by a scan's own figures"),
    ],
)
def test_what_is_filled_up_with(window, changes, fill):
    engine = EveryClassTimes()
    segment(np.ones((1, 1, 2), np.float32), but(window, **changes), engine)
    assert engine.seen[0][0, 0, :3].tolist() == [1, 1, fill]


def constant(*scores):
    return lambda volume: np.array(scores, np.float32)[:, None, None, None] * np.ones(volume.shape, np.float32)


def test_scores_of_several_networks_are_averaged():
    """(1, 0) twice and (-3, 4): the mean is (-1/3, 4/3)."""
    engine = averaged([constant(1, 0), constant(1, 0), constant(-3, 4)], but(labels=TWO))
    for _ in range(2):  # nothing is left over from one call to the next
        assert_allclose(engine(np.zeros((1, 1, 2), np.float32))[:, 0, 0, 1], [-1 / 3, 4 / 3], rtol=1e-6)


def test_probabilities_of_several_networks_are_averaged():
    """0.5 and 0.9 for the organ are 0.7, where scores of 0 and ln 9 would be 0.75; so also after a walk's softmax."""
    engines = [constant(0, 0), constant(0, np.log(9))]
    ours = but({"adds": "probabilities"}, labels=TWO)
    engine = averaged(engines, ours)
    volume = np.zeros((2, 2, 2), np.float32)
    assert_allclose(softmax(engine(volume))[:, 0, 0, 0], [0.3, 0.7], rtol=1e-5)
    assert_allclose(segment(volume, ours, engine)[:, 0, 0, 0], [0.3, 0.7], rtol=1e-5)
    plain = averaged(engines, but(labels=TWO))
    assert_allclose(softmax(plain(volume))[:, 0, 0, 0], [0.25, 0.75], rtol=1e-5)


def test_certain_networks_that_disagree():
    """A probability of zero has no logarithm; the smallest number that is none has."""
    engine = averaged([constant(0, 1e4), constant(0, 1e4)], but({"adds": "probabilities"}, labels=TWO))
    got = engine(np.zeros((1, 1, 1), np.float32)).ravel()
    assert np.isfinite(got).all()
    assert got[1] == 0


def test_a_network_that_keeps_its_buffer_is_averaged_with_others_that_do():
    buffers = [np.full((2, 1, 1, 1), value, np.float32) for value in (1.0, 3.0)]
    engine = averaged([lambda _: buffers[0], lambda _: buffers[1]], but(labels=TWO))
    got = engine(np.zeros((1, 1, 1), np.float32))
    assert got.ravel().tolist() == [2, 2]
    assert [buffer.ravel().tolist() for buffer in buffers] == [[1, 1], [3, 3]]


def test_one_network_is_itself_and_none_is_refused():
    engine = constant(1, 2)
    assert averaged([engine], LOCALISER) is engine
    with pytest.raises(ValueError, match="bundle test: no engine to average"):
        averaged([], but())(np.zeros((1, 1, 1), np.float32))


def test_scores_of_a_model_that_sees_all_at_once_are_averaged_too():
    engine = averaged([constant(1, 0), constant(0, 1)], LOCALISER)
    assert engine(np.zeros((1, 1, 1), np.float32)).ravel().tolist() == [0.5, 0.5]


def test_softmax_of_large_scores():
    scores = np.array([1000, 1001, -1000], np.float32).reshape(3, 1, 1, 1)
    assert_allclose(softmax(scores).ravel(), [1 / (1 + np.e), np.e / (1 + np.e), 0], rtol=1e-6)
    assert scores.ravel().tolist() == [1000, 1001, -1000]


def test_scores_win_where_probabilities_would_not():
    """Paper 004: (1, 0) and (0, 4) by 0.75 and 0.25 are (0.75, 1), of probabilities (0.553, 0.447)."""
    window = {"largest": (4, 1, 1), "smallest": (4, 1, 1), "multiple": 1, "step": 0.25}
    for adds, winner in (("scores", 1), ("probabilities", 0)):
        # windows at 0, 1, 2 and 3: voxel 3 lies in all four, of which one says organ
        answers = iter([(1, 0), (1, 0), (0, 4), (1, 0)])
        engine = lambda part, answers=answers: constant(*next(answers))(part)  # noqa: E731
        got = segment(np.zeros((7, 1, 1), np.float32), but(window | {"adds": adds}, labels=TWO), engine)
        assert classify(got)[3, 0, 0] == winner


def where_it_lies(volume):
    """Two classes: the volume, and as much more the further along each axis."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in volume.shape), indexing="ij")
    return np.stack([volume, volume + 100 * z + 10 * y + x]).astype(np.float32)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        # of two planes, three rows and four columns: 0 and 1 along a mirrored axis become 0.5 each, and so on
        pytest.param("", None, id="none"),
        pytest.param("z", (50, None, None), id="z"),
        pytest.param("xz", (50, None, 1.5), id="x and z"),
        pytest.param("zyx", (50, 10, 1.5), id="all"),
    ],
)
def test_mirrored_windows_are_averaged(axes, expected):
    volume = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    engines = mirrored(where_it_lies, tuple(axes))
    assert len(engines) == 2 ** len(axes)
    for engine in engines:
        assert_allclose(engine(volume)[0], volume)
    got = averaged(engines, bundle())(volume)
    along = [np.arange(n) * step for n, step in zip((2, 3, 4), (100, 10, 1), strict=True)]
    for axis, mean in enumerate(expected or ()):
        along[axis] = along[axis] if mean is None else np.full(len(along[axis]), mean)
    z, y, x = np.meshgrid(*along, indexing="ij")
    assert_allclose(got, np.stack([volume, volume + z + y + x]), rtol=1e-5)


def test_a_network_that_keeps_its_buffer_may_be_mirrored():
    buffer = np.zeros((2, 1, 1, 3), np.float32)

    def engine(volume):
        buffer[:] = volume
        return buffer

    volume = np.array([[[1, 2, 6]]], np.float32)
    got = averaged(mirrored(engine, ("x",)), bundle())(volume)
    assert_allclose(got, np.stack([volume, volume]))
