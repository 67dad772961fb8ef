"""Walks over stubs that know the answer: which windows are looked at, and which are taken."""

import numpy as np
import pytest

from app.grid import Grid
from app.models.bundle import Window
from app.steps.region import label_range
from app.steps.walk import EVERY_WINDOW, centre_first, middle_windows, stepped, until_organ
from app.steps.windows import Plan, plan_windows


class Stub:
    """A network that knows the labels of a volume, and keeps the windows that are looked at and taken.

    What is looked at stays in one buffer, as an engine's scores do.
    """

    def __init__(self, labels, plan, classes=3):
        self.labels, self.plan, self.classes = labels, plan, classes
        self.looked, self.taken = [], []

    def look(self, corner):
        self.looked.append(corner)
        part = self.labels[tuple(slice(a, a + n) for a, n in zip(corner, self.plan.shape, strict=True))]
        return (part == np.arange(self.classes)[:, None, None, None]).astype(np.float32)

    def take(self):
        self.taken.append(self.looked[-1])

    def seen(self):
        """Labels of the windows that were taken."""
        found = np.zeros_like(self.labels)
        for corner in self.taken:
            at = tuple(slice(a, a + n) for a, n in zip(corner, self.plan.shape, strict=True))
            found[at] = self.labels[at]
        return found


def test_every_window_is_looked_at_and_taken_in_order():
    plan = EVERY_WINDOW.plan((5, 2, 3), Window((2, 2, 2), (2, 2, 2), 1, 1.0))
    stub = Stub(np.zeros((5, 2, 3), np.uint8), plan)
    EVERY_WINDOW.go(plan, stub.look, stub.take)
    assert stub.looked == stub.taken == [(z, 0, x) for z in (0, 2, 3) for x in (0, 1)]
    assert EVERY_WINDOW.whole


@pytest.mark.parametrize(
    ("size", "starts"),
    [
        pytest.param(1, (0,), id="one voxel"),
        pytest.param(80, (0,), id="just one"),
        pytest.param(81, (0, 1), id="one more"),
        pytest.param(160, (0, 80), id="just two"),
        pytest.param(161, (0, 80, 81), id="two and a voxel"),
        pytest.param(300, (0, 80, 160, 220), id="paper 000's 300"),
        pytest.param(400, (0, 80, 160, 240, 320), id="paper 000's 400"),
    ],
)
def test_windows_side_by_side(size, starts):
    window = Window((80, 80, 80), (16, 16, 16), 16, 0.875)
    for axis in range(3):
        shape = [80, 80, 80]
        shape[axis] = size
        plan = stepped(tuple(shape), window)
        assert plan.shape == (80, 80, 80)
        assert plan.starts[axis] == starts
        assert [plan.starts[other] for other in range(3) if other != axis] == [(0,), (0,)]


WINDOW = Window((80, 160, 160), (80, 160, 160), 16, 0.875)


@pytest.mark.parametrize(
    ("height", "organ", "searched", "lowest", "region", "starts"),
    [
        # paper 000's examples, a voxel being 1 mm: liver in slices, rows, columns; 20,000 voxels of it end the search
        pytest.param(300, (170, 230, 20, 60, 10, 50), [0, 80, 160], 170, (100, 300), (100, 160, 220), id="A"),
        pytest.param(300, (148, 230, 20, 60, 10, 50), [0, 80, 160], 160, (90, 300), (90, 155, 220), id="B"),
        pytest.param(400, (80, 93, 0, 40, 0, 40), [0, 80], 80, (10, 230), (10, 80, 150), id="C"),
        pytest.param(
            400, (80, 92, 0, 40, 0, 40), [0, 80, 160, 240, 320], None, (0, 400), (0, 64, 128, 192, 256, 320), id="D"
        ),
        pytest.param(221, (0, 0, 0, 0, 0, 0), [0, 80, 141], None, (0, 221), (0, 47, 94, 141), id="E"),
        pytest.param(300, (295, 300, 0, 100, 0, 40), [0, 80, 160, 220], 295, (220, 300), (220,), id="F"),
        pytest.param(
            300, (120, 200, 20, 60, 165, 195), [0, 80, 160, 220], None, (0, 300), (0, 55, 110, 165, 220), id="G"
        ),
        pytest.param(300, (5, 70, 20, 60, 10, 50), [0], 5, (0, 155), (0, 38, 75), id="H"),
    ],
)
def test_the_range_around_the_liver(height, organ, searched, lowest, region, starts):
    z0, z1, y0, y1, x0, x1 = organ
    labels = np.zeros((height, 170, 200), np.uint8)
    labels[z0:z1, y0:y1, x0:x1] = 1
    plan = stepped(labels.shape, WINDOW)
    stub = Stub(labels, plan, classes=2)
    until_organ(plan, stub.look, stub.take, label=1, min_voxels=20_000)
    assert stub.looked == [(z, 0, 0) for z in searched]
    assert stub.taken == ([] if lowest is None else stub.looked[-1:])
    seen, grid = stub.seen(), Grid(labels.shape, (1.0, 1.0, 1.0))
    box = label_range(seen, grid, label=1, below_mm=70, above_mm=150, at_least_mm=80)
    assert (box is None) == (lowest is None)
    low, high = (0, height) if box is None else (box.start[0], box.stop[0])
    assert (low, high) == region
    assert lowest is None or np.flatnonzero(seen.any((1, 2)))[0] == lowest
    z_starts, y_starts, x_starts = plan_windows((high - low, 160, 200), WINDOW).starts
    assert tuple(low + z for z in z_starts) == starts
    assert (y_starts, x_starts) == ((0,), (0, 40))


