import numpy as np
import pytest
from numpy.testing import assert_array_equal

from app.steps.merge import fallback, overlay, ranked_overlay, renamed


def line(*labels):
    row = np.array(labels, np.uint8).reshape(1, 1, -1)
    row.flags.writeable = False  # maps are only read
    return row


FIRST = line(14, 14, 0, 2, 14, 14)
SECOND = line(0, 1, 14, 2, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # paper 003's examples, as its code has it
        pytest.param(FIRST, SECOND, [0, 14, 14, 2, 14, 14], id="the first of five tumour voxels is the second map's"),
        pytest.param(FIRST, line(0, 1, 14, 2, 14, 0), [0, 1, 14, 2, 14, 14], id="the first two of five"),
        pytest.param(FIRST, line(0, 1, 0, 2, 0, 0), [14, 14, 0, 2, 14, 14], id="the second has none"),
        pytest.param(line(0, 5, 0, 2, 0, 0), SECOND, [0, 5, 14, 2, 0, 0], id="the first has none"),
        pytest.param(line(0), line(0), [0], id="neither has one"),
        pytest.param(line(14), line(14), [14], id="one voxel"),
    ],
)
def test_ranked(first, second, expected):
    assert_array_equal(ranked_overlay([first, second], 14), line(*expected), strict=True)


def test_ranks_follow_the_raster_of_the_axes_however_the_arrays_lie():
    first, second = np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8)
    first[0, 0, 1] = first[1, 0, 0] = first[1, 1, 1] = 14
    second[0, 1, 0] = 14
    expected = first.copy()
    expected[0, 0, 1], expected[0, 1, 0] = 0, 14  # one of the second's, so one voxel: the first of z, then y, then x
    for order in "CF":
        got = ranked_overlay([np.asarray(first, order=order), np.asarray(second, order=order)], 14)
        assert_array_equal(got, expected, strict=True)


@pytest.mark.parametrize(
    ("maps", "over", "expected"),
    [
        pytest.param([FIRST, SECOND], [14], [14, 14, 14, 2, 14, 14], id="paper 003's union"),
        pytest.param([FIRST, line(0, 1, 0, 2, 0, 0)], [14], [14, 14, 0, 2, 14, 14], id="the other has none"),
        # the organs' map is the first; of the tumours' only the tumour counts
        pytest.param(
            [line(1, 0, 3, 11, 0), line(14, 14, 3, 0, 7)], [14], [14, 14, 3, 11, 0], id="paper 003's last merge"
        ),
        pytest.param(
            [line(1, 1, 1), line(2, 0, 2), line(0, 3, 3)], [3, 2], [2, 3, 3], id="later maps lie over earlier"
        ),
        pytest.param([line(1, 2), line(2, 1)], [], [1, 2], id="nothing lies over"),
        pytest.param([line(1), line(0)], [1], [1], id="background lies over nothing"),
    ],
)
def test_overlay(maps, over, expected):
    assert_array_equal(overlay(maps, over), line(*expected), strict=True)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(FIRST, SECOND, [0, 0, 14, 2, 0, 0], id="paper 003: the tumour of the second alone"),
        pytest.param(FIRST, line(0, 1, 0, 2, 0, 0), [14, 14, 0, 2, 14, 14], id="the second has none"),
        pytest.param(line(0, 5, 0), line(14, 0, 0), [14, 5, 0], id="the first has none"),
        pytest.param(line(5), line(14), [14], id="over an organ"),
    ],
)
def test_fallback(first, second, expected):
    assert_array_equal(fallback([first, second], 14), line(*expected), strict=True)


@pytest.mark.parametrize(
    "merge", [lambda maps: overlay(maps, [1]), lambda m: fallback(m, 1), lambda m: ranked_overlay(m, 1)]
)
def test_what_is_merged_is_a_new_map(merge):
    first, second = np.zeros((1, 1, 2), np.uint8), np.zeros((1, 1, 2), np.uint8)
    merge([first, second])[:] = 9
    assert not first.any()
    assert not second.any()


@pytest.mark.parametrize(
    ("labels", "ids", "expected"),
    [
        pytest.param([0, 1, 2, 3], [0, 2, 1, 254], [0, 2, 1, 254], id="each by its own"),
        pytest.param([0, 1, 1], [0, 1, 3], [0, 1, 1], id="what is not there is not asked for"),
        pytest.param([1, 0], [0, 5], [5, 0], id="one label"),
    ],
)
def test_ids_are_given_anew(labels, ids, expected):
    assert_array_equal(renamed(line(*labels), ids), line(*expected), strict=True)


def test_nothing_to_rename():
    labels = line(0, 1, 2)
    assert renamed(labels, [0, 1, 2]) is labels
