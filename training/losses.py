"""Losses: weighted cross-entropy and soft Dice, ours or nnU-Net's, summed over the supervised levels.

Scores, their logarithms and probabilities (batch, class, z, y, x) float32; labels (batch, z, y, x) int64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from training.recipe import Loss

SMOOTH_OF_NNUNET = 1e-5  # voxels, of its Dice
SMOOTH = 1.0  # voxels, of ours: bounds the gradient of an organ that fills a few
UNSURE = 0.5  # a teacher whose highest probability is lower has no answer


@dataclass(frozen=True, slots=True)
class Targets:
    """labels: (batch, z, y, x) int64. teacher: its class probabilities (batch, class, z, y, x), or None."""

    labels: Tensor
    teacher: Tensor | None = None

    def resized(self, shape: Sequence[int]) -> "Targets":
        """At `shape` (z, y, x), which divides its own: labels by nearest neighbour, probabilities by averages."""
        if self.labels.shape[1:] == tuple(shape):
            return self
        steps = [before // after for before, after in zip(self.labels.shape[1:], shape, strict=True)]
        teacher = None if self.teacher is None else F.avg_pool3d(self.teacher, steps)
        return Targets(resized(self.labels, shape), teacher)


def segmentation_loss(levels: list[Tensor], targets: Targets, loss: Loss) -> Tensor:
    """Scores of each level, the finest first, against the targets; a level counts half of the one above."""
    levels = counted(levels, loss)
    return over_levels([_one_level(scores.float(), targets.resized(scores.shape[2:]), loss) for scores in levels])


def counted(levels: list[Tensor], loss: Loss) -> list[Tensor]:
    """Those of the levels that count, the finest first."""
    return levels[: loss.counted_levels or len(levels)]


def over_levels(terms: list[Tensor]) -> Tensor:
    """The mean of what each level adds to a loss, the finest first; a level counts half of the one above."""
    weights = [0.5**depth for depth in range(len(terms))]
    return torch.stack([weight * term for weight, term in zip(weights, terms, strict=True)]).sum() / sum(weights)


def _one_level(scores: Tensor, targets: Targets, loss: Loss) -> Tensor:
    if loss.kind == "batch" and targets.teacher is None:
        weights = scores.new_tensor(loss.class_weights)
        value: Tensor = _MaskLoss.apply(scores, targets.labels, weights, loss.absent_weight)  # type: ignore[no-untyped-call]
        return value
    log_probabilities = scores.log_softmax(1)
    if loss.kind == "nnunet":
        dice = dice_of_nnunet(log_probabilities.exp(), targets.labels, loss)
        return cross_entropy(log_probabilities, targets, loss) + (1 - dice)
    present, absent = soft_dice(log_probabilities.exp(), targets.labels)
    return cross_entropy(log_probabilities, targets, loss) + (1 - present) + loss.absent_weight * (1 - absent)


class _MaskLoss(torch.autograd.Function):
    """What `_one_level` adds up against masks alone, with its gradient written out.

    Autograd's own way to it leads through seven volumes of every class.
    """

    @staticmethod
    def forward(context: Any, scores: Tensor, labels: Tensor, weights: Tensor, absent_weight: float) -> Tensor:
        """weights: of the classes, (class)."""
        log_probabilities = scores.detach().log_softmax(1)
        voxel_weights = weights[labels]
        voxel_weights /= voxel_weights.sum()
        entropy = -(voxel_weights * _at(log_probabilities, labels)).sum()
        probabilities = log_probabilities.exp_()
        shared, whole, sizes = _overlap(probabilities, labels, SMOOTH)
        dice = shared / whole
        groups = _shares_of_groups(sizes, absent_weight)
        # the Dice's gradient by a class's probability: `everywhere`, and where the class is the label `at_label` too
        context.save_for_backward(probabilities, labels, voxel_weights, -2 * groups / whole, groups * dice / whole)
        return entropy + (groups * (1 - dice)).sum()

    @staticmethod
    @once_differentiable
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Only once: it writes over the probabilities that `forward` kept."""
        probabilities, labels, voxel_weights, at_label, everywhere = context.saved_tensors
        of_label = at_label[labels] * _at(probabilities, labels)
        # what a softmax takes off every class: the mean of the Dice's gradients by probability
        mean = of_label + torch.einsum("bczyx,c->bzyx", probabilities, everywhere)
        common = voxel_weights - mean
        for klass, slope in enumerate(everywhere):
            probabilities[:, klass] *= common + slope
        probabilities.scatter_add_(1, labels[:, None], (of_label - voxel_weights)[:, None])
        return probabilities.mul_(gradients[0]), None, None, None


