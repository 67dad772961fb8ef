"""Surroundings: what lies around a body and is stored as tissue though it is air. Arrays (z, y, x), HU.

Padding, and what a reconstruction circle leaves out, has one value, often 0: that of water. Networks make organs of it.
"""

from collections.abc import Iterator, Sequence

import cc3d
import numpy as np

from app.grid import Box
from app.notice import Notice
from app.types import AIR, Voxels

HIGHEST_AIR = -900  # HU; what is constant and lower is air to a network as it stands
# Of a face of the scan, to be padding: a slice that was added has one value all over, beside a circle only corners have
FACE_SHARES = (0.9, 0.25, 0.25)
SMALLEST_PART = 0.001  # of the scan; single voxels of that value at a face are tissue
PLANES = 32  # counted at a time
ALIKE = 0.9  # of the voxels of that value, those whose neighbour has it too; noise leaves a few of a hundred


def with_air_around(voxels: Voxels, constants: Sequence[float]) -> tuple[Voxels, Box | None, list[Notice]]:
    """HU with air in place of `constants` (`constants_around`), a new array; the same one where nothing is replaced.

    And the box of the rest, where something was; and a warning for each value. Replaced is what is connected to a face
    (6 neighbours): a voxel of the same value inside the body stays. A scan of nothing else is left.
    """
    notices: list[Notice] = []
    everywhere = np.zeros(voxels.shape, bool)
    for value in constants:
        around = _connected_to_a_face(voxels == value)
        text = f"{np.count_nonzero(around)} voxels around the body are all {value:g} HU; taken as air"
        notices.append(Notice("surroundings", text))
        everywhere |= around
    if not everywhere.any() or everywhere.all():
        return voxels, None, []
    return np.where(everywhere, voxels.dtype.type(AIR), voxels), _box_of(~everywhere), notices


def _box_of(mask: Voxels) -> Box:
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    (z0, z1), (y0, y1), (x0, x1) = ((int(span[0]), int(span[-1]) + 1) for span in spans)
    return Box((z0, y0, x0), (z1, y1, x1))


def constants_around(voxels: Voxels) -> list[float]:
    """Values above air's that fill a good part of some face of the scan."""
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
    sizes = np.zeros(len(is_outer), np.int64)
    for start in range(0, len(parts), PLANES):  # bincount makes 8 bytes of every voxel
        sizes += np.bincount(parts[start : start + PLANES].ravel(), minlength=len(is_outer))
    is_outer &= sizes >= SMALLEST_PART * parts.size
    is_outer[0] = False
    return is_outer[parts]


def _faces(voxels: Voxels) -> Iterator[tuple[int, Voxels]]:
    """The first and the last plane of each axis."""
    for axis in range(voxels.ndim):
        for index in (0, -1):
            yield axis, voxels.take(index, axis)
