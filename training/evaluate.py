"""Evaluate: the network on the fold's volumes, whole and undisturbed. Tensors (z, y, x).

Dice on the training grid, to choose by; what ships is measured through the whole pipeline, by `evaluation`.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.arithmetic import autocast
from training.recipe import SMALLEST_SIDE, Intensity, Recipe, Stage
from training.sample import STRAIGHT, FieldOfView, as_learnt, read_view
from training.volumes import Volume, Volumes


class SegmentationNetwork(Protocol):
    """What is evaluated: an image (1, 1, z, y, x), normalised, to scores (1, class, z, y, x)."""

    def __call__(self, volume: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """mean: over patients, of their organs' mean; NaN without organs. dice: per class id, over patients that have it.

    false_alarms: how often an organ was seen that the volume's labels do not have.
    """

    mean: float
    false_alarms: int
    dice: dict[int, float]


def normalised(image: Tensor, intensity: Intensity) -> Tensor:
    """`app.steps.normalise` for tensors: clipped HU to the network's input."""
    return (image.clamp(intensity.low, intensity.high) - intensity.mean) / intensity.deviation


def whole(volume: Volume, recipe: Recipe, stage: Stage) -> tuple[Tensor, Tensor]:
    """All of a volume as the network sees it: image (float32 HU) and labels (uint8) on the scores' grid.

    A scan fills the stage's shape; for patches the volume keeps its spacing and is filled up with air.
    """
    extent = np.array(volume.extent)
    if stage.kind == "scan":
        image, labels = read_view(volume, FieldOfView(np.zeros(3), extent), STRAIGHT, stage.shape, recipe)
        return image, as_learnt(labels, recipe)
    voxels = [max(1, round(e / s)) for e, s in zip(extent, stage.spacing_mm, strict=True)]
    multiple = recipe.network.multiple
    z, y, x = (side * max(SMALLEST_SIDE, math.ceil(n / side)) for n, side in zip(voxels, multiple, strict=True))
    size = np.array((z, y, x)) * (extent / voxels)
    view = FieldOfView(size / extent - 1, size)  # begins where the volume does
    image, labels = read_view(volume, view, STRAIGHT, (z, y, x), recipe)
    return image, as_learnt(labels, recipe)


def predict(network: SegmentationNetwork, image: Tensor, intensity: Intensity, device: torch.device) -> Tensor:
    """The network's classes (z, y, x; uint8) of an image in HU."""
    with torch.inference_mode(), autocast(device):
        scores = network(normalised(image.to(device), intensity)[None, None])
    return scores[0].argmax(0).to(torch.uint8).cpu()


def dice_of_classes(truth: Tensor, prediction: Tensor, classes: int) -> dict[int, float]:
    """Dice of each organ that the truth has, by class id."""
    counts = torch.bincount(truth.flatten().long() * classes + prediction.flatten().long(), minlength=classes**2)
    table = counts.reshape(classes, classes)
    sizes = table.sum(0) + table.sum(1)
    present = [organ for organ in range(1, classes) if table[organ].sum() > 0]
    return {organ: float(2 * table[organ, organ] / sizes[organ]) for organ in present}


def evaluate(
    network: torch.nn.Module, volumes: Volumes, recipe: Recipe, stage: Stage, device: torch.device, picture: Path
) -> Evaluation:
    """Every volume of the fold once; a slice of each goes into `picture` (.npz), for `training.pictures`."""
    network.eval()
    by_patient: dict[str, list[dict[int, float]]] = {}
    false_alarms = 0
    slices: dict[str, NDArray[np.generic]] = {}
    for index, patient in enumerate(volumes.patients):
        volume = volumes[index]
        image, truth = whole(volume, recipe, stage)
        prediction = predict(network, image, recipe.intensity, device)
        dice = dice_of_classes(truth, prediction, recipe.classes)
        by_patient.setdefault(patient, []).append(dice)
        false_alarms += len(set(prediction.unique().tolist()) - {0, *dice})
        slices |= _slice_to_look_at(volume.name, image, truth, prediction)
    partial = picture.with_suffix(".partial.npz")
    np.savez_compressed(partial, **slices)  # type: ignore[arg-type]
    partial.replace(picture)
    network.train()
    return summarise(by_patient, false_alarms, recipe.classes)


def summarise(by_patient: dict[str, list[dict[int, float]]], false_alarms: int, classes: int) -> Evaluation:
    """Means over a patient's volumes, then over patients; volumes without organs are left out."""
    kept = [[dice for dice in found if dice] for found in by_patient.values()]
    means = [float(np.mean([np.mean(list(dice.values())) for dice in found])) for found in kept if found]
    organs = {}
    for organ in range(1, classes):
        per_patient = [[dice[organ] for dice in found if organ in dice] for found in by_patient.values()]
        known = [float(np.mean(values)) for values in per_patient if values]
        if known:
            organs[organ] = float(np.mean(known))
    return Evaluation(float(np.mean(means)) if means else math.nan, false_alarms, organs)


def _slice_to_look_at(name: str, image: Tensor, truth: Tensor, prediction: Tensor) -> dict[str, NDArray[np.generic]]:
    """The coronal slice with most organ voxels (they show the whole of a scan), image brought to the labels' grid."""
    coarse = F.interpolate(image[None, None], truth.shape, mode="area")[0, 0]
    at = int((truth > 0).sum((0, 2)).argmax())
    return {
        f"{name}.image": coarse[:, at].round().to(torch.int16).numpy(),
        f"{name}.reference": truth[:, at].numpy(),
        f"{name}.prediction": prediction[:, at].numpy(),
    }
