"""Distillation: a student learns the features of a teacher's deepest stages (paper 000). Tensors (batch, channel, z, y,
x)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks import build_network
from training.networks.nnunet import NNUNet
from training.recipe import Recipe

STAGES = 2  # the deepest, whose features are learnt
WEIGHT = 0.5  # of a stage's distance, beside a segmentation loss that counts 1


def distilled_levels(student: nn.Module, teacher: nn.Module, volume: Tensor) -> tuple[list[Tensor], Tensor]:
    """The student's class scores of every supervised level, and what its features add to the loss.

    The teacher, in eval mode, gets no gradient and decodes nothing. ValueError: another kind of network, and as
    `feature_distance`.
    """
    if not isinstance(student, NNUNet) or not isinstance(teacher, NNUNet):
        raise ValueError("features are learnt by one nnU-Net from another one")
    features = student.encode(volume)
    with torch.no_grad():
        answers = teacher.encode(volume)
    return student.decode(features), feature_distance(features[-STAGES:], answers[-STAGES:])


def check_shapes(student: Recipe, teacher: Recipe) -> None:
    """ValueError unless the student can learn the teacher's features, in the samples of all of its stages."""
    with torch.device("meta"):  # shapes, and no numbers
        ours, theirs = (build_network(recipe.network, recipe.classes) for recipe in (student, teacher))
        for stage in student.stages:
            distilled_levels(ours, theirs, torch.zeros(1, 1, *stage.shape))


def feature_distance(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Half the mean squared difference of every stage, summed over the stages; no gradient reaches the teacher.

    ValueError if a stage's features differ in shape: nothing projects one network's onto the other's.
    """
    for ours, theirs in zip(student, teacher, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(
                f"the student's features {tuple(ours.shape)} are not of the teacher's shape {tuple(theirs.shape)}; "
                "give its deepest stages the teacher's channels and the same strides on the way there"
            )
    # in float32: squares of bfloat16 have three digits
    terms = [F.mse_loss(ours.float(), theirs.detach().float()) for ours, theirs in zip(student, teacher, strict=True)]
    return WEIGHT * torch.stack(terms).sum()