def test_other_labels_do_not_end_the_search():
    labels = np.zeros((6, 2, 2), np.uint8)
    labels[:2], labels[4:] = 2, 1
    plan = stepped(labels.shape, Window((2, 2, 2), (2, 2, 2), 1, 1.0))
    stub = Stub(labels, plan)
    until_organ(plan, stub.look, stub.take, label=1, min_voxels=8)
    assert (stub.looked, stub.taken) == ([(0, 0, 0), (2, 0, 0), (4, 0, 0)], [(4, 0, 0)])
    again = Stub(labels, plan)
    until_organ(plan, again.look, again.take, label=1, min_voxels=8.5)
    assert again.taken == []


def test_the_search_stays_in_the_corner_wherever_that_begins():
    plan = Plan((2, 2, 2), ((0, 2), (3, 5), (4, 6)))
    stub = Stub(np.zeros((4, 7, 8), np.uint8), plan)
    until_organ(plan, stub.look, stub.take, label=1, min_voxels=1)
    assert stub.looked == [(0, 3, 4), (2, 3, 4)]


STUDENT = Window((32, 128, 192), (8, 64, 96), 8, 0.5)


@pytest.mark.parametrize(
    ("axis", "size", "starts"),
    [
        # paper 002: with half a window along z, and along y and x within the middle two
        (0, 1, (0,)), (0, 32, (0,)), (0, 33, (0, 1)), (0, 49, (0, 8, 17)), (0, 68, (0, 12, 24, 36)),
        (1, 100, (0,)), (1, 128, (0,)), (1, 129, (0, 1)), (1, 200, (0, 36, 72)), (1, 256, (0, 64, 128)),
        (1, 257, (0, 64, 128)), (1, 333, (38, 102, 166)), (1, 341, (42, 106, 170)),
        (2, 192, (0,)), (2, 333, (0, 70, 141)), (2, 341, (0, 74, 149)), (2, 384, (0, 96, 192)), (2, 400, (8, 104, 200)),
    ],
)  # fmt: skip
def test_windows_about_the_middle(axis, size, starts):
    shape = [32, 128, 192]
    shape[axis] = size
    plan = middle_windows(tuple(shape), STUDENT)
    assert plan.shape == (32, 128, 192)  # the largest, whatever they might be
    assert plan.starts == tuple(starts if a == axis else (0,) for a in range(3))


def test_two_odd_sides_are_not_more_than_two():
    """Of 10 voxels three windows of 5 begin at 0, 2.5 to even, and 5; of 11 the middle, 5.5 to even, is 6: 1, 4, 6."""
    window = Window((5, 5, 5), (5, 5, 5), 1, 0.5)
    assert middle_windows((5, 10, 11), window).starts == ((0,), (0, 2, 5), (1, 4, 6))


# windows of 4 x 5 x 6 at five heights, three rows and three columns
HEIGHTS, ROWS, COLUMNS = (0, 4, 8, 12, 16), (0, 5, 10), (0, 6, 12)
NINE = Plan((4, 5, 6), (HEIGHTS, ROWS, COLUMNS))


