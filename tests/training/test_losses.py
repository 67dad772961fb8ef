from dataclasses import replace

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.losses import (  # noqa: E402
    Targets,
    cross_entropy,
    dice_of_nnunet,
    over_levels,
    resized,
    segmentation_loss,
    soft_dice,
)
from training.recipe import Loss  # noqa: E402

PLAIN = Loss((1.0,) * 14, 0.1, 0.0, 1.0, 1.0)


def test_soft_dice_of_present_and_absent_organs():
    labels = torch.tensor([[[[0, 1, 1, 0]]]])
    probabilities = torch.tensor([[1.0, 0, 0.5, 0.5], [0, 1, 0.5, 0], [0, 0, 0, 0.5]]).reshape(1, 3, 1, 1, 4)
    present, absent = soft_dice(probabilities, labels)
    assert present.item() == pytest.approx((2 * 1.5 + 1) / (1.5 + 2 + 1))
    assert absent.item() == pytest.approx(1 / (0.5 + 1))


def test_soft_dice_sums_over_the_batch():
    scores, labels = random_batch()
    probabilities = scores.softmax(1)
    reference = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1)
    both, sizes = (probabilities * reference).sum((0, 2, 3, 4)), (probabilities + reference).sum((0, 2, 3, 4))
    present, absent = soft_dice(probabilities, labels)
    torch.testing.assert_close(present, ((2 * both + 1) / (sizes + 1))[1:].mean())
    assert absent.item() == 1  # no organ is


def test_soft_dice_without_any_organ():
    present, absent = soft_dice(
        torch.tensor([1.0, 0]).reshape(1, 2, 1, 1, 1), torch.zeros(1, 1, 1, 1, dtype=torch.int64)
    )
    assert (present.item(), absent.item()) == (1, 1)


def test_the_sum_of_levels_and_terms():
    """Two levels, the coarser with half the weight; the Dice of an organ that is not there counts a tenth."""
    scores, labels = random_batch()
    labels[labels == 2] = 0
    weights = (1.0, 2.0, 1.0)
    coarse = torch.nn.functional.avg_pool3d(scores, 2)
    coarse_labels = resized(labels, coarse.shape[2:])

    def one_level(scores, labels):
        present, absent = soft_dice(scores.softmax(1), labels)
        return (
            torch.nn.functional.cross_entropy(scores, labels, torch.tensor(weights))
            + (1 - present)
            + 0.1 * (1 - absent)
        )

    expected = (one_level(scores, labels) + 0.5 * one_level(coarse, coarse_labels)) / 1.5
    loss = Loss(weights, 0.1, 0.0, 1.0, 1.0)
    torch.testing.assert_close(segmentation_loss([scores, coarse], Targets(labels), loss), expected)


@pytest.mark.parametrize("most", [0, 2, 4])  # no organ in the batch, some, all
def test_the_gradient_written_out_is_autograds(most):
    torch.manual_seed(0)
    labels = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5) % (most + 1)
    loss = Loss((1.0, 0.0, 2.0, 5.0, 1.0), 0.1, 0.0, 1.0, 1.0)
    scores = torch.randn(2, 3, 4, 5, 5).movedim(-1, 1).requires_grad_()  # not contiguous
    log_probabilities = scores.log_softmax(1)
    present, absent = soft_dice(log_probabilities.exp(), labels)
    expected = cross_entropy(log_probabilities, Targets(labels), loss) + (1 - present) + 0.1 * (1 - absent)
    value = segmentation_loss([scores], Targets(labels), loss)
    torch.testing.assert_close(value, expected)
    ours, theirs = (torch.autograd.grad(3 * result, scores)[0] for result in (value, expected))
    torch.testing.assert_close(ours, theirs)


def test_a_right_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.arange(64).reshape(1, 4, 4, 4) % 14
    right = 50 * torch.nn.functional.one_hot(labels, 14).movedim(-1, 1).float()
    assert segmentation_loss([right], Targets(labels), PLAIN).item() == pytest.approx(0, abs=1e-4)
    assert segmentation_loss([-right], Targets(labels), PLAIN).item() > 10


