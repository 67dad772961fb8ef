"""Sample: one thing to learn from, drawn from volumes: what it shows, how it is turned, how it is disturbed.

The only module that draws random numbers for `training.augment`. Tensors (z, y, x), HU, lengths mm, positions -1..1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training import augment
from training.arithmetic import HAS_NUMBA
from training.lesions import add_lesions
from training.recipe import Augmentation, Intensity, Recipe, Sampling, Shape, Spacing, Stage
from training.volumes import AIR, Volume, Volumes, drawing_weights

Vector = NDArray[np.float64]  # (z, y, x)
PIECE_MM = 80  # of a stitched body, at the least
GAS_SHARE, MOST_GAS = 0.5, 0.7  # of refilled organs those with gas, and of their depth the most it takes
STRONGEST_ZOOM = 0.5  # twice as large, or two thirds as large for -0.5; from 1 on a zoom would fold space over


@dataclass(frozen=True, slots=True)
class FieldOfView:
    """What a sample shows of a volume. centre: position. size: mm."""

    centre: Vector
    size: Vector


@dataclass(frozen=True, slots=True)
class Zoom:
    """What lies around `centre`, a position in the volume, shown larger, or smaller for a strength below 0.

    strength: 1 - 1 / magnification at the centre; a Gaussian of standard deviation `radius`, mm, around it.
    """

    centre: Vector
    strength: float
    radius: float


@dataclass(frozen=True, slots=True)
class Warp:
    """matrix: turn and scale (3, 3). waves: mm, shifts (3, n, n, n) of a coarse lattice over the sample; or None."""

    matrix: NDArray[np.float64]
    waves: NDArray[np.float64] | None = None
    zoom: Zoom | None = None


STRAIGHT = Warp(np.eye(3))


class Sampler:
    """Draws samples of a stage from volumes; the same generator state gives the same sample."""

    def __init__(self, volumes: Volumes, recipe: Recipe, stage: Stage) -> None:
        self.volumes, self.recipe, self.stage = volumes, recipe, stage
        self._weights = drawing_weights(volumes.patients)
        self._is_pseudo = False  # of the sample being drawn, whether a network has made any of its labels
        self._organ_free = [index for index, has in enumerate(volumes.has_organ_free) if has]

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """An augmented image (z, y, x; HU, float32) of the stage's shape and its labels (uint8) on the scores' grid."""
        image, labels, _ = self.draw_with_origin(rng)
        return image, labels

    def draw_with_origin(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, bool]:
        """The same, and whether a network has made any of the labels; those of a phantom none has."""
        self._is_pseudo = False
        image, labels = self._disturbed(rng)
        mixing = self.recipe.augmentation.cut_mix_probability
        if mixing and self.stage.kind == "patch" and rng.random() < mixing:
            low, high = draw_box(labels.shape, rng)
            image, labels = augment.paste_box(image, labels, self._disturbed(rng), low, high)
        return image, as_learnt(labels, self.recipe), self._is_pseudo

    def _disturbed(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        sampling = self.recipe.sampling
        kind = rng.random()
        spacing = self.stage.spacing_mm
        shows_surface = self.stage.kind == "scan"  # of the body, with air around it
        if kind < sampling.phantom_share:
            image = draw_phantom(self.stage.shape, rng)
            labels = torch.zeros(_label_shape(self.stage.shape, self.recipe), dtype=torch.uint8)
        elif kind < sampling.phantom_share + sampling.organ_free_share and self._organ_free:
            image, labels, spacing = self._organ_free_sample(rng)
        elif self.stage.kind == "patch":
            image, labels, spacing = self._patch(rng)
        elif sampling.box_share and rng.random() < sampling.box_share:
            image, labels, spacing = self._box(rng)
            shows_surface = False
        else:
            image, labels, spacing = self._scan(rng)
        if shows_surface:
            image = surround(image, self.recipe.augmentation, rng)
        return disturb(image, labels, self.recipe.augmentation, spacing, self.recipe.intensity, rng)

    def draw_plain(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The same of an undisturbed volume, for calibration: a whole scan, or a patch."""
        volume = self._volume(rng)
        if self.stage.kind == "patch":
            view = patch_view(volume, self.stage, self.recipe.sampling.organ_share, rng)
        else:
            view = FieldOfView(np.zeros(3), np.array(volume.extent))
        return read_view(volume, view, STRAIGHT, self.stage.shape, self.recipe)

    def _volume(self, rng: np.random.Generator) -> Volume:
        return self._seen(self._drawn(rng))

    def _drawn(self, rng: np.random.Generator) -> Volume:
        return self.volumes[int(rng.choice(len(self._weights), p=self._weights))]

    def _seen(self, volume: Volume) -> Volume:
        """`volume`, of which a sample is made."""
        self._is_pseudo |= not self.recipe.data.is_manual(volume.name)
        return volume

    def _read(self, volume: Volume, view: FieldOfView, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        """Image, labels, and the image's spacing."""
        choice = self.recipe.augmentation
        warp = draw_warp(choice, rng)
        if rng.random() < choice.zoom_probability:
            warp = replace(warp, zoom=draw_zoom(choice, volume, view, rng))
        return *read_view(volume, view, warp, self.stage.shape, self.recipe), self._spacing(view)

    def _spacing(self, view: FieldOfView) -> Spacing:
        z, y, x = (float(size) / n for size, n in zip(view.size, self.stage.shape, strict=True))
        return z, y, x

    def _patch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        volume = self._volume(rng)
        return self._read(volume, patch_view(volume, self.stage, self.recipe.sampling.organ_share, rng), rng)

    def _organ_free_sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        volume = self._seen(self.volumes[self._organ_free[rng.integers(len(self._organ_free))]])
        low, high = volume.organ_free[rng.integers(len(volume.organ_free))]
        extent = np.array(volume.extent)
        if self.stage.kind == "patch":
            size = np.array(self.stage.shape) * self.stage.spacing_mm
            room = np.maximum(0, 1 - size / extent)
            centre = rng.uniform(-room, room)
            half = size[0] / extent[0]  # of the sample, in positions; where it is too high it reaches out of the scan
            if low <= -1:
                centre[0] = rng.uniform(low, high) - half
            else:
                centre[0] = rng.uniform(low, high) + half
            return self._read(volume, FieldOfView(centre, size), rng)
        height = (high - low) * rng.uniform(0.5, 1.0)
        middle = rng.uniform(low + height / 2, high - height / 2)
        view = scan_view(volume, rng)
        view.centre[0], view.size[0] = middle, height / 2 * extent[0]
        # not turned: that would bring organs in
        return *read_view(volume, view, STRAIGHT, self.stage.shape, self.recipe), self._spacing(view)

    def _scan(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        sampling = self.recipe.sampling
        kind = rng.random()
        if kind < sampling.stitched_share:
            return self._stitched(rng)
        volume = self._volume(rng)
        view = scan_view(volume, rng)
        height = volume.extent[0]
        if kind < sampling.stitched_share + sampling.padded_share:
            view.size[0] = rng.uniform(height, max(height, sampling.body_mm))
            view.centre[0] = rng.uniform(-1, 1) * (view.size[0] / height - 1)
        elif kind < sampling.stitched_share + sampling.padded_share + sampling.slab_share:
            low, high = sampling.slab_mm
            view.size[0] = min(height, rng.uniform(low, high))
            view.centre[0] = rng.uniform(-1, 1) * (1 - view.size[0] / height)
        return self._read(volume, view, rng)

    def _box(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        volume = self._volume(rng)
        return self._read(volume, box_view(volume, self.recipe.sampling, rng), rng)

    def _stitched(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Spacing]:
        """Pieces of several patients, and now and then of a phantom, end to end."""
        slices, *side = self.stage.shape
        stride = self.recipe.network.label_stride
        body = rng.uniform(0.5, 1.0) * self.recipe.sampling.body_mm
        pieces: list[tuple[Tensor, Tensor]] = []
        left = slices
        while left:
            volume = self._drawn(rng)
            view = scan_view(volume, rng)
            height = rng.uniform(PIECE_MM, max(PIECE_MM, volume.extent[0]))
            count = min(left, max(stride, round(height / body * slices / stride) * stride))
            shape = (count, side[0], side[1])
            if rng.random() < 0.2:
                piece = draw_phantom(shape, rng), torch.zeros(_label_shape(shape, self.recipe), dtype=torch.uint8)
            else:
                view.size[0] = count / slices * body
                room = max(0.0, 1 - view.size[0] / volume.extent[0])
                view.centre[0] = rng.uniform(-room, room)
                piece = read_view(
                    self._seen(volume), view, draw_warp(self.recipe.augmentation, rng), shape, self.recipe
                )
            pieces.append(piece)
            left -= count
        images, labels = zip(*pieces, strict=True)
        _, y, x = self._spacing(view)
        return torch.cat(images), torch.cat(labels), (body / slices, y, x)


def patch_view(volume: Volume, stage: Stage, organ_share: float, rng: np.random.Generator) -> FieldOfView:
    """A block at the stage's spacing, near an organ or anywhere."""
    extent = np.array(volume.extent)
    size = np.array(stage.shape) * stage.spacing_mm
    room = np.maximum(0, 1 - size / extent)
    point = _organ_point(volume, organ_share, rng)
    centre = rng.uniform(-room, room) if point is None else point + rng.normal(0, 0.2, 3) * size / extent
    slack = 0.15 * size / extent  # a patch may reach over the edge, as windows of a small scan do
    return FieldOfView(np.clip(centre, -room - slack, room + slack), size)


def box_view(volume: Volume, sampling: Sampling, rng: np.random.Generator) -> FieldOfView:
    """A box within the volume, its sides drawn from `box_mm` or the volume's where that is shorter.

    In its middle is a point of an organ, as far as the volume allows, as often as `organ_share` says; else it is
    anywhere, for what is seen as closely is not always an organ.
    """
    extent = np.array(volume.extent)
    size = np.minimum(extent, rng.uniform(*sampling.box_mm, 3))
    room = 1 - size / extent
    point = _organ_point(volume, sampling.organ_share, rng)
    centre = rng.uniform(-room, room) if point is None else point
    return FieldOfView(np.clip(centre, -room, room), size)


def _organ_point(volume: Volume, share: float, rng: np.random.Generator) -> Vector | None:
    """A position in one of the volume's organs in that share of all draws; else, or where it has none, None."""
    organs = [points for points in volume.organ_points if len(points)]
    return _point_of_any(organs, rng) if organs and rng.random() < share else None


def _point_of_any(organs: list[Tensor], rng: np.random.Generator) -> Vector:
    """A position in one of the organs, given as points (n, 3); a small one is as likely as a large one."""
    points = organs[rng.integers(len(organs))]
    return points[rng.integers(len(points))].numpy().astype(np.float64)


def scan_view(volume: Volume, rng: np.random.Generator) -> FieldOfView:
    """A scan from end to end, with air or a tight cut at the sides."""
    extent = np.array(volume.extent)
    side = max(extent[1:]) * rng.uniform(0.85, 1.5)
    square = rng.random() < 0.7  # scanners store square slices; cropped scans are not
    sides = np.array([side, side]) if square else extent[1:] * rng.uniform(0.9, 1.3, 2)
    return FieldOfView(np.array([0, *rng.normal(0, 0.08, 2)]), np.array([extent[0], *sides]))


def draw_warp(choice: Augmentation, rng: np.random.Generator) -> Warp:
    """Rotations about the three axes, after a common scale and one per axis, and now and then a smooth deformation."""
    turn = augment.rotation(tuple(rng.normal(0, choice.rotation_degrees, 3))).numpy()
    scale = np.exp(rng.normal(0, choice.scale) + rng.normal(0, choice.axis_scale, 3))
    bend = rng.random() < choice.deformation_probability
    return Warp(turn * scale, rng.normal(0, choice.deformation_mm, (3, 4, 4, 4)) if bend else None)


def draw_zoom(choice: Augmentation, volume: Volume, view: FieldOfView, rng: np.random.Generator) -> Zoom | None:
    """An organ of the field of view, or the part of it around one of its points, larger or smaller; None without one.

    Small organs differ more between people than a common scale does: a gallbladder has 5 ml or 100.
    """
    reach = view.size / np.array(volume.extent)
    inside = [
        points[((points - torch.from_numpy(view.centre)).abs() < torch.from_numpy(reach)).all(1)]
        for points in volume.organ_points
    ]
    present = [points for points in inside if len(points)]
    if not present:
        return None
    centre = _point_of_any(present, rng)
    strength = float(np.clip(rng.normal(0, choice.zoom), -STRONGEST_ZOOM, STRONGEST_ZOOM))
    return Zoom(centre, strength, float(rng.uniform(*choice.zoom_mm)))


def draw_box(shape: Sequence[int], rng: np.random.Generator) -> tuple[list[float], list[float]]:
    """Where a box begins and ends on each axis of a grid of `shape`, in whole voxels, as shares of the axes.

    As CutMix draws it: a volume between none and all, the shape of the whole, its centre anywhere; what would reach
    out is cut off.
    """
    side = rng.uniform() ** (1 / 3)
    centre = rng.uniform(0, 1, 3)
    grid = np.array(shape)
    low, high = (np.round(np.clip(centre + way * side / 2, 0, 1) * grid) / grid for way in (-1, 1))
    return low.tolist(), high.tolist()


def draw_phantom(shape: Shape, rng: np.random.Generator) -> Tensor:
    """What a scanner shows without an abdomen (z, y, x; HU): one value, a cylinder, two legs or a head, and noise."""
    air = float(rng.choice([-1024.0, -1000.0]))
    y, x = rng.uniform(-0.3, 0.3, 2)
    kind = rng.integers(4)
    if kind == 0:
        image = torch.full(shape, float(rng.uniform(-1024, 150)))
    elif kind == 1:
        radius_y, radius_x = rng.uniform(0.3, 1.2, 2)
        image = augment.phantom(shape, [(y, x, radius_y, radius_x, float(rng.uniform(-120, 150)))], air)
    elif kind == 2:
        r, gap = rng.uniform(0.2, 0.45), rng.uniform(0.22, 0.5)
        muscle, bone = float(rng.uniform(20, 80)), float(rng.uniform(200, 1200))
        rings = ((1.0, -100.0), (rng.uniform(0.7, 0.92), muscle), (rng.uniform(0.15, 0.35), bone))
        image = augment.phantom(
            shape, [(y, x + side * gap, r * part, r * part, hu) for part, hu in rings for side in (-1, 1)], air
        )
    else:
        r, ratio = rng.uniform(0.35, 0.8), rng.uniform(1.0, 1.4)
        rings = ((1.0, 40.0), (0.92, float(rng.uniform(500, 1500))), (0.85, float(rng.uniform(15, 45))))
        image = augment.phantom(shape, [(y, x, r * part * ratio, r * part, hu) for part, hu in rings], air)
    return augment.add_noise(image, float(rng.choice([0, 5, 25])), int(rng.integers(2**31)))


def as_learnt(labels: Tensor, recipe: Recipe) -> Tensor:
    """Labels as the network learns them: all organs as one where the recipe says so."""
    return labels.clamp(max=1) if recipe.data.one_organ else labels


def read_view(volume: Volume, view: FieldOfView, warp: Warp, shape: Shape, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Image (float32 HU) and labels (uint8) of what a field of view shows, air and background outside.

    As `app.steps.resample` reads a scan: where the sample is coarser than the volume by a whole factor or more, blocks
    of that many voxels are averaged first; the rest is trilinear, the edge value holding up to the scan's outer face.
    Labels are nearest neighbours.
    """
    points = sample_points(shape, view, warp, volume)
    coarse = _label_shape(shape, recipe)
    label_points = points if coarse == shape else sample_points(coarse, view, warp, volume)
    spacing = view.size / shape
    own = np.array(volume.extent) / volume.image.shape
    z, y, x = (max(1, int(factor + 1e-6)) for factor in spacing / own)
    return read_image(volume.image, points, (z, y, x)), read_labels(volume.labels, label_points)


def sample_points(shape: Shape, view: FieldOfView, warp: Warp, volume: Volume) -> Tensor:
    """Where each voxel of a sample lies in the volume: (1, z, y, x, 3), last axis (x, y, z) in -1..1."""
    per_mm = 2 / np.array(volume.extent)
    affine = np.concatenate([per_mm[:, None] * warp.matrix * (view.size / 2), view.centre[:, None]], 1)
    along_z, along_y, along_x, centre = torch.tensor(affine[::-1].copy(), dtype=torch.float32).unbind(1)
    z, y, x = (torch.arange(1 - n, n, 2)[:, None] / n for n in shape)
    # as F.affine_grid has them, which multiplies matrices and takes five times as long
    points = (z[:, None, None] * along_z + y[:, None] * along_y + centre + x * along_x)[None]
    if warp.waves is not None:
        lattice = torch.tensor((per_mm[:, None, None, None] * warp.waves)[::-1].copy(), dtype=torch.float32)
        points += F.interpolate(lattice[None], shape, mode="trilinear", align_corners=True).movedim(1, -1)
    return points if warp.zoom is None else _zoomed(points, warp.zoom, volume)


def _zoomed(points: Tensor, zoom: Zoom, volume: Volume) -> Tensor:
    """Points that lie near the centre, nearer to it (or further away): what is there is shown larger (or smaller)."""
    mm = torch.tensor(volume.extent[::-1]) / 2  # of a position; torch runs (x, y, z)
    away = points - torch.tensor(zoom.centre[::-1].copy(), dtype=torch.float32)
    squared = (away * mm).square().sum(-1, keepdim=True)
    return points - away * (zoom.strength * torch.exp(squared / (-2 * zoom.radius**2)))


def read_image(image: Tensor, points: Tensor, block: Shape = (1, 1, 1)) -> Tensor:
    """HU (z, y, x; float32) of an image (z, y, x) at `points` (1, z, y, x, 3), averaged over blocks of so many voxels
    before."""
    if HAS_NUMBA and block == (1, 1, 1):
        from training.reading_loops import interpolate

        result = torch.empty(points.shape[1:4])
        interpolate(image.numpy(), points[0].reshape(-1, 3).numpy(), AIR, result.view(-1).numpy())
        return result
    inside = points[0].abs().amax(-1) <= 1
    values = image.float()
    if block != (1, 1, 1):
        values, points = _averaged(values, points, block)
    read = F.grid_sample(values[None, None], points, "bilinear", "border", align_corners=False)[0, 0]
    return read.masked_fill_(~inside, AIR)


def _averaged(image: Tensor, points: Tensor, block: Shape) -> tuple[Tensor, Tensor]:
    """Means of blocks, the last of each axis filled up with the edge value, and `points` where they lie in those."""
    missing = [-n % size for n, size in zip(image.shape, block, strict=True)]
    filled = F.pad(image[None, None], (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
    share = torch.tensor([n / (n + more) for n, more in zip(image.shape, missing, strict=True)])
    return F.avg_pool3d(filled, block)[0, 0], (points + 1) * share.flip(0) - 1


def read_labels(labels: Tensor, points: Tensor) -> Tensor:
    """Nearest label (uint8) at `points` (1, z, y, x, 3); background outside."""
    if HAS_NUMBA:
        from training.reading_loops import nearest

        result = torch.empty(points.shape[1:4], dtype=torch.uint8)
        nearest(labels.numpy(), points[0].reshape(-1, 3).numpy(), result.view(-1).numpy())
        return result
    depth, height, width = labels.shape  # by index, for grid_sample would need the labels as floats
    size = torch.tensor([width, height, depth])
    index = ((points[0] + 1) * (size / 2)).floor_().int()
    inside = ((index >= 0) & (index < size)).all(-1)
    x, y, z = index.unbind(-1)
    place = ((z * height + y) * width + x).masked_fill_(~inside, 0)
    return labels.flatten().index_select(0, place.flatten()).view_as(place) * inside


def surround(image: Tensor, choice: Augmentation, rng: np.random.Generator) -> Tensor:
    """A couch and arms in the air around a body. Of whole scans only: at the edge of a patch is no body's surface."""
    if rng.random() < choice.couch_probability:
        image = augment.add_couch(
            image,
            gap=int(rng.integers(0, 5)),
            bend=float(rng.uniform(0, 0.25) * image.shape[1]),
            shell=float(rng.uniform(-300, 200)),
            thickness=int(rng.integers(2, 2 + max(2, image.shape[1] // 12))),
        )
    if rng.random() < choice.arms_probability:
        for side in (-1, 1):
            centre = (float(rng.uniform(-0.5, 0.5)), side * float(rng.uniform(0.8, 1.0)))
            radius = (float(rng.uniform(0.1, 0.2)), float(rng.uniform(0.1, 0.2)))
            image = augment.add_arm(image, centre, radius, float(rng.uniform(20, 80)))
    return image


def disturb(
    image: Tensor,
    labels: Tensor,
    choice: Augmentation,
    spacing: Spacing,
    intensity: Intensity,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """What another patient, phase, protocol or scanner would change, in the order in which it comes about."""

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability)

    if happens(choice.mirror_probability):
        image, labels = augment.mirror(image, labels, choice.mirror_pairs)
    if happens(choice.remove_organ_probability):
        present = [organ for organ in choice.removable_organs if (labels == organ).any()]
        if present:
            image, labels = augment.remove_organ(image, labels, present[rng.integers(len(present))])
    if choice.lesion_probability and happens(choice.lesion_probability):
        image, labels = add_lesions(image, labels, choice.lesion_organs, spacing, rng)
    if happens(choice.fill_probability):
        present = [organ for organ in choice.hollow_organs if (labels == organ).any()]
        if present:
            organ = present[rng.integers(len(present))]
            image = _refilled(image, labels, organ, choice, spacing, rng)
    if happens(choice.organ_shift_probability):
        shifts = rng.normal(0, 1, len(choice.organ_shift_hu)) * choice.organ_shift_hu
        image = augment.shift_organs(image, labels, torch.tensor(shifts, dtype=torch.float32))
    if happens(choice.contrast_probability):
        spread = float(np.exp(rng.normal(0, choice.contrast)))
        image = augment.change_contrast(image, float(rng.normal(0, choice.brightness_hu)), spread)
    if happens(choice.gamma_probability):
        gamma = float(np.exp(rng.normal(0, choice.gamma)))
        image = augment.change_gamma(image, intensity.low, intensity.high, gamma)
    if happens(choice.cut_ends_probability):
        image, labels = _cut_one_side(image, labels, 0, rng.uniform(0.05, 0.5), rng)
    if happens(choice.cut_sides_probability):
        image, labels = _cut_one_side(image, labels, int(rng.integers(1, 3)), rng.uniform(0.02, 0.2), rng)
    if happens(choice.thick_slice_probability):
        factor = rng.uniform(*choice.thick_slice_mm) / spacing[0]
        if factor > 1:
            image = augment.thicken_slices(image, float(factor))
    if happens(choice.low_resolution_probability):
        image = augment.lower_resolution(image, float(rng.uniform(1.2, 2.0)))
    if happens(choice.blur_probability):
        image = augment.blur(image)
    if happens(choice.noise_probability):
        image = augment.add_noise(image, float(abs(rng.normal(0, choice.noise_hu))), int(rng.integers(2**31)))
    return image, labels


def _refilled(
    image: Tensor, labels: Tensor, organ: int, choice: Augmentation, spacing: Spacing, rng: np.random.Generator
) -> Tensor:
    thickness = rng.uniform(*choice.wall_mm)
    z, y, x = (max(1, round(thickness / mm)) for mm in spacing)
    low, high = choice.fill_hu
    content = low + (high - low) * rng.random() ** 2  # water and food more often than contrast medium
    gas = rng.uniform(0, MOST_GAS) if rng.random() < GAS_SHARE else 0.0
    return augment.fill_lumen(image, labels, organ, (z, y, x), float(content), float(gas))


def _cut_one_side(
    image: Tensor, labels: Tensor, axis: int, share: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    below, above = (share, 1.0) if rng.random() < 0.5 else (0.0, 1.0 - share)
    return augment.cut(image, labels, axis, below, above)


def _label_shape(shape: Shape, recipe: Recipe) -> Shape:
    z, y, x = (n // recipe.network.label_stride for n in shape)
    return z, y, x
