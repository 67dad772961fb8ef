"""Weighted loss: Dice and cross-entropy in which organs weigh differently, after a warm-up (paper 000).

Scores, their logarithms and probabilities (batch, class, z, y, x) float32; labels (batch, z, y, x) int64. Unlike in
`training.losses` each sample counts by itself. The paper's formulas differ from its code; this is the code's loss, but
for its Dice, in which a slip weighs the batch by its second sample (`published_dice_loss`).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.losses import over_levels, resized, soft_dice_by_class

SMOOTH = 1e-5  # voxels, of the Dice


def warm_up_share(epoch: float, epochs: float = 50.0) -> float:
    """How much of the loss is the weighted one: from 0 at the start to 1 after `epochs`; both in steps do as well."""
    return min(epoch / epochs, 1.0)


def weighted_loss(
    levels: list[Tensor],
    labels: Tensor,
    is_pseudo: Tensor,
    *,
    dice_weights: tuple[float, ...],
    class_weights: tuple[float, ...],
    share: float,
) -> Tensor:
    """Scores of each supervised level, the finest first, against the labels: (1 - share) times Dice and cross-entropy
    of equal weights, and share times the weighted ones.

    is_pseudo: (batch,) bool, samples whose labels a network has made; only they have `dice_weights`. Both kinds of
    weights have an entry for each class, background first, which the Dice leaves out.
    """
    of_dice = torch.where(is_pseudo[:, None], torch.tensor(dice_weights, device=labels.device), 1.0)
    of_classes = torch.tensor(class_weights, device=labels.device)
    # Dice is linear in weights that sum to 1 over the organs: one mixture of them serves both
    mixed = (1 - share) / (len(dice_weights) - 1) + share * of_dice / of_dice[:, 1:].sum(1, keepdim=True)
    terms = []
    for scores in levels:
        values, here = scores.float().log_softmax(1), resized(labels, scores.shape[2:])
        plain, weighted = (
            cross_entropy(values, here, weights) for weights in (torch.ones_like(of_classes), of_classes)
        )
        terms.append(dice_loss(values.exp(), here, mixed) + (1 - share) * plain + share * weighted)
    return over_levels(terms)


def dice_loss(probabilities: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """1 minus the weighted mean soft Dice of the organs of a sample, averaged over samples. weights: (batch, class)."""
    dice = [
        soft_dice_by_class(sample[None], reference[None], SMOOTH)[0]
        for sample, reference in zip(probabilities, labels, strict=True)
    ]
    organs = weights[:, 1:]
    return (1 - (torch.stack(dice)[:, 1:] * organs).sum(1) / organs.sum(1)).mean()


def published_dice_loss(probabilities: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """As paper 000's code computes it on its batches of two, to compare: minus the Dice of the whole batch, background
    with it, weighed as the second sample is.

    The code means to drop the background and drops the first sample's weights. ValueError for another batch.
    """
    if len(labels) != 2:
        raise ValueError(f"the published Dice is that of batches of two, got {len(labels)}")
    dice, _ = soft_dice_by_class(probabilities, labels, SMOOTH)
    return -(dice * weights[1] / weights[1].sum()).sum()


def cross_entropy(log_probabilities: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Of a sample the mean over voxels, each weighed by its class; averaged over samples. weights: (class,)."""
    samples = zip(log_probabilities, labels, strict=True)
    return torch.stack([F.nll_loss(values[None], reference[None], weights) for values, reference in samples]).mean()
