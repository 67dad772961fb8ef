import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.distillation import distilled_levels, feature_distance  # noqa: E402
from training.networks.nnunet import CUBE, DISTILLED, HALF, HALF_IN_PLANE, ISOTROPIC, WHOLE, NNUNet, Plan  # noqa: E402


def features(*values):
    return [torch.tensor(stage, requires_grad=True) for stage in values]


STUDENT, TEACHER = ([1.0, 2, 3, 4], [0.0, 2]), ([1.0, 1, 1, 1], [1.0, 1])


def test_two_stages_by_hand():
    """(0 + 1 + 4 + 9) / 4 = 3.5 and (1 + 1) / 2 = 1, half of each."""
    assert feature_distance(features(*STUDENT), features(*TEACHER)).item() == 2.25


def test_the_same_features_add_nothing():
    assert feature_distance(features(*STUDENT), features(*STUDENT)).item() == 0


def test_the_gradient_reaches_the_student_alone():
    ours, theirs = features(*STUDENT), features(*TEACHER)
    feature_distance(ours, theirs).backward()
    assert ours[0].grad.tolist() == [0, 0.25, 0.5, 0.75]
    assert [stage.grad for stage in theirs] == [None, None]


def test_features_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) are not of the teacher's shape \(1,\)"):
        feature_distance(features([1.0, 2]), features([1.0]))  # torch would spread the one over both


def test_the_published_student_and_teacher_meet_in_their_two_deepest_stages():
    with torch.device("meta"):
        student = NNUNet(DISTILLED, 14, supervised_levels=5)
        teacher = NNUNet(ISOTROPIC, 14, supervised_levels=1)
        volume = torch.zeros(2, 1, 80, 160, 160)
    for network in (student, teacher):
        shapes = [tuple(stage.shape) for stage in network.encode(volume)[-2:]]
        assert shapes == [(2, 320, 5, 10, 10), (2, 320, 5, 5, 5)]
    levels, distance = distilled_levels(student, teacher, volume)
    assert len(levels) == 5
    assert distance.shape == ()


def tiny():
    """Student and teacher that differ in width and in depth, but not in their two deepest stages."""
    torch.manual_seed(0)
    student = Plan((2, 3, 4, 4), (WHOLE, HALF, WHOLE, HALF_IN_PLANE), 4 * (CUBE,), 3 * (CUBE,))
    teacher = Plan((3, 4, 4), (WHOLE, HALF, HALF_IN_PLANE), 3 * (CUBE,), 2 * (CUBE,))
    return NNUNet(student, 3, supervised_levels=2), NNUNet(teacher, 3, supervised_levels=1).eval()


def test_scores_are_the_students_and_the_distance_is_that_of_the_features():
    student, teacher = tiny()
    volume = torch.randn(1, 1, 4, 8, 8)
    levels, distance = distilled_levels(student, teacher, volume)
    for ours, expected in zip(levels, student.levels(volume), strict=True):
        assert torch.equal(ours, expected)
    ours, theirs = student.encode(volume)[-2:], teacher.encode(volume)[-2:]
    by_hand = sum((a - b).square().mean() for a, b in zip(ours, theirs, strict=True)) / 2
    torch.testing.assert_close(distance, by_hand)


def test_the_teacher_learns_nothing():
    student, teacher = tiny()
    distilled_levels(student, teacher, torch.randn(1, 1, 4, 8, 8))[1].backward()
    assert not [name for name, weight in teacher.named_parameters() if weight.grad is not None]
    assert student.down[0][0].weight.grad.any()
