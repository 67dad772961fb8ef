"""Orientation: how a file's axes lie in the body. Body axes run (z, y, x) in LPS, affines are NIfTI's (RAS+, mm)."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.grid import Box, Grid
from app.types import Labels


@dataclass(frozen=True, slots=True)
class Orientation:
    """How the file's axes lie in the body. axes: the file's axis behind z, y and x. flipped: it runs the other way."""

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_body(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view (z, y, x) of an array in the file's axis order."""
        return np.transpose(array, self.axes)[self._flips]

    def to_file(self, array: Labels) -> Labels:
        """A view in the file's axis order of an array (z, y, x); the inverse of `to_body`."""
        return np.transpose(array[self._flips], np.argsort(self.axes))

    def steps(self, axes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, 3), column by column how far one voxel along z, y and x goes along the body's, mm.

        axes: the file's, a column each, in mm (RAS+).
        """
        signs = np.where(self.flipped, -1.0, 1.0)
        body = axes[::-1] * np.array([[1.0], [-1.0], [-1.0]])  # RAS+ (x, y, z) to LPS (z, y, x)
        steps: NDArray[np.float64] = body[:, list(self.axes)] * signs
        return steps

    def box_in_file(self, box: Box, grid: Grid) -> list[list[int]]:
        """`[[start, stop], ...]` of a box (z, y, x) in the file's own voxel indices, per axis of the file."""
        spans: list[list[int]] = [[], [], []]
        for axis, flip, start, stop, n in zip(self.axes, self.flipped, box.start, box.stop, grid.shape, strict=True):
            spans[axis] = [n - stop, n - start] if flip else [start, stop]
        return spans

    def spacing_in_file(self, grid: Grid) -> list[float]:
        """The mm of a grid (z, y, x) per axis of the file."""
        return [grid.spacing[self.axes.index(axis)] for axis in range(3)]

    @property
    def _flips(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return z, y, x


def orientation_of(axes: NDArray[np.float64]) -> Orientation:
    """The body's axes nearest to the file's; axes: (3, 3), a file axis a column, in mm (RAS+), none parallel.

    >>> orientation_of(np.diag([-1.0, -1.0, 1.0]))  # the file runs to the left, to the back, to the head
    Orientation(axes=(2, 1, 0), flipped=(False, False, False))
    """
    affine = np.eye(4)
    affine[:3, :3] = axes
    ras_axis, ras_sign = nib.io_orientation(affine).T
    x, y, z = (int(axis) for axis in np.argsort(ras_axis))  # the file's axis along x, y, z of the body
    # LPS: x must grow to the left and y to the back, against RAS; z grows to the head in both.
    return Orientation((z, y, x), (bool(ras_sign[z] < 0), bool(ras_sign[y] > 0), bool(ras_sign[x] > 0)))
