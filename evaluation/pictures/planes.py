"""Planes: a scan with its mask in three planes, patient's right on the left as in a viewer, and a legend."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.types import Labels, Spacing, Voxels
from evaluation.shared.protocol import ORGANS

WINDOW = (-160, 240)  # HU, abdomen
OPACITY = 0.5
HEIGHT = 480  # pixels of every plane
LEGEND_WIDTH = 190
COLOURS = np.array(
    [
        (0, 0, 0), (196, 78, 58), (240, 180, 50), (140, 90, 200), (250, 220, 120), (230, 40, 60), (60, 110, 220),
        (110, 220, 220), (60, 170, 190), (80, 190, 80), (220, 130, 190), (250, 150, 90), (170, 200, 60), (110, 60, 10),
    ],
    np.uint8,
)  # fmt: skip


def overlay(voxels: Voxels, labels: Labels, spacing: Spacing, slices_of: Labels | None = None) -> Image.Image:
    """A picture of three planes side by side and a legend. Arrays (z, y, x); spacing in mm.

    slices_of: the mask that decides which slices are shown; `labels` without one.
    """
    deciding = labels if slices_of is None else slices_of
    planes = [_plane(voxels, labels, spacing, axis, busiest(deciding, axis)) for axis in range(3)]
    picture = Image.new("RGB", (sum(plane.width for plane in planes) + LEGEND_WIDTH, HEIGHT))
    left = 0
    for plane in planes:
        picture.paste(plane, (left, 0))
        left += plane.width
    _legend(ImageDraw.Draw(picture), left + 12, labels)
    return picture


def _plane(voxels: Voxels, labels: Labels, spacing: Spacing, axis: int, index: int) -> Image.Image:
    values, painted = np.take(voxels, index, axis), np.take(labels, index, axis)
    grey = ((values.astype(np.float32) - WINDOW[0]) / (WINDOW[1] - WINDOW[0])).clip(0, 1) * 255
    colour = np.repeat(grey[..., None], 3, -1)
    inside = painted > 0
    colour[inside] = (1 - OPACITY) * colour[inside] + OPACITY * COLOURS[painted[inside]]
    if axis != 0:
        colour = colour[::-1]  # head up: z grows to the head, rows grow downwards
    down, across = (spacing[a] for a in range(3) if a != axis)
    width = max(1, round(HEIGHT * colour.shape[1] * across / (colour.shape[0] * down)))
    plane = Image.fromarray(colour.astype(np.uint8)).resize((min(width, 2 * HEIGHT), HEIGHT))
    sides = ("front", "back") if axis == 2 else ("R", "L")  # what lies at the left and at the right edge
    draw, font = ImageDraw.Draw(plane), ImageFont.load_default(15)
    draw.text((6, HEIGHT // 2), sides[0], "white", font)
    draw.text((plane.width - 6, HEIGHT // 2), sides[1], "white", font, anchor="ra")
    return plane


def busiest(labels: Labels, axis: int) -> int:
    """The slice with most different organs, of those the one with most of them; the middle one of an empty mask."""
    if not labels.any():
        return int(labels.shape[axis] // 2)
    others = tuple(a for a in range(3) if a != axis)
    organs: NDArray[np.int64] = np.sum([(labels == label).any(others) for label in range(1, len(COLOURS))], 0)
    voxels: NDArray[np.int64] = np.count_nonzero(labels, others)
    return int(np.argmax(organs * labels.size + voxels))


def _legend(draw: ImageDraw.ImageDraw, left: int, labels: Labels) -> None:
    font = ImageFont.load_default(15)
    for label, name in enumerate(ORGANS, 1):
        top = 14 + 34 * (label - 1)
        fill = tuple(int(c) for c in COLOURS[label])
        draw.rectangle((left, top, left + 16, top + 16), fill=fill)
        shade = "white" if (labels == label).any() else "#707070"
        draw.text((left + 24, top - 1), name.replace("_", " "), shade, font)
