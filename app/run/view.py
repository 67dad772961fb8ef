"""View: what the stages of a system see of a scan: its voxels as they lie, set upright, made higher or turned over.

Arrays (z, y, x). A view knows the way back to the scan's own voxels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from app.errors import CaseError
from app.files.orientation import Orientation
from app.files.read import Scan
from app.grid import Box, Grid
from app.notice import Notice, Verdict
from app.steps.crop import crop
from app.steps.straighten import (
    bent_back,
    box_in_scan,
    shear_degrees,
    straightened,
    tilt_degrees,
    upright_grid,
)
from app.steps.surroundings import constants_around, with_air_around
from app.system.definition import Posture
from app.types import Labels, Shape, Voxels

COPIES = 2  # of what is made, while it is made
BYTES_OF_COMPONENTS = 8  # masks, numbers of components, the voxels anew
MOST_SLICES = 1000  # of a thin slab made higher; more of them have no spacing of a CT
LEAST_SHEAR = 0.01  # degrees; below, rounding of the header


@dataclass(frozen=True, slots=True)
class View:
    """labels_in_scan: a label map on `grid` to the scan's own voxels. box_in_scan: a box of `grid` likewise."""

    voxels: Voxels
    grid: Grid
    labels_in_scan: Callable[[Labels], Labels]
    box_in_scan: Callable[[Box], Box]


def view_of(scan: Scan, choice: Posture, memory_limit: int | None = None) -> tuple[View, list[Notice]]:
    """The scan as it lies, with air in place of padding; upright where its axes are far from the body's; higher where
    it is a thin slab.

    Where the choice says so, nothing of all that. CaseError where what would be made does not fit into `memory_limit`
    bytes.
    """
    if choice.as_it_is:
        return _as_it_lies(scan), []
    view, around = _without_padding(scan, memory_limit)
    view, notices = _upright(view, scan, choice, memory_limit)
    notices = [*around, *notices]
    height = view.grid.extent[0]
    if height >= choice.min_height_mm:
        return view, notices
    count = math.ceil(choice.filled_to_mm / view.grid.spacing[0])
    if count > MOST_SLICES:
        text = f"the scan is {height:.2g} mm high: check its spacing"
        return view, [*notices, Notice("flat", text, Verdict.CHECK)]
    _check_memory(scan, (max(count, view.grid.shape[0]), *view.grid.shape[1:]), memory_limit)
    text = f"the scan is {height:.0f} mm high, its organs cut; its first and last slice were repeated for the networks"
    return _heightened(view, count), [*notices, Notice("thin", text, Verdict.CHECK)]


def _check_memory(scan: Scan, shape: Shape, limit: int | None, *, bytes_per_voxel: int | None = None) -> None:
    """CaseError where a view of `shape` does not fit beside the scan; each is held twice while it is made."""
    each = COPIES * scan.voxels.itemsize if bytes_per_voxel is None else bytes_per_voxel
    needed = COPIES * scan.voxels.nbytes + each * math.prod(shape)
    if limit is not None and needed > limit:
        raise CaseError(
            f"{scan.path.name}: without padding, upright or made higher it has {shape} voxels (z, y, x), which need "
            f"{needed / 2**30:.3g} GB, more than the {limit / 2**30:.3g} GB allowed here; check the spacing, or raise "
            "the memory limit"
        )


def _as_it_lies(scan: Scan) -> View:
    return View(scan.voxels, scan.grid, lambda labels: labels, lambda box: box)


def _without_padding(scan: Scan, memory_limit: int | None) -> tuple[View, list[Notice]]:
    """Air in place of what is constant around the body, without planes of nothing else: they would make the body small
    in what phase one sees."""
    view = _as_it_lies(scan)
    constants = constants_around(scan.voxels)
    if not constants:
        return view, []
    _check_memory(scan, scan.grid.shape, memory_limit, bytes_per_voxel=BYTES_OF_COMPONENTS)
    voxels, inner, notices = with_air_around(scan.voxels, constants)
    if inner is None:
        return view, notices
    return _cropped(replace(view, voxels=voxels), inner), notices


def _upright(view: View, scan: Scan, choice: Posture, memory_limit: int | None) -> tuple[View, list[Notice]]:
    tilt, shear = tilt_degrees(scan.steps), shear_degrees(scan.steps)
    if tilt > choice.max_tilt_degrees or shear > choice.max_shear_degrees:
        shape, grid = view.grid.shape, upright_grid(scan.steps, view.grid.shape, choice.upright_mm)
        _check_memory(scan, grid.shape, memory_limit)
        upright = View(
            straightened(view.voxels, scan.steps, grid),
            grid,
            lambda labels: view.labels_in_scan(bent_back(labels, scan.steps, grid, shape)),
            lambda box: view.box_in_scan(box_in_scan(box, scan.steps, grid, shape)),
        )
        text = f"the slices lie {tilt:.0f} degrees off the body's axes; segmented upright, and less exactly"
        return upright, [Notice("tilted", text, Verdict.CHECK)]
    if shear < LEAST_SHEAR:
        return view, []
    text = f"axes are {shear:.2g} degrees off a right angle; processed as if they were not, affine kept"
    return view, [Notice("sheared", text)]


def _cropped(view: View, box: Box) -> View:
    """A box of `view`: without planes of padding, which would make the body smaller in what phase one sees."""
    voxels, grid = crop(view.voxels, view.grid, box)

    def labels_back(labels: Labels) -> Labels:
        everywhere = np.zeros(view.grid.shape, labels.dtype)
        everywhere[box.slices] = labels
        return view.labels_in_scan(everywhere)

    return View(voxels, grid, labels_back, lambda inside: view.box_in_scan(inside.shifted(box.start)))


def _heightened(view: View, slices: int) -> View:
    """`view` with its first and its last slice repeated, as often below as above, to so many slices or one more.

    Air above and below a slab is what no network was trained on: of ten slices it finds next to nothing.
    """
    count, ny, nx = view.grid.shape
    more = max(0, math.ceil((slices - count) / 2))
    voxels = np.pad(view.voxels, ((more, more), (0, 0), (0, 0)), mode="edge")
    grid = Grid((count + 2 * more, ny, nx), view.grid.spacing)

    def box_back(box: Box) -> Box:
        low = min(max(box.start[0] - more, 0), count - 1)
        high = max(min(box.stop[0] - more, count), low + 1)
        return view.box_in_scan(Box((low, *box.start[1:]), (high, *box.stop[1:])))

    return View(voxels, grid, lambda labels: view.labels_in_scan(labels[more : more + count]), box_back)


def turned(view: View, turn: Orientation) -> View:
    """`view` with other axes for the body's: of its (z, y, x) those that `turn` says, some of them the other way."""
    voxels, grid = lying(view.voxels, view.grid, turn)

    def box_back(box: Box) -> Box:
        (z0, z1), (y0, y1), (x0, x1) = turn.box_in_file(box, grid)
        return view.box_in_scan(Box((z0, y0, x0), (z1, y1, x1)))

    return View(voxels, grid, lambda labels: view.labels_in_scan(turn.to_file(labels)), box_back)


def lying(voxels: Voxels, grid: Grid, turn: Orientation) -> tuple[Voxels, Grid]:
    """Voxels (z, y, x) as `turn` has the body's axes, a view of them, and their grid."""
    z, y, x = (grid.spacing[axis] for axis in turn.axes)
    other = turn.to_body(voxels)
    nz, ny, nx = other.shape
    return other, Grid((nz, ny, nx), (z, y, x))
