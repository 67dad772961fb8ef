"""Turn: the body's axes to those that a network was trained on, and its answer back. Arrays (z, y, x).

A turn is an `Orientation` of which the body's axes take the place of the file's: `to_body` leads to the network's.
"""

import numpy as np

from app.alignment import Positions
from app.files.orientation import Orientation
from app.grid import Grid
from app.models.bundle import FILE, RAS
from app.types import Scores

AS_SCANNERS_STORE = Orientation((2, 1, 0), (False, False, False))
"""Of a file whose axes run to the left, to the back and to the head."""

AS_IT_LIES = Orientation((0, 1, 2), (False, False, False))
RIGHT_AND_FRONT = Orientation((0, 1, 2), (False, True, True))


def turn_of(orientation: str, file: Orientation) -> Orientation:
    """From the body's axes to those of a bundle's `orientation`. file: how the axes of the scan's file lie.

    The file's own are its last, its second and its first axis, in its directions: as SimpleITK and nnU-Net have them.
    RAS grows to the head, to the front, to the patient's right: what nibabel calls closest canonical, the other way
    round.

    >>> turn_of("file", Orientation((0, 1, 2), (False, False, True)))  # along i to the head, j back, k to the right
    Orientation(axes=(2, 1, 0), flipped=(True, False, False))
    """
    if orientation == RAS:
        return RIGHT_AND_FRONT
    if orientation != FILE:
        return AS_IT_LIES
    k, j, i = (file.axes.index(axis) for axis in (2, 1, 0))
    return Orientation((k, j, i), (file.flipped[k], file.flipped[j], file.flipped[i]))


def grid_back(grid: Grid, turn: Orientation) -> Grid:
    """A grid along the network's axes with the body's."""
    axes = np.argsort(turn.axes).tolist()
    nz, ny, nx = (grid.shape[axis] for axis in axes)
    z, y, x = (grid.spacing[axis] for axis in axes)
    return Grid((nz, ny, nx), (z, y, x))


def scores_back(scores: Scores, turn: Orientation) -> Scores:
    """A view of scores (class, z, y, x) on the network's axes with the body's."""
    flips = tuple(slice(None, None, -1 if flip else 1) for flip in turn.flipped)
    axes = [0, *(1 + axis for axis in np.argsort(turn.axes).tolist())]
    return np.transpose(scores[:, *flips], axes)


def positions_back(where: Positions, scores: tuple[int, ...], turn: Orientation) -> Positions:
    """Of every voxel along the body's axes its index among the scores that `scores_back` gives.

    where: the same along the network's axes. scores: how many there are along each of these.
    """
    flipped = [
        (size - 1) - along[::-1] if flip else along
        for along, size, flip in zip(where, scores, turn.flipped, strict=True)
    ]
    z, y, x = (flipped[axis] for axis in np.argsort(turn.axes).tolist())
    return z, y, x
