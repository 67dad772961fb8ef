"""Augment: what may be different about another patient, scanner or protocol, one plain function each.

Images (z, y, x) float32 HU, labels (z, y, x) uint8 or int64 with sides that divide the image's; all parameters are
given: `training.sample` draws them, and noise comes from a seed. Nothing is changed in place.

By hand because the two libraries that have the usual ones are slower where it counts, on one thread, for a 64 x 80 x 96
patch with its labels: geometry with smooth deformation takes 0.08 s here (one set of points for both), 0.34 s in
batchgeneratorsv2 (2026-11), 0.63 s in MONAI 1.5; and neither is there where a pack is trained on.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from training.volumes import AIR

FAT = (-150.0, -50.0)  # HU
OUTSIDE = -300.0  # HU; what is below, around a body, is taken for air
GAS = -1000.0  # HU
GRAIN = 40.0  # HU from the mean of the 27 voxels around; what differs more is an edge
SOFT_TISSUE = 40.0  # HU


def mirror(image: Tensor, labels: Tensor, pairs: tuple[tuple[int, int], ...]) -> tuple[Tensor, Tensor]:
    """Left and right exchanged (x is the last axis), and with them the labels of paired organs."""
    table = torch.arange(256, dtype=torch.uint8)
    for one, other in pairs:
        table[one], table[other] = other, one
    return image.flip(2), table[labels.flip(2).long()].to(labels.dtype)


def cut(image: Tensor, labels: Tensor, axis: int, below: float, above: float) -> tuple[Tensor, Tensor]:
    """Nothing seen before the share `below` of an axis and after the share `above`: another field of view."""
    return _cut(image, axis, below, above, AIR), _cut(labels, axis, below, above, 0)


def _cut(array: Tensor, axis: int, below: float, above: float, fill: float) -> Tensor:
    result = array.clone()
    size = array.shape[axis]
    first, last = round(below * size), round(above * size)
    result.narrow(axis, 0, first).fill_(fill)
    result.narrow(axis, last, size - last).fill_(fill)
    return result


def paste_box(
    image: Tensor, labels: Tensor, other: tuple[Tensor, Tensor], low: Sequence[float], high: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """A box of another image and its labels in place of what is there: CutMix (Yun et al., arXiv:1905.04899).

    low, high: where the box begins and ends, as shares of the axes (z, y, x).
    """
    mixed = image.clone(), labels.clone()
    for target, source in zip(mixed, other, strict=True):
        box = tuple(
            slice(round(first * size), round(last * size))
            for first, last, size in zip(low, high, target.shape, strict=True)
        )
        target[box] = source[box]
    return mixed


def remove_organ(image: Tensor, labels: Tensor, organ: int) -> tuple[Tensor, Tensor]:
    """An organ taken out: its place filled with fat as bright as the fat around it, its label with background."""
    mask = (labels == organ).float()
    inside = _on_grid(mask, image)
    near = dilated(inside, (2, 2, 2))
    around = image[(near > 0) & (inside == 0)]
    fat = around[(around > FAT[0]) & (around < FAT[1])]
    value = float(fat.mean()) if len(fat) else sum(FAT) / 2
    soft = smoothed(dilated(inside, (1, 1, 1)))  # one voxel further: its bright rim goes too
    return image * (1 - soft) + value * soft, torch.where(labels == organ, torch.zeros_like(labels), labels)


def fill_lumen(
    image: Tensor, labels: Tensor, organ: int, wall: tuple[int, int, int], content: float, gas: float
) -> Tensor:
    """What a stomach or a piece of bowel holds exchanged: a new image; the noise of the scan stays.

    wall: voxels of the image along z, y and x, from the organ's surface inwards, that are no lumen (gas always is); the
    innermost of them takes a third of the new content. content: HU of fluid, food or contrast medium. gas: the share of
    the lumen's depth, from the front (the patient lies on the back), that holds gas instead. An organ that is absent or
    all wall: `image` itself.
    """
    inside = _on_grid((labels == organ).float(), image)
    lumen = 1 - dilated(1 - inside, wall)
    lumen = torch.maximum(lumen, inside * (image < OUTSIDE))  # gas is lumen, however near to the surface
    depths = lumen.amax((0, 2)).nonzero()
    if not len(depths):
        return image
    front, back = int(depths.min()), int(depths.max()) + 1
    # without gas nothing is, nor is the voxel before the front, which the smoothing takes from
    level = front + gas * (back - front) if gas > 0 else 0
    held = torch.where(torch.arange(image.shape[1])[:, None] < level, GAS, content)
    soft = smoothed(lumen)
    return image * (1 - soft) + (held + grain(image)) * soft


def shift_organs(image: Tensor, labels: Tensor, shifts: Tensor) -> Tensor:
    """Another contrast phase: every organ's HU moved as a whole by `shifts[label]`, softly at its edge."""
    field = _on_grid(shifts[labels.long()], image)
    return image + smoothed(field)


