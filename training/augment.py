"""Augment: one sample of a volume, warped and disturbed. Tensors (z, y, x), HU, lengths mm, points in -1..1.

Geometry is one set of points at which image and labels are read; intensities are changed one plain function each.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from app.hounsfield import AIR
from app.labels import CLASSES
from app.types import Shape
from training.dataset import Volume
from training.recipe import Augmentation, Recipe, Stage


def draw_sample(
    volume: Volume, recipe: Recipe, stage: Stage, rng: np.random.Generator, *, augmented: bool = True
) -> tuple[Tensor, Tensor]:
    """An image (z, y, x; HU, float32) of the stage's shape and its labels (int64), coarser by the stem's stride."""
    if augmented and rng.random() < stage.empty_share:
        return empty_sample(stage.shape, rng), torch.zeros(_label_shape(recipe, stage), dtype=torch.int64)
    choice = recipe.augmentation
    centre, size = _field_of_view(volume, recipe, stage, rng)
    matrix = _turn_and_scale(choice, rng) if augmented else np.eye(3)
    bend = augmented and rng.random() < choice.deformation_probability
    waves = rng.normal(0, choice.deformation_mm, (3, 4, 4, 4)) if bend else None
    points = sample_points(stage.shape, centre, size, matrix, waves, volume)
    coarse = _label_shape(recipe, stage)
    label_points = points if coarse == stage.shape else sample_points(coarse, centre, size, matrix, waves, volume)
    image = _read_image(volume.image, points)
    labels = _read_labels(volume.labels, label_points)
    if not augmented:
        return image, labels.long()
    if rng.random() < choice.cut_probability:
        cut_ends(image, labels, rng)
    return disturb(image, labels, choice, rng), labels.long()


def _label_shape(recipe: Recipe, stage: Stage) -> Shape:
    z, y, x = (n // recipe.network.stem_stride for n in stage.shape)
    return z, y, x


def empty_sample(shape: Shape, rng: np.random.Generator) -> Tensor:
    """What a scanner shows without a patient (z, y, x; HU): one value everywhere, or a cylinder of water in air."""
    if rng.random() < 0.5:
        image = torch.full(shape, float(rng.uniform(-1024, 150)))
    else:
        axes = [torch.linspace(-1, 1, n) - rng.uniform(-0.3, 0.3) for n in shape]
        _, y, x = torch.meshgrid(*axes, indexing="ij")
        inside = (y / rng.uniform(0.3, 1.2)) ** 2 + (x / rng.uniform(0.3, 1.2)) ** 2 < 1
        image = torch.where(inside, float(rng.uniform(-120, 150)), float(rng.choice([-1024, -1000])))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return image + torch.randn(shape, generator=generator) * float(rng.choice([0, 5, 25]))


def _field_of_view(
    volume: Volume, recipe: Recipe, stage: Stage, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centre (in -1..1) and size (mm) of what a sample shows."""
    extent = np.array(volume.extent)
    if recipe.sampling.kind == "scan":
        return _scan_field_of_view(extent, rng)
    size = np.array(stage.shape) * stage.spacing_mm
    room = np.maximum(0, 1 - size / extent)
    present = [points for points in volume.organ_points if len(points)]
    if present and rng.random() < recipe.sampling.organ_share:
        points = present[rng.integers(len(present))]
        centre = points[rng.integers(len(points))].numpy() + rng.normal(0, 0.2, 3) * size / extent
    else:
        centre = rng.uniform(-room, room)
    slack = 0.15 * size / extent  # a patch may reach over the edge, as windows of a small scan do
    return np.clip(centre, -room - slack, room + slack), size


