"""Losses: weighted cross-entropy and soft Dice, summed over the supervised levels. Scores (batch, class, z, y, x)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.networks import downsampled
from training.recipe import Loss


def segmentation_loss(levels: list[Tensor], labels: Tensor, loss: Loss) -> Tensor:
    """Scores of each level, the finest first, against labels (batch, z, y, x; int64); halved with every level."""
    weights = [0.5**depth for depth in range(len(levels))]
    terms = [
        weight * _one_level(scores.float(), downsampled(labels, depth), loss)
        for depth, (weight, scores) in enumerate(zip(weights, levels, strict=True))
    ]
    return torch.stack(terms).sum() / sum(weights)


def _one_level(scores: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    weights = torch.tensor(loss.class_weights, dtype=scores.dtype, device=scores.device)
    cross_entropy = F.cross_entropy(scores, labels, weights)
    present, absent = soft_dice(scores.softmax(1), labels)
    return cross_entropy + (1 - present) + loss.absent_weight * (1 - absent)


def soft_dice(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean soft Dice of the organs in the batch, and of those that are not (1 where nothing is claimed of them).

    Sums run over the whole batch; background is left out. With no organ in one of the two groups its value is 1.
    """
    truth = F.one_hot(labels, probabilities.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    axes = (0, 2, 3, 4)
    both = (probabilities * truth).sum(axes)[1:]
    sizes = truth.sum(axes)[1:]
    smooth = 1.0  # one voxel: bounds the gradient of an organ that fills a few
    dice = (2 * both + smooth) / (probabilities.sum(axes)[1:] + sizes + smooth)
    present = sizes > 0
    one = dice.new_ones(())
    return (dice[present].mean() if present.any() else one, dice[~present].mean() if (~present).any() else one)