def change_contrast(image: Tensor, brightness: float, contrast: float) -> Tensor:
    """HU spread about soft tissue (40 HU) by a factor and shifted; air and lungs stay as they are."""
    return torch.where(image > OUTSIDE, (image - SOFT_TISSUE) * contrast + SOFT_TISSUE + brightness, image)


def change_gamma(image: Tensor, low: float, high: float, gamma: float) -> Tensor:
    """Between `low` and `high` HU, the share of the way raised to a power; beyond, unchanged."""
    share = ((image - low) / (high - low)).clamp(0, 1)
    return torch.where((image > low) & (image < high), low + (high - low) * share**gamma, image)


def thicken_slices(image: Tensor, factor: float) -> Tensor:
    """Slices `factor` times as thick (averages), brought back to the grid by linear interpolation along z."""
    count = max(1, round(image.shape[0] / factor))
    thick = F.interpolate(image[None, None], (count, *image.shape[1:]), mode="area")
    return F.interpolate(thick, image.shape, mode="trilinear", align_corners=False)[0, 0]


def lower_resolution(image: Tensor, factor: float) -> Tensor:
    """Voxels `factor` times as large on every axis, brought back to the grid by linear interpolation."""
    coarse = F.interpolate(image[None, None], [max(1, round(n / factor)) for n in image.shape], mode="area")
    return F.interpolate(coarse, image.shape, mode="trilinear", align_corners=False)[0, 0]


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


def add_noise(image: Tensor, deviation: float, seed: int) -> Tensor:
    """Independent normal noise."""
    return image + torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)) * deviation


def add_couch(image: Tensor, gap: int, bend: float, shell: float, thickness: int) -> Tensor:
    """A table under the body, where there is air: an arc along y (towards the back) with a dense shell around foam.

    gap, thickness: voxels below the body's lowest point, and through the table. bend: voxels that its sides are
    higher than its middle. shell: HU.
    """
    rows = (image > OUTSIDE).any(0).any(1).nonzero()
    if not len(rows):
        return image
    bottom = float(rows.max()) + 1 + gap
    _, y, x = _axes(image)
    top = bottom - bend * x**2
    depth = y - top
    inside = (depth >= 0) & (depth < thickness)
    at_shell = inside & ((depth < 1) | (depth >= thickness - 1))
    table = torch.where(at_shell, torch.tensor(shell), torch.tensor(-900.0)).expand_as(image)
    return torch.where(inside & (image < OUTSIDE), table, image)


def add_arm(image: Tensor, centre: tuple[float, float], radius: tuple[float, float], muscle: float) -> Tensor:
    """An arm along z beside the body, where there is air: muscle around a bone. centre, radius: (y, x) in -1..1."""
    y, x = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in image.shape[1:])
    away = ((y[:, None] - centre[0]) / radius[0]) ** 2 + ((x[None, :] - centre[1]) / radius[1]) ** 2
    arm = torch.where(away < 0.06, torch.tensor(700.0), torch.where(away < 0.8, muscle, -100.0))
    return torch.where((away < 1)[None] & (image < OUTSIDE), arm[None].expand_as(image), image)


