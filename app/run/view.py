"""View: what the stages of a system see of a scan: its voxels as they lie, or set upright, or turned over.

Arrays (z, y, x). A view knows the way back to the scan's own voxels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from app.files.orientation import Orientation
from app.files.read import Scan
from app.grid import Box, Grid
from app.notice import Notice
from app.steps.straighten import (
    bent_back,
    box_in_scan,
    shear_degrees,
    straightened,
    tilt_degrees,
    upright_grid,
)
from app.types import Labels, Voxels

MOST_TILT = 12  # degrees; networks were trained on bodies turned by so much
MOST_SHEAR = 5  # degrees
LEAST_SHEAR = 0.01  # degrees; below, rounding of the header


@dataclass(frozen=True, slots=True)
class View:
    """labels_in_scan: a label map on `grid` to the scan's own voxels. box_in_scan: a box of `grid` likewise."""

    voxels: Voxels
    grid: Grid
    labels_in_scan: Callable[[Labels], Labels]
    box_in_scan: Callable[[Box], Box]


def view_of(scan: Scan) -> tuple[View, list[Notice]]:
    """The scan as it lies, or upright where its axes are far from the body's."""
    tilt, shear = tilt_degrees(scan.steps), shear_degrees(scan.steps)
    if tilt > MOST_TILT or shear > MOST_SHEAR:
        shape, grid = scan.grid.shape, upright_grid(scan.steps, scan.grid.shape)
        view = View(
            straightened(scan.voxels, scan.steps, grid),
            grid,
            lambda labels: bent_back(labels, scan.steps, grid, shape),
            lambda box: box_in_scan(box, scan.steps, grid, shape),
        )
        return view, [Notice("tilted", f"the slices lie {tilt:.0f} degrees off the body's axes; segmented upright")]
    view = View(scan.voxels, scan.grid, lambda labels: labels, lambda box: box)
    if shear < LEAST_SHEAR:
        return view, []
    text = f"axes are {shear:.2g} degrees off a right angle; processed as if they were not, affine kept"
    return view, [Notice("sheared", text)]


def turned(view: View, turn: Orientation) -> View:
    """`view` with other axes for the body's: of its (z, y, x) those that `turn` says, some of them the other way."""
    z, y, x = (view.grid.spacing[axis] for axis in turn.axes)
    voxels = turn.to_body(view.voxels)
    nz, ny, nx = voxels.shape
    grid = Grid((nz, ny, nx), (z, y, x))

    def box_back(box: Box) -> Box:
        (z0, z1), (y0, y1), (x0, x1) = turn.box_in_file(box, grid)
        return view.box_in_scan(Box((z0, y0, x0), (z1, y1, x1)))

    return View(voxels, grid, lambda labels: view.labels_in_scan(turn.to_file(labels)), box_back)
