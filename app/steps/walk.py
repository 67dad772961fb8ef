"""Walk: in which order windows are looked at, and which are left out. Voxels (z, y, x), labels alike uint8.

A walk is told how a volume is covered (`Plan`), looks at windows, and takes those whose scores are to count. What no
window taken covers is background.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from app.models.bundle import Window
from app.steps.classify import classify
from app.steps.windows import Plan, plan_windows
from app.types import Labels, Scores, Shape

Look: TypeAlias = Callable[[Shape], Scores]
"""Runs the network on the window whose first voxel is given; its scores (class, z, y, x), until the next look."""

Take: TypeAlias = Callable[[], None]
"""The window looked at last counts."""


@dataclass(frozen=True, slots=True)
class Walk:
    """plan: covers a volume of a shape. go: looks and takes. whole: whether every window of the plan is taken."""

    plan: Callable[[Shape, Window], Plan]
    go: Callable[[Plan, Look, Take], None]
    whole: bool = False


def _every(plan: Plan, look: Look, take: Take) -> None:
    for corner in plan.corners:
        look(corner)
        take()


EVERY_WINDOW = Walk(plan_windows, _every, whole=True)


def stepped(shape: Shape, window: Window) -> Plan:
    """The largest windows side by side from the first voxel on; the last one of each axis ends with the volume."""
    starts = [
        (*range(0, size - side, side), max(0, size - side)) for size, side in zip(shape, window.largest, strict=True)
    ]
    z, y, x = starts
    return Plan(window.largest, (z, y, x))


def until_organ(plan: Plan, look: Look, take: Take, *, label: int, min_voxels: float) -> None:
    """From the feet up, in the first row and column, to the first window with so many voxels of a label; it alone is
    taken, and none if there is none (paper 000, which finds the liver so: front and right of the patient).
    """
    z_starts, y_starts, x_starts = plan.starts
    for z in z_starts:
        labels = classify(look((z, y_starts[0], x_starts[0])))
        if np.count_nonzero(labels == label) >= min_voxels:
            take()
            return


def middle_windows(shape: Shape, window: Window) -> Plan:
    """The largest windows, along z as `window.step` says, along y and x three that reach two sides at the most: what
    lies further from the middle is not looked at (paper 002).

    >>> middle_windows((49, 333, 400), Window((32, 128, 192), (32, 128, 192), 32, 0.5)).starts
    ((0, 8, 17), (38, 102, 166), (8, 104, 200))
    """
    _, height, width = window.largest
    along_z = replace(window, smallest=window.largest)
    z_starts, _, _ = plan_windows(shape, along_z).starts
    return Plan(window.largest, (z_starts, _three(shape[1], height), _three(shape[2], width)))


def _three(size: int, side: int) -> tuple[int, ...]:
    if size <= 2 * side:
        last = max(0, size - side)
        return tuple(sorted({0, round(last / 2), last}))
    middle = round(size / 2)
    return middle - side, middle - side // 2, middle


def centre_first(
    plan: Plan, look: Look, take: Take, *, min_voxels: float, tubes: Collection[int], face_voxels: int
) -> None:
    """At each height the middle window first, and the others only where it shows what goes on in them (paper 002).

    With fewer than `min_voxels` of any organ it is not taken, and the next height is not looked at. With nothing but
    `tubes` (vessels, esophagus) only the window in front or behind is, whose side of it has more than `face_voxels`.
    """
    z_starts, y_starts, x_starts = plan.starts
    y_middle, x_middle = y_starts[len(y_starts) // 2], x_starts[len(x_starts) // 2]
    skipped = False
    for z in z_starts:
        if skipped:
            skipped = False
            continue
        labels = classify(look((z, y_middle, x_middle)))
        if np.count_nonzero(labels) < min_voxels:
            skipped = True
            continue
        take()
        others = _others(labels, y_starts, x_starts, tubes, face_voxels)
        for y, x in others:
            if (y, x) != (y_middle, x_middle):
                look((z, y, x))
                take()


def _others(
    labels: Labels, y_starts: tuple[int, ...], x_starts: tuple[int, ...], tubes: Collection[int], face_voxels: int
) -> list[tuple[int, int]]:
    """Where the windows beside the middle one begin that are worth a look, along y and x."""
    if not {*np.unique(labels).tolist()} <= {0, *tubes}:
        return [(y, x) for y in y_starts for x in x_starts]
    x_middle = x_starts[len(x_starts) // 2]
    faces = [(y_starts[0], labels[:, 0]), (y_starts[-1], labels[:, -1])]
    return [(y, x_middle) for y, face in faces if np.count_nonzero(face) > face_voxels]
