"""Lesions: made-up ones, painted into a scan and its labels. Images (z, y, x) float32 HU, labels alike uint8.

For training a class of lesions on scans that have none drawn: what learns from these has never seen a real one that was
labelled, and says so on its card. A lesion is a lumpy ellipsoid in an organ, darker or brighter than it, with a soft
edge and a texture; it may bulge out of its organ into fat and soft tissue, but not into another organ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training import augment
from training.recipe import LESION, Spacing

DIAMETER_MM = (5.0, 60.0)  # of a ball of the same volume; as many from 5 to 10 as from 30 to 60
CONTRAST_HU = (15.0, 100.0)
DARKER = 0.7  # the share of them: most are, in the portal venous phase
MOST = 3  # in one sample
GROWS_INTO = (-200.0, 150.0)  # HU outside of its organ: neither gas nor lung nor bone
WAVES = 8  # whose sum makes lumps and texture
HIGHEST_WAVE = 2.0  # deviations; what is higher is cut off, so that a lesion has an end


@dataclass(frozen=True, slots=True)
class Lesion:
    """organ: the label it grows in. centre: a voxel (z, y, x). radii: mm, of an ellipsoid turned by `degrees` about
    z, y and x. lumps: how far its surface leaves the ellipsoid, a share of the radius (a standard deviation).
    edge: mm in which it fades out, half of them inside; above 0. contrast: HU more than the organ's median, or less.
    texture: HU, a standard deviation, in waves of `texture_mm`. bulge: mm that it may leave its organ by. seed: of
    lumps and texture."""

    organ: int
    centre: tuple[int, int, int]
    radii: Spacing
    degrees: tuple[float, float, float]
    lumps: float
    edge: float
    contrast: float
    texture: float
    texture_mm: float
    bulge: float
    seed: int

    @property
    def radius(self) -> float:
        """mm, of a ball of the same volume."""
        return math.prod(self.radii) ** (1 / 3)


def add_lesions(
    image: Tensor, labels: Tensor, organs: Sequence[int], spacing: Spacing, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """One to three lesions in any of `organs`; image and labels as they are where there is none of these."""
    for _ in range(rng.integers(1, MOST + 1)):
        lesion = draw_lesion(labels, organs, rng)
        if lesion is not None:
            image, labels = paint_lesion(image, labels, lesion, spacing)
    return image, labels


def draw_lesion(labels: Tensor, organs: Sequence[int], rng: np.random.Generator) -> Lesion | None:
    """A lesion anywhere in one of `organs`, a small organ as likely as a large one; None where there is none."""
    present = [organ for organ in organs if (labels == organ).any()]
    if not present:
        return None
    organ = present[rng.integers(len(present))]
    voxels = (labels == organ).nonzero()
    z, y, x = voxels[rng.integers(len(voxels))].tolist()
    diameter = float(np.exp(rng.uniform(*np.log(DIAMETER_MM))))
    stretch = rng.normal(0, 0.15, 3)
    r_z, r_y, r_x = (diameter / 2 * np.exp(stretch - stretch.mean())).tolist()
    a, b, c = rng.uniform(0, 180, 3).tolist()
    return Lesion(
        organ=organ,
        centre=(z, y, x),
        radii=(r_z, r_y, r_x),
        degrees=(a, b, c),
        lumps=rng.uniform(0, 0.15),
        edge=rng.uniform(0.1, 0.5) * diameter / 2,
        contrast=rng.uniform(*CONTRAST_HU) * (-1 if rng.random() < DARKER else 1),
        texture=rng.uniform(0, 15),
        texture_mm=rng.uniform(4, 15),
        bulge=rng.uniform(0, 0.3) * diameter,
        seed=int(rng.integers(2**31)),
    )


def paint_lesion(image: Tensor, labels: Tensor, lesion: Lesion, spacing: Spacing) -> tuple[Tensor, Tensor]:
    """Image and labels with the lesion, new ones; spacing in mm. Labels are LESION to the middle of its soft edge.

    ValueError: image and labels are not on one grid, or the organ is not there.
    """
    if image.shape != labels.shape:
        raise ValueError(f"a lesion needs labels as fine as the image, got {labels.shape} and {image.shape}")
    organ = labels == lesion.organ
    if not organ.any():
        raise ValueError(f"no organ {lesion.organ} in these labels to paint a lesion in")
    level = float(image[organ].median()) + lesion.contrast
    box, offsets = _box(image.shape, lesion, spacing)
    image, labels = image.clone(), labels.clone()
    around, label = image[box], labels[box]
    waves = torch.Generator().manual_seed(lesion.seed)
    depth = _depth(offsets, lesion, waves)
    room = _room(around, label, lesion, spacing)
    share = (0.5 + depth / lesion.edge).clamp(0, 1) * room * augment.smoothed(room.float())
    inside = level + lesion.texture * _waves(offsets, lesion.texture_mm, waves) + augment.grain(around)
    image[box] = around + share * (inside - around)
    labels[box] = torch.where(room & (depth >= 0), LESION, label)
    return image, labels


def _box(shape: torch.Size, lesion: Lesion, spacing: Spacing) -> tuple[tuple[slice, ...], Tensor]:
    """What of a volume the lesion can reach, and how far each voxel of it is from the centre: (3, z, y, x) mm."""
    reach = max(lesion.radii) * (1 + HIGHEST_WAVE * lesion.lumps + lesion.edge / (2 * lesion.radius))
    voxels = [math.ceil(reach / mm) for mm in spacing]
    starts = [max(0, middle - away) for middle, away in zip(lesion.centre, voxels, strict=True)]
    stops = [min(n, middle + away + 1) for n, middle, away in zip(shape, lesion.centre, voxels, strict=True)]
    box = [slice(start, stop) for start, stop in zip(starts, stops, strict=True)]
    axes = [
        (torch.arange(part.start, part.stop) - middle) * mm
        for part, middle, mm in zip(box, lesion.centre, spacing, strict=True)
    ]
    return tuple(box), torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _depth(offsets: Tensor, lesion: Lesion, waves: torch.Generator) -> Tensor:
    """How far each voxel lies inside the lesion, in mm (outside: less than 0); of a ball, exact without lumps."""
    turned = torch.einsum("ij,izyx->jzyx", augment.rotation(lesion.degrees).float(), offsets)
    away = (turned / torch.tensor(lesion.radii)[:, None, None, None]).square().sum(0).sqrt()
    return (1 - away + lesion.lumps * _waves(offsets, 2 * lesion.radius, waves)) * lesion.radius


def _room(image: Tensor, labels: Tensor, lesion: Lesion, spacing: Spacing) -> Tensor:
    """Where the lesion may be: its organ, and around it what is no organ, within reach and soft enough."""
    organ = labels == lesion.organ
    z, y, x = (round(lesion.bulge / mm) for mm in spacing)
    near = augment.dilated(organ.float(), (z, y, x)) > 0
    low, high = GROWS_INTO
    return organ | (near & (labels == 0) & (image > low) & (image < high))


def _waves(offsets: Tensor, length: float, waves: torch.Generator) -> Tensor:
    """Plane waves of one length (mm) in all directions, summed: (z, y, x) of mean 0 and deviation 1, cut at 2."""
    directions = torch.randn(WAVES, 3, generator=waves)
    directions /= directions.norm(dim=1, keepdim=True)
    phases = torch.rand(WAVES, generator=waves) * 2 * math.pi
    field = torch.zeros(offsets.shape[1:])
    for direction, phase in zip(directions, phases, strict=True):
        field += (torch.einsum("i,izyx->zyx", direction, offsets) * (2 * math.pi / length) + phase).cos()
    return (field * math.sqrt(2 / WAVES)).clamp(-HIGHEST_WAVE, HIGHEST_WAVE)