def phantom(
    shape: tuple[int, int, int], ellipses: list[tuple[float, float, float, float, float]], air: float
) -> Tensor:
    """Ellipses along z in air: each (y, x, radius_y, radius_x, HU), positions and radii in -1..1, later ones on top."""
    y, x = (torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in shape[1:])
    plane = torch.full(shape[1:], air)
    for centre_y, centre_x, radius_y, radius_x, value in ellipses:
        away = ((y[:, None] - centre_y) / radius_y) ** 2 + ((x[None, :] - centre_x) / radius_x) ** 2
        plane = torch.where(away < 1, torch.tensor(value), plane)
    return plane.expand(shape).clone()


def rotation(degrees: tuple[float, float, float]) -> Tensor:
    """A 3 x 3 matrix that turns (z, y, x) about the three axes, one after the other."""
    a, b, c = (math.radians(angle) for angle in degrees)
    about_z = [[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]]
    about_y = [[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]]
    about_x = [[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]]
    matrices = [torch.tensor(matrix, dtype=torch.float64) for matrix in (about_z, about_y, about_x)]
    return matrices[0] @ matrices[1] @ matrices[2]


def _axes(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """z and y in voxels, x in -1..1, broadcast against the image."""
    z, y, x = image.shape
    across = torch.linspace(-1, 1, x) if x > 1 else torch.zeros(1)
    return torch.arange(z)[:, None, None], torch.arange(y)[None, :, None], across[None, None, :]


def _on_grid(field: Tensor, image: Tensor) -> Tensor:
    """A field on the labels' grid, on the image's."""
    if field.shape == image.shape:
        return field
    return F.interpolate(field[None, None], image.shape, mode="nearest-exact")[0, 0]


def grain(image: Tensor) -> Tensor:
    """The noise of a scan: by how much a voxel differs from the mean of the 27 around it, and nothing at an edge."""
    difference = image - smoothed(image)
    return torch.where(difference.abs() < GRAIN, difference, 0)


def smoothed(field: Tensor) -> Tensor:
    """The mean of the 27 voxels around each; fewer at the border."""
    return _along_each_axis(field, _mean_of_three)


def dilated(mask: Tensor, voxels: tuple[int, int, int]) -> Tensor:
    """The largest value within so many voxels on each axis."""
    return _along_each_axis(mask, lambda field, axis: _largest_within(field, axis, voxels[axis]))


def _along_each_axis(field: Tensor, change: Callable[[Tensor, int], Tensor]) -> Tensor:
    """One axis after the other, in sums of whole arrays: torch's pooling takes up to nine times as long."""
    for axis in range(field.ndim):
        field = change(field, axis)
    return field


def _mean_of_three(field: Tensor, axis: int) -> Tensor:
    shape = [1] * field.ndim
    shape[axis] = -1
    count = _with_neighbours(torch.ones(field.shape[axis]), 0, torch.add)
    return _with_neighbours(field, axis, torch.add).div_(count.view(shape))


def _largest_within(field: Tensor, axis: int, voxels: int) -> Tensor:
    for _ in range(voxels):
        field = _with_neighbours(field, axis, torch.maximum)
    return field


def _with_neighbours(field: Tensor, axis: int, joined: Callable[..., Tensor]) -> Tensor:
    """Each value joined with the one before and the one after it, where there is one."""
    result, rest = field.clone(), field.shape[axis] - 1
    for here, there in ((0, 1), (1, 0)):
        part = result.narrow(axis, here, rest)
        joined(part, field.narrow(axis, there, rest), out=part)
    return result
