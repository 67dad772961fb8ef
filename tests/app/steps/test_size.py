import numpy as np
import pytest

from app.grid import Grid
from app.steps.size import body_width_mm, doubtful_size

ADULT = (150, 700)


def body(width=20, shape=(16, 30, 40)):
    """Tissue in the middle of air, `width` columns of it."""
    voxels = np.full(shape, -1000, np.int16)
    start = (shape[2] - width) // 2
    voxels[:, 8:22, start : start + width] = 40
    return voxels


@pytest.mark.parametrize(("x", "width"), [(1.0, 20), (15.0, 300), (0.1, 2)])
def test_the_width_is_in_mm(x, width):
    assert body_width_mm(body(), Grid((16, 30, 40), (5.0, 1.0, x))) == pytest.approx(width)


@pytest.mark.parametrize(
    ("x", "said"), [(7.4, "148 mm wide: a child"), (7.5, None), (35.0, None), (35.5, "710 mm wide: a wrong spacing")]
)
def test_what_is_no_adults_width_is_said(x, said):
    notices = doubtful_size(body(), Grid((16, 30, 40), (5.0, 1.0, x)), ADULT)
    if said is None:
        assert notices == []
        return
    assert [(notice.code, notice.verdict) for notice in notices] == [("size", "check")]
    assert said in notices[0].text


@pytest.mark.parametrize("sides", [(slice(0, 30),), (slice(10, 40),), (slice(12, 25),)])
def test_a_body_that_the_sides_cut_has_no_width(sides):
    voxels = body()[:, :, sides[0]]
    assert body_width_mm(voxels, Grid(voxels.shape, (5.0, 1.0, 1.0))) in (None, 20)
    cut = body()[:, :, 15:40]
    assert body_width_mm(cut, Grid(cut.shape, (5.0, 1.0, 1.0))) is None


def test_a_couch_is_no_body_and_air_has_no_width():
    voxels = body(shape=(16, 80, 40))
    voxels[:, 76:] = 0  # below the body, from side to side, in fewer rows than count
    assert body_width_mm(voxels, Grid(voxels.shape, (5.0, 1.0, 1.0))) == 20
    assert body_width_mm(np.full((4, 4, 4), -1000), Grid((4, 4, 4), (1.0, 1.0, 1.0))) is None
    assert body_width_mm(np.full((1, 1, 1), 40), Grid((1, 1, 1), (1.0, 1.0, 1.0))) is None
