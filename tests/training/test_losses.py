import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.losses import Targets, cross_entropy, downsampled, segmentation_loss, soft_dice  # noqa: E402
from training.recipe import Loss  # noqa: E402

PLAIN = Loss((1.0,) * 14, 0.1, 0.0, 1.0, 1.0)


def test_soft_dice_of_present_and_absent_organs():
    labels = torch.tensor([[[[0, 1, 1, 0]]]])
    probabilities = torch.tensor([[1.0, 0, 0.5, 0.5], [0, 1, 0.5, 0], [0, 0, 0, 0.5]]).reshape(1, 3, 1, 1, 4)
    present, absent = soft_dice(probabilities, labels)
    assert present.item() == pytest.approx((2 * 1.5 + 1) / (1.5 + 2 + 1))
    assert absent.item() == pytest.approx(1 / (0.5 + 1))


def test_a_right_answer_costs_nothing_and_a_wrong_one_much():
    labels = torch.arange(64).reshape(1, 4, 4, 4) % 14
    right = 50 * torch.nn.functional.one_hot(labels, 14).movedim(-1, 1).float()
    assert segmentation_loss([right], Targets(labels), PLAIN).item() == pytest.approx(0, abs=1e-4)
    assert segmentation_loss([-right], Targets(labels), PLAIN).item() > 10


LOGARITHMS = torch.tensor([[0.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 1, 1, 2).log_softmax(1)  # two classes, two voxels
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
    assert cross_entropy(LOGARITHMS, Targets(LABELS, TEACHER), loss).item() == pytest.approx(expected, abs=1e-3)


def test_without_a_share_of_it_a_teacher_changes_nothing():
    loss = Loss((1.0, 3.0), 0.1, 0.0, 1.0, 1.0)
    with_teacher = cross_entropy(LOGARITHMS, Targets(LABELS, TEACHER), loss)
    torch.testing.assert_close(with_teacher, cross_entropy(LOGARITHMS, Targets(LABELS), loss))


def test_voxels_where_the_teacher_is_unsure_count_less():
    third = torch.full((1, 3, 1, 1, 1), 1 / 3)
    sure = torch.tensor([0.0, 1, 0]).reshape(1, 3, 1, 1, 1)
    scores = torch.tensor([[0.0, 0], [0, 9], [0, 0]]).reshape(1, 3, 1, 1, 2)
    labels = torch.ones(1, 1, 1, 2, dtype=torch.int64)
    loss = Loss((1.0, 1.0, 1.0), 0.1, 0.0, 1.0, 0.0)
    targets = Targets(labels, torch.cat([third, sure], 4))
    assert cross_entropy(scores.log_softmax(1), targets, loss).item() == pytest.approx(0, abs=1e-3)


def test_targets_are_halved_level_by_level():
    labels = torch.arange(4).reshape(1, 1, 1, 4).expand(1, 2, 2, 4)
    teacher = torch.tensor([1.0, 0, 0, 1]).reshape(1, 1, 1, 1, 4).expand(1, 14, 2, 2, 4)
    half = Targets(labels, teacher).downsampled(1)
    assert half.labels.tolist() == [[[[1, 3]]]]
    assert half.teacher[0, 0].flatten().tolist() == [0.5, 0.5]


def test_downsampled_labels():
    labels = torch.arange(4).reshape(1, 1, 1, 4).expand(1, 2, 2, 4)
    assert downsampled(labels, 1).tolist() == [[[[1, 3]]]]
    assert downsampled(labels, 0) is labels
