"""Paper 000's loss, worked out by hand for two samples of four voxels and three classes."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from training.weighted_loss import (  # noqa: E402
    cross_entropy,
    dice_loss,
    published_dice_loss,
    warm_up_share,
    weighted_loss,
)

A = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
B = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]])
LABELS_A, LABELS_B = [0, 0, 1, 2], [0, 1, 1, 2]
W1, W2, EQUAL = torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 1, 2]), torch.ones(3)


def volume(*samples):
    """(batch, class, 1, 1, voxel)."""
    return torch.stack([sample.T for sample in samples])[:, :, None, None]


def labelled(*samples):
    return torch.tensor(samples)[:, None, None]


def close(expected):
    return pytest.approx(expected, abs=2e-5)  # the smoothing, and six printed digits


def test_dice_leaves_the_background_out_and_weighs_the_organs():
    """A: .756757 (background), .666667, .727273."""
    assert dice_loss(volume(A), labelled(LABELS_A), W1[None]).item() == close(0.313131)
    assert dice_loss(volume(A), labelled(LABELS_A), EQUAL[None]).item() == close(0.303030)
    assert dice_loss(volume(B), labelled(LABELS_B), W1[None]).item() == close(0.544160)


def test_every_sample_of_a_batch_has_its_own_dice_and_weights():
    weights = torch.stack([EQUAL, W1])
    assert dice_loss(volume(A, B), labelled(LABELS_A, LABELS_B), weights).item() == close(0.423595)


def test_an_organ_that_a_sample_lacks_costs_where_it_is_claimed():
    probabilities, labels = volume(torch.tensor([[1.0, 0, 0], [0.5, 0, 0.5]])), labelled([0, 0])
    assert dice_loss(probabilities, labels, EQUAL[None]).item() == close(0.5)  # of class 2; class 1 is right


def test_the_published_dice_is_weighed_as_the_second_sample():
    both, labels = volume(A, B), labelled(LABELS_A, LABELS_B)
    assert published_dice_loss(both, labels, torch.stack([EQUAL, W1])).item() == close(-0.570321)
    assert published_dice_loss(both.flip(0), labels.flip(0), torch.stack([W1, EQUAL])).item() == close(-0.579743)


def test_the_published_dice_is_known_for_batches_of_two_only():
    with pytest.raises(ValueError, match="batches of two, got 1"):
        published_dice_loss(volume(A), labelled(LABELS_A), W1[None])


def test_cross_entropy_is_a_weighted_mean_of_each_sample():
    assert cross_entropy(volume(A).log(), labelled(LABELS_A), W2).item() == close(0.307386)
    assert cross_entropy(volume(B).log(), labelled(LABELS_B), W2).item() == close(0.831777)
    assert cross_entropy(volume(A, B).log(), labelled(LABELS_A, LABELS_B), W2).item() == close(0.569581)
    assert cross_entropy(volume(A).log(), labelled(LABELS_A), EQUAL).item() == close(0.328447)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0), (10, 0.2), (50, 1), (400, 1)])
def test_weights_come_in_over_fifty_epochs(epoch, share):
    assert warm_up_share(epoch) == pytest.approx(share)


def loss(*samples, labels, is_pseudo, share):
    return weighted_loss(
        [volume(*samples).log()], labelled(*labels), torch.tensor(is_pseudo),
        dice_weights=(1.0, 2.0, 1.0), class_weights=(1.0, 1.0, 2.0), share=share,
    ).item()  # fmt: skip


def test_a_fifth_of_the_way_into_the_warm_up():
    assert loss(A, labels=[LABELS_A], is_pseudo=[True], share=0.0) == close(0.631477)
    assert loss(A, labels=[LABELS_A], is_pseudo=[True], share=1.0) == close(0.620518)
    assert loss(A, labels=[LABELS_A], is_pseudo=[True], share=0.2) == close(0.629285)


def test_only_pseudo_labels_have_weights_of_the_dice():
    """Both have those of the cross-entropy."""
    assert loss(A, labels=[LABELS_A], is_pseudo=[False], share=1.0) == close(0.303030 + 0.307386)
    both = loss(A, B, labels=[LABELS_A, LABELS_B], is_pseudo=[False, True], share=1.0)
    assert both == close(0.423595 + 0.569581)


def test_a_coarser_level_counts_half_and_sees_coarser_labels():
    """Of two voxels the second, as `nearest-exact` has it: of A's labels 0 and 2."""
    generator = torch.Generator().manual_seed(1)
    fine, coarse = torch.randn(1, 3, 1, 1, 4, generator=generator), torch.randn(1, 3, 1, 1, 2, generator=generator)
    settings = {"dice_weights": (1.0, 2.0, 1.0), "class_weights": (1.0, 1.0, 2.0), "share": 0.5}
    is_pseudo = torch.tensor([True])
    labels = labelled(LABELS_A)
    both = weighted_loss([fine, coarse], labels, is_pseudo, **settings)
    first = weighted_loss([fine], labels, is_pseudo, **settings)
    second = weighted_loss([coarse], labelled([0, 2]), is_pseudo, **settings)
    torch.testing.assert_close(both, (2 * first + second) / 3)