# two classes, two voxels
LOG_PROBABILITIES = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 1, 1, 2).log_softmax(1)
LABELS = torch.tensor([1, 1]).reshape(1, 1, 1, 2)
TEACHER = torch.tensor([[0.4, 0.9], [0.6, 0.1]]).reshape(1, 2, 1, 1, 2)  # agrees on the first voxel only
LN2, SURE, WRONG = 0.6931, 0.3133, 1.3133  # -log 1/2, -log of 0.731 and 0.269


@pytest.mark.parametrize(
    ("share", "disagreement", "expected"),
    [
        (0.0, 1.0, (LN2 + SURE) / 2),
        (1.0, 1.0, (LN2 + 0.9 * WRONG + 0.1 * SURE) / 2),
        (0.5, 1.0, (LN2 + 0.5 * SURE + 0.5 * (0.9 * WRONG + 0.1 * SURE)) / 2),
        (0.0, 0.0, LN2),  # the second voxel is left out
        (0.0, 0.5, (LN2 + 0.5 * SURE) / 1.5),
    ],
)
def test_cross_entropy_with_a_teacher(share, disagreement, expected):
    loss = Loss((1.0, 1.0), 0.1, share, disagreement, 1.0)
    assert cross_entropy(LOG_PROBABILITIES, Targets(LABELS, TEACHER), loss).item() == pytest.approx(expected, abs=1e-3)


def test_without_a_share_of_it_a_teacher_changes_nothing():
    loss = Loss((1.0, 3.0), 0.1, 0.0, 1.0, 1.0)
    with_teacher = cross_entropy(LOG_PROBABILITIES, Targets(LABELS, TEACHER), loss)
    torch.testing.assert_close(with_teacher, cross_entropy(LOG_PROBABILITIES, Targets(LABELS), loss))


def random_batch():
    """Two samples of three classes, the third of which only the second sample holds."""
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn((2, 3, 4, 4, 6), generator=generator)
    labels = torch.randint(0, 2, (2, 4, 4, 6), generator=generator)
    labels[1, 2:] = 2
    return scores, labels


def test_without_a_teacher_it_is_torch_s_own_cross_entropy():
    scores, labels = random_batch()
    weights = (0.5, 2.0, 3.0)
    expected = torch.nn.functional.cross_entropy(scores, labels, torch.tensor(weights))
    ours = cross_entropy(scores.log_softmax(1), Targets(labels), Loss(weights, 0.1, 0.0, 1.0, 1.0))
    torch.testing.assert_close(ours, expected)


def test_a_teacher_s_share_is_weighed_class_by_class():
    loss = Loss((1.0, 3.0), 0.1, 1.0, 1.0, 1.0)
    soft = (0.4 + 3 * 0.6) * LN2 + (0.9 * WRONG + 3 * 0.1 * SURE)
    assert cross_entropy(LOG_PROBABILITIES, Targets(LABELS, TEACHER), loss).item() == pytest.approx(soft / 6, abs=1e-3)


def test_where_nothing_is_to_be_trusted_the_cross_entropy_is_0():
    loss = Loss((1.0, 1.0), 0.1, 0.0, 0.0, 1.0)
    opposite = 1 - TEACHER.argmax(1)
    assert cross_entropy(LOG_PROBABILITIES, Targets(opposite, TEACHER), loss).item() == 0


def test_voxels_where_the_teacher_is_unsure_count_less():
    third = torch.full((1, 3, 1, 1, 1), 1 / 3)
    sure = torch.tensor([0.0, 1, 0]).reshape(1, 3, 1, 1, 1)
    scores = torch.tensor([[0.0, 0], [0, 9], [0, 0]]).reshape(1, 3, 1, 1, 2)
    labels = torch.ones(1, 1, 1, 2, dtype=torch.int64)
    loss = Loss((1.0, 1.0, 1.0), 0.1, 0.0, 1.0, 0.0)
    targets = Targets(labels, torch.cat([third, sure], 4))
    assert cross_entropy(scores.log_softmax(1), targets, loss).item() == pytest.approx(0, abs=1e-3)