def _shares_of_groups(sizes: Tensor, absent_weight: float) -> Tensor:
    """By how much a class's Dice counts: organs that are there share 1, those that are not `absent_weight`.

    sizes: voxels of every class, background first, which counts nothing.
    """
    present = sizes > 0
    present[0] = False
    absent = sizes == 0
    absent[0] = False
    return present / present.sum().clamp(min=1) + absent_weight * absent / absent.sum().clamp(min=1)


def cross_entropy(log_probabilities: Tensor, targets: Targets, loss: Loss) -> Tensor:
    """Mean over voxels, each weighed by its class and by how far mask and teacher can be trusted there.

    With a teacher its share of the target is its probabilities, each class weighed by its own weight. Without one it is
    not a number where every class in the batch weighs 0.
    """
    weights = torch.tensor(loss.class_weights, dtype=log_probabilities.dtype, device=log_probabilities.device)
    voxel_weights = weights[targets.labels]
    hard = -voxel_weights * _at(log_probabilities, targets.labels)
    if targets.teacher is None:
        return hard.sum() / voxel_weights.sum()
    soft = -(targets.teacher * log_probabilities * weights.reshape(1, -1, 1, 1, 1)).sum(1)
    trust = _trust(targets.labels, targets.teacher, loss)
    value = (1 - loss.teacher_share) * hard + loss.teacher_share * soft
    return (value * trust).sum() / (voxel_weights * trust).sum().clamp(min=1.0)  # nothing to be trusted is 0


def _trust(labels: Tensor, teacher: Tensor, loss: Loss) -> Tensor:
    highest, answer = teacher.max(1)
    trust = torch.ones_like(highest)
    trust[answer != labels] *= loss.disagreement_weight
    trust[highest < UNSURE] *= loss.unsure_weight
    return trust


def resized(labels: Tensor, shape: Sequence[int]) -> Tensor:
    """Labels (batch, z, y, x) at `shape` (z, y, x), which covers the same extent, by nearest neighbour."""
    if labels.shape[1:] == tuple(shape):
        return labels
    return F.interpolate(labels[:, None].float(), tuple(shape), mode="nearest-exact")[:, 0].long()


def soft_dice(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean soft Dice of the organs in the batch, and of those that are not (1 where nothing is claimed of them).

    Sums run over the whole batch; background is left out. With no organ in one of the two groups its value is 1.
    """
    dice, sizes = (values[1:] for values in soft_dice_by_class(probabilities, labels, SMOOTH))
    present = sizes > 0
    one = dice.new_ones(())
    return (dice[present].mean() if present.any() else one, dice[~present].mean() if (~present).any() else one)


def dice_of_nnunet(probabilities: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Mean soft Dice of all classes, whether they are there or not: an absent one has 0 if anything is claimed of it.

    Sums run over the whole batch, or over each sample and the means are averaged.
    """
    first = 0 if loss.dice_of_background else 1
    size = 1 if loss.dice_by_sample else len(labels)
    parts = zip(probabilities.split(size), labels.split(size), strict=True)
    values = [soft_dice_by_class(part, reference, SMOOTH_OF_NNUNET)[0][first:] for part, reference in parts]
    return torch.stack(values).mean()


def soft_dice_by_class(probabilities: Tensor, labels: Tensor, smooth: float) -> tuple[Tensor, Tensor]:
    """Soft Dice of every class, background first, and the voxels it has; sums run over the whole batch.

    smooth: voxels, added above and below; a class that is nowhere has 1 where nothing is claimed of it.
    """
    shared, whole, sizes = _overlap(probabilities, labels, smooth)
    return shared / whole, sizes


def _overlap(probabilities: Tensor, labels: Tensor, smooth: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of every class twice what probabilities and labels share, and their sum, both smoothed, and the voxels it has."""
    classes = probabilities.shape[1]
    # a one-hot copy of the labels, which is 14 int64 volumes, would cost more than the rest of the loss; in float64,
    # because index_add sums one by one: of a million float32 up to 7e-3 are lost
    at_labels = _at(probabilities, labels).flatten().double()
    both = at_labels.new_zeros(classes).index_add(0, labels.flatten(), at_labels).to(probabilities.dtype)
    sizes = torch.bincount(labels.flatten(), minlength=classes)
    return 2 * both + smooth, probabilities.sum((0, 2, 3, 4)) + sizes + smooth, sizes


def _at(values: Tensor, labels: Tensor) -> Tensor:
    """Of values (batch, class, z, y, x), at each voxel that of its label: (batch, z, y, x)."""
    return values.gather(1, labels[:, None])[:, 0]
