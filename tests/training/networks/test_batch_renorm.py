import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.networks.batch_renorm import BatchRenorm  # noqa: E402


def test_the_first_batch_sets_the_running_statistics_by_hand():
    """1 and 3: mean 2, deviation 1."""
    norm = BatchRenorm(1).train()
    got = norm(torch.tensor([1.0, 3.0]).reshape(1, 1, 1, 1, 2))
    assert got.flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)
    assert float(norm.mean) == pytest.approx(2)
    assert float(norm.variance) == pytest.approx(1, abs=1e-4)


def test_within_its_limits_training_and_use_give_the_same():
    """Mean 0 and deviation 2 are known; a batch of 3 and 5 is 1.5 and 2.5 deviations away, not -1 and 1."""
    norm = BatchRenorm(1).train()
    norm.steps.fill_(10_000)
    norm.variance.fill_(4)
    batch = torch.tensor([3.0, 5.0]).reshape(1, 1, 1, 1, 2)
    used = norm.eval()(batch)
    trained = norm.train()(batch)
    assert used.flatten().tolist() == pytest.approx([1.5, 2.5], abs=1e-4)
    torch.testing.assert_close(trained, used, atol=1e-3, rtol=0)
    assert float(norm.mean) == pytest.approx(0.02 * 4)  # moved by a fiftieth of the way
    assert float(norm.variance) == pytest.approx(0.98 * 4 + 0.02 * 1, abs=1e-3)


def test_beyond_its_limits_a_batch_is_brought_nearer():
    """10 deviations away and 10 times as wide: only 5 and 3 are granted."""
    norm = BatchRenorm(1).train()
    norm.steps.fill_(10_000)
    got = norm(torch.tensor([0.0, 20.0]).reshape(1, 1, 1, 1, 2))
    assert got.flatten().tolist() == pytest.approx([5 - 3, 5 + 3], abs=1e-2)


def test_it_begins_as_batch_norm():
    norm = BatchRenorm(1).train()
    norm.steps.fill_(1e-9)  # not the first step, which would take the batch's statistics
    got = norm(torch.tensor([10.0, 30.0]).reshape(1, 1, 1, 1, 2))
    assert got.flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)


@pytest.mark.parametrize("steps", [0, 1], ids=["the first one", "a later one"])
def test_a_batch_that_is_not_finite_leaves_no_trace(steps):
    norm = BatchRenorm(1).train()
    norm.steps.fill_(steps)
    norm(torch.full((1, 1, 2, 2, 2), float("nan")))
    assert float(norm.steps) == steps
    assert (float(norm.mean), float(norm.variance)) == (0, 1)
    assert torch.isfinite(norm(torch.randn(1, 1, 2, 2, 2))).all()


def test_statistics_of_bfloat16_features_are_float32():
    norm = BatchRenorm(2).train()
    got = norm(torch.randn(1, 2, 4, 4, 4).bfloat16())
    assert got.dtype == torch.bfloat16
    assert norm.mean.dtype == torch.float32