def test_targets_are_brought_to_a_levels_size():
    labels = torch.arange(4).reshape(1, 1, 1, 4).expand(1, 2, 2, 4)
    teacher = torch.tensor([1.0, 0, 0, 1]).reshape(1, 1, 1, 1, 4).expand(1, 14, 2, 2, 4)
    half = Targets(labels, teacher).resized((1, 1, 2))
    assert half.labels.tolist() == [[[[1, 3]]]]
    assert half.teacher[0, 0].flatten().tolist() == [0.5, 0.5]


def test_axes_may_shrink_by_different_steps():
    labels = torch.arange(16).reshape(1, 2, 2, 4)
    assert resized(labels, (2, 1, 2)).tolist() == [[[[5, 7]], [[13, 15]]]]
    assert resized(labels, (2, 2, 4)) is labels
    teacher = torch.arange(16.0).reshape(1, 1, 2, 2, 4)
    both = Targets(labels, teacher).resized((2, 1, 2))
    assert both.teacher.tolist() == [[[[[2.5, 4.5]], [[10.5, 12.5]]]]]
    assert both.labels.tolist() == [[[[5, 7]], [[13, 15]]]]


def test_a_level_counts_half_of_the_one_above():
    """1, 2, 3, 4 weigh 8, 4, 2, 1 of 15, and with 5 after them 16, 8, 4, 2, 1 of 31."""
    terms = [torch.tensor(float(value)) for value in range(1, 6)]
    assert over_levels(terms[:4]).item() == pytest.approx(26 / 15)
    assert over_levels(terms).item() == pytest.approx(57 / 31)


NNUNET = replace(PLAIN, kind="nnunet", class_weights=(1.0, 1.0, 1.0))


def test_nnunets_dice_by_hand():
    """Two samples of two voxels, three classes, of the whole batch: 2 * .5 / (.5 + 1) of class 1, 0 of class 2, which
    is claimed and not there; background 2 * 2.75 / (3.25 + 3)."""
    labels = torch.tensor([[[[0, 1]]], [[[0, 0]]]])
    probabilities = torch.tensor([[[1.0, 0.5], [0, 0.5], [0, 0]], [[1, 0.75], [0, 0], [0, 0.25]]])[:, :, None, None]
    assert dice_of_nnunet(probabilities, labels, NNUNET).item() == pytest.approx((2 / 3 + 0) / 2, abs=1e-4)
    with_background = dice_of_nnunet(probabilities, labels, replace(NNUNET, dice_of_background=True))
    assert with_background.item() == pytest.approx((5.5 / 6.25 + 2 / 3 + 0) / 3, abs=1e-4)
    # by sample: class 2 is right in the first, class 1 in the second
    by_sample = dice_of_nnunet(probabilities, labels, replace(NNUNET, dice_by_sample=True))
    assert by_sample.item() == pytest.approx(((2 / 3 + 1) / 2 + (1 + 0) / 2) / 2, abs=1e-4)


def test_nnunets_loss_is_plain_cross_entropy_and_its_dice():
    scores, labels = random_batch()
    expected = torch.nn.functional.cross_entropy(scores, labels) + 1 - dice_of_nnunet(scores.softmax(1), labels, NNUNET)
    torch.testing.assert_close(segmentation_loss([scores], Targets(labels), NNUNET), expected)


def test_levels_that_do_not_count():
    """As papers 000, 003 and 004 weigh them, the coarsest head's loss not at all."""
    scores, labels = random_batch()
    coarse = torch.full_like(scores[..., ::2, ::2, ::2], torch.nan)
    both = segmentation_loss([scores, coarse], Targets(labels), replace(NNUNET, counted_levels=1))
    assert both == segmentation_loss([scores], Targets(labels), NNUNET)
