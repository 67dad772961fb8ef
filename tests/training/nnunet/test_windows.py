import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
pytest.importorskip("nncf", reason="needs nncf: scripts/test --with-torch")

from training.nnunet.windows import KeptWindows, agreement_in


def test_agreement_worked_out_by_hand():
    """Of 100 voxels 90 are nothing to both; liver is 4 to both, 2 to one, 1 to the other; the spleen is 3 to one."""
    table = np.array([[90, 2, 0], [1, 4, 0], [3, 0, 0]])
    found = agreement_in(table, ("background", "liver", "spleen"))
    assert found.share == 4 / 10
    assert found.dice == {"liver": 2 * 4 / (5 + 6), "spleen": 0.0}


def test_where_neither_sees_anything_they_agree():
    assert agreement_in(np.array([[5, 0], [0, 0]]), ("background", "liver")).share == 1.0


def test_a_window_that_is_kept_is_as_likely_as_any_other():
    """Of ten windows three are kept, in each of 2000 draws; each of the ten in about 600 of them."""
    rng, counts = np.random.default_rng(0), np.zeros(10, int)
    for _ in range(2000):
        engine = KeptWindows(2, 3, rng)
        for number in range(10):
            scores = engine(np.full((1, 2, 3), number, np.float32))
            assert scores.shape == (2, 1, 2, 3)
            assert not scores.any()
        assert len(engine.windows) == 3
        for window in engine.windows:
            counts[int(window[0, 0, 0])] += 1
    assert counts.min() > 500
    assert counts.max() < 700
