"""Surroundings: what lies around a body and is stored as tissue though it is air. Arrays (z, y, x), HU.

Padding, and what a reconstruction circle leaves out, has one value, often 0: that of water. Networks make organs of it.
"""

from collections.abc import Iterator

import cc3d
import numpy as np

from app.grid import Box
from app.notice import Notice
from app.types import AIR, Voxels

HIGHEST_AIR = -900  # HU; what is constant and lower is air to a network as it stands
# Of a face of the scan, to be padding: a slice that was added has one value all over, beside a circle only corners have
FACE_SHARES = (0.9, 0.25, 0.25)
SMALLEST_PART = 0.001  # of the scan; single voxels of that value at a face are tissue
ALIKE = 0.9  # of the voxels of that value, those whose neighbour has it too; noise leaves a few of a hundred


def with_air_around(voxels: Voxels) -> tuple[Voxels, Box | None, list[Notice]]:
    """HU with air in place of constant values that reach a face of the scan, a new array; the same one without any.

    And the box of the rest, where something was replaced; and a warning for each value. Replaced is what is connected
    to a face (6 neighbours): a voxel of the same value inside the body stays.
    """
    notices: list[Notice] = []
    inner: Box | None = None
    for value in _constants(voxels):
        around = _connected_to_a_face(voxels == value)
        if around.all():
            continue  # nothing but that: no body is in it
        inner = _box_of(~around) if inner is None else _common(inner, _box_of(~around))
        voxels = np.where(around, voxels.dtype.type(AIR), voxels)
        text = f"{np.count_nonzero(around)} voxels around the body are all {value:g} HU; taken as air"
        notices.append(Notice("surroundings", text))
    return voxels, inner, notices


def _box_of(mask: Voxels) -> Box:
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    (z0, z1), (y0, y1), (x0, x1) = ((int(span[0]), int(span[-1]) + 1) for span in spans)
    return Box((z0, y0, x0), (z1, y1, x1))


def _common(one: Box, other: Box) -> Box:
    """Of two boxes, of what is left after each of two values was replaced; they meet in the body."""
    (z0, y0, x0) = (max(a, b) for a, b in zip(one.start, other.start, strict=True))
    (z1, y1, x1) = (min(a, b) for a, b in zip(one.stop, other.stop, strict=True))
    return Box((z0, y0, x0), (z1, y1, x1))


def _constants(voxels: Voxels) -> list[float]:
    """Values above air's that fill a good part of some face."""
    found: dict[float, None] = {}
    for axis, face in _faces(voxels):
        values, counts = np.unique(face[::4, ::4], return_counts=True)
        value = values[counts.argmax()]
        if value <= HIGHEST_AIR:
            continue
        there = face == value
        pairs = np.count_nonzero(there[:, 1:] & there[:, :-1])
        count = np.count_nonzero(there)
        if count >= FACE_SHARES[axis] * face.size and pairs >= ALIKE * np.count_nonzero(there[:, 1:]):
            found[float(value)] = None
    return list(found)


def _connected_to_a_face(mask: Voxels) -> Voxels:
    parts = cc3d.connected_components(mask, connectivity=6)
    is_outer = np.zeros(int(parts.max()) + 1, bool)
    for _, face in _faces(parts):
        is_outer[np.unique(face)] = True
    sizes = np.bincount(parts.ravel())
    is_outer &= sizes >= SMALLEST_PART * parts.size
    is_outer[0] = False
    return is_outer[parts]


def _faces(voxels: Voxels) -> Iterator[tuple[int, Voxels]]:
    """The first and the last plane of each axis."""
    for axis in range(voxels.ndim):
        for index in (0, -1):
            yield axis, voxels.take(index, axis)