def _scan_field_of_view(extent: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Any part of the scan along z from 100 mm up, and air or a tight cut at the sides."""
    height = extent[0] if rng.random() < 0.4 else rng.uniform(min(100, extent[0]), extent[0])
    stretch = rng.uniform(1.0, 1.6) if rng.random() < 0.3 else 1.0  # air above and below, as in a stitched scan
    centre_z = rng.uniform(-1, 1) * (1 - height / extent[0])
    side = max(extent[1:]) * rng.uniform(0.85, 1.5)
    square = rng.random() < 0.7  # scanners store square slices; cropped scans are not
    sides = np.array([side, side]) if square else extent[1:] * rng.uniform(0.9, 1.3, 2)
    centre = np.array([centre_z, *rng.normal(0, 0.08, 2)])
    return centre, np.array([height * stretch, *sides])


def _turn_and_scale(choice: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """A 3 x 3 matrix: rotations about the three axes after a common scale and one per axis."""
    a, b, c = np.radians(rng.normal(0, choice.rotation_degrees, 3))
    rotation = (
        np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
        @ np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
        @ np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    )
    scale = np.exp(rng.normal(0, choice.scale) + rng.normal(0, choice.axis_scale, 3))
    return np.asarray(rotation * scale)


def sample_points(
    shape: Shape,
    centre: np.ndarray,
    size: np.ndarray,
    matrix: np.ndarray,
    waves: np.ndarray | None,
    volume: Volume,
) -> Tensor:
    """Where each voxel of a sample lies in the volume: (1, z, y, x, 3), last axis (x, y, z) in -1..1.

    centre: -1..1 of the volume. size: mm of the sample. matrix: its turn and scale. waves: mm, (3, n, n, n) shifts
    of a coarse lattice over the sample, smoothed in between.
    """
    axes = [(torch.arange(n) + 0.5) / n - 0.5 for n in shape]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * torch.tensor(size, dtype=torch.float32)
    points = offsets @ torch.tensor(matrix, dtype=torch.float32).T
    if waves is not None:
        lattice = torch.tensor(waves, dtype=torch.float32)[None]
        points += F.interpolate(lattice, shape, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    points = points * 2 / torch.tensor(volume.extent) + torch.tensor(centre, dtype=torch.float32)
    return points.flip(-1)[None]


def _read_image(image: Tensor, points: Tensor) -> Tensor:
    """Trilinear HU; air outside."""
    above_air = (image - AIR)[None, None]
    return F.grid_sample(above_air, points, "bilinear", "zeros", align_corners=False)[0, 0] + AIR


def _read_labels(labels: Tensor, points: Tensor) -> Tensor:
    """Nearest label (uint8); background outside. Indexing, because grid_sample would need the labels as floats."""
    size = torch.tensor(labels.shape).flip(0)
    index = ((points[0] + 1) / 2 * size).floor().long()
    inside = ((index >= 0) & (index < size)).all(-1)
    x, y, z = index.clamp_(min=0).minimum(size - 1).unbind(-1)
    return labels[z, y, x] * inside


def cut_ends(image: Tensor, labels: Tensor, rng: np.random.Generator) -> None:
    """In place: air beyond a random slice at the top or at the bottom, up to half of the sample."""
    share = rng.uniform(0.05, 0.5)
    upper = rng.random() < 0.5
    for array, value in ((image, AIR), (labels, 0)):
        count = round(share * array.shape[0])
        part = array[array.shape[0] - count :] if upper else array[:count]
        part.fill_(value)


def disturb(image: Tensor, labels: Tensor, choice: Augmentation, rng: np.random.Generator) -> Tensor:
    """Intensities as another scanner, phase or protocol would give them. Only the returned image is changed."""
    if rng.random() < choice.organ_shift_probability:
        shifts = torch.tensor(rng.normal(0, choice.organ_shift_hu, len(CLASSES)), dtype=torch.float32)
        image = shift_organs(image, labels, shifts)
    if rng.random() < choice.contrast_probability:
        image = change_contrast(image, rng.normal(0, choice.brightness_hu), math.exp(rng.normal(0, choice.contrast)))
    if rng.random() < choice.thick_slice_probability:
        image = thicken_slices(image, int(rng.integers(2, 4)))
    if rng.random() < choice.blur_probability:
        image = blur(image)
    if rng.random() < choice.noise_probability:
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        image = image + torch.randn(image.shape, generator=generator) * abs(rng.normal(0, choice.noise_hu))
    return image


def shift_organs(image: Tensor, labels: Tensor, shifts: Tensor) -> Tensor:
    """Another contrast phase: every organ's HU moved as a whole by `shifts[label]`, softly at its edge."""
    field = shifts[labels.long()]
    if field.shape != image.shape:
        field = F.interpolate(field[None, None], image.shape, mode="nearest-exact")[0, 0]
    return image + F.avg_pool3d(field[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def change_contrast(image: Tensor, brightness: float, contrast: float) -> Tensor:
    """HU spread about soft tissue (40 HU) by a factor and shifted; air stays air."""
    return torch.where(image > -900, (image - 40) * contrast + 40 + brightness, image)


def thicken_slices(image: Tensor, factor: int) -> Tensor:
    """Slices of `factor` times the thickness, brought back to the grid by linear interpolation."""
    thick = F.avg_pool3d(image[None, None], (factor, 1, 1), (factor, 1, 1), ceil_mode=True, count_include_pad=False)
    return F.interpolate(thick, image.shape, mode="trilinear", align_corners=False)[0, 0]


def blur(image: Tensor) -> Tensor:
    """A 1-2-1 kernel along each axis."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    result = image[None, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 3
        padding = [0, 0, 0, 0, 0, 0]
        padding[4 - 2 * axis] = padding[5 - 2 * axis] = 1
        result = F.conv3d(F.pad(result, padding, mode="replicate"), kernel.reshape(shape))
    return result[0, 0]