def walked(labels, plan=NINE, min_voxels=10.0, tubes=(2,), face_voxels=3):
    stub = Stub(labels, plan)
    centre_first(plan, stub.look, stub.take, min_voxels=min_voxels, tubes=tubes, face_voxels=face_voxels)
    return stub


def middles(counts, label=1):
    """So many voxels of a label in the middle window of each height; in all others everything is that label."""
    labels = np.full((20, 15, 18), label, np.uint8)
    for z, count in zip(HEIGHTS, counts, strict=True):
        middle = np.zeros(4 * 5 * 6, np.uint8)
        middle[:count] = label
        labels[z : z + 4, 5:10, 6:12] = middle.reshape(4, 5, 6)
    return labels


def test_heights_after_an_empty_one_are_skipped():
    """Paper 002's example in hundredths: 5, 50, 8, 20, 30 are empty, skipped, empty, skipped, full."""
    stub = walked(middles([5, 50, 8, 20, 30]))
    assert len(stub.looked) == 1 + 1 + 9
    assert stub.looked[:3] == [(0, 5, 6), (8, 5, 6), (16, 5, 6)]
    assert stub.taken == stub.looked[2:]
    assert sorted(stub.taken) == [(16, y, x) for y in ROWS for x in COLUMNS]


def test_only_one_height_is_skipped_after_an_empty_one():
    stub = walked(middles([9, 9, 10, 9, 10]))
    assert [corner[0] for corner in stub.looked if corner[1:] == (5, 6)] == [0, 8, 12]
    assert {corner[0] for corner in stub.taken} == {8}  # ten are enough; nine of the next are not


def test_the_last_height_may_be_the_one_that_is_skipped():
    stub = walked(middles([10, 10, 10, 0, 10]))
    assert [corner[0] for corner in stub.looked if corner[1:] == (5, 6)] == [0, 4, 8, 12]


@pytest.mark.parametrize(
    ("front", "back", "beside"),
    [
        pytest.param(4, 0, [(0, 0, 6)], id="front"),
        pytest.param(0, 4, [(0, 10, 6)], id="back"),
        pytest.param(4, 4, [(0, 0, 6), (0, 10, 6)], id="both"),
        pytest.param(3, 3, [], id="neither: just as many are too few"),
    ],
)
def test_beside_tubes_only_what_they_run_into(front, back, beside):
    labels = np.zeros((20, 15, 18), np.uint8)
    labels[0, 7, 6:12] = labels[1, 7, 6:12] = 2  # within the middle window
    labels[0, 5, 6 : 6 + front] = 2
    labels[3, 9, 6 : 6 + back] = 2
    plan = Plan((4, 5, 6), ((0,), ROWS, COLUMNS))
    stub = walked(labels, plan)
    assert stub.looked == stub.taken == [(0, 5, 6), *beside]
    labels[0, 7, 6] = 1  # one voxel that is none
    assert len(walked(labels, plan).taken) == 9


def test_beside_tubes_in_a_volume_of_one_row_nothing_is_looked_at_again():
    plan = Plan((4, 5, 6), ((0,), (0,), COLUMNS))
    stub = walked(np.full((4, 5, 18), 2, np.uint8), plan)
    assert stub.looked == [(0, 0, 6)]


def test_beside_tubes_in_a_volume_of_two_rows_the_middle_one_is_not_looked_at_again():
    """Of two the second is the middle, of rows and of columns."""
    plan = Plan((4, 5, 6), ((0,), (0, 1), (0, 1)))
    stub = walked(np.full((4, 6, 7), 2, np.uint8), plan)
    assert stub.looked == stub.taken == [(0, 1, 1), (0, 0, 1)]


def test_several_tubes_are_tubes_together():
    labels = np.zeros((4, 15, 18), np.uint8)
    labels[0, 7, 6:12], labels[1, 7, 6:12] = 1, 2
    plan = Plan((4, 5, 6), ((0,), ROWS, COLUMNS))
    assert len(walked(labels, plan, tubes=(1, 2)).looked) == 1
    assert len(walked(labels, plan, tubes=(1,)).looked) == 9


def test_nothing_at_all_is_asked_for():
    """With `min_voxels` 0 an empty window is taken; it holds tubes alone, and has nothing at its sides."""
    stub = walked(np.zeros((20, 15, 18), np.uint8), min_voxels=0)
    assert stub.taken == [(z, 5, 6) for z in HEIGHTS]
