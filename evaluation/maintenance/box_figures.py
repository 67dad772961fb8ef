"""Box figures: whether a box keeps what it must, and how much more. Arrays (z, y, x), lengths mm."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.grid import Box, Grid, whole
from app.steps.classify import classify
from app.types import Labels
from evaluation.maintenance.bodies import Case, padded, slabs, stitched
from evaluation.maintenance.phase_one import Localiser
from evaluation.scores.overlap import dice
from evaluation.shared.protocol import ORGANS

SLAB_MM = 100
SLAB_STEP_MM = 20
BODY_MM = 1200
DICE_SHAPE = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one patient.

    recall: share of organ voxels in the box. box_ratio: its volume over that of the tightest box. without_box: in what
    the localiser found nothing ("scan", "padded", "stitched"), so that all of it is kept.
    """

    case: str
    recall: float
    box_ratio: float
    worst_slab_recall: float
    slabs: int
    slabs_without_box: int
    padded_recall: float
    stitched_recall: float
    without_box: tuple[str, ...]
    dice: dict[str, float]


def recall(labels: Labels, box: Box | None) -> float:
    """Share of the organ voxels that `box` holds; 1 without a box, or without organs.

    >>> recall(np.array([[[1, 0, 2, 2]]]), Box((0, 0, 1), (1, 1, 3)))
    0.3333333333333333
    """
    total = int(np.count_nonzero(labels))
    if box is None or not total:
        return 1.0
    return int(np.count_nonzero(labels[box.slices])) / total


def tightest_box(labels: Labels) -> Box:
    """The smallest box that holds all organs."""
    ((z, y, x),) = ndimage.find_objects((labels > 0).astype(np.uint8))
    return Box((z.start, y.start, x.start), (z.stop, y.stop, x.stop))


def box_ratio(labels: Labels, box: Box | None, grid: Grid) -> float:
    """Volume of the box (of everything without one) over that of the tightest one."""
    kept = box or whole(grid)
    return math.prod(kept.shape) / math.prod(tightest_box(labels).shape)


def organ_dice(case: Case, localiser: Localiser) -> dict[str, float]:
    """Dice of each organ present, labels (nearest) and scores (trilinear) both brought to 128 x 128 x 128."""
    found = classify(np.stack([_zoomed(channel, order=1) for channel in localiser.answer(case).scores]))
    truth = _zoomed(case.labels, order=0)
    present = [label for label in range(1, len(ORGANS) + 1) if (truth == label).any()]
    return {ORGANS[label - 1]: dice(truth == label, found == label) for label in present}


def _zoomed(array: NDArray[Any], order: int) -> NDArray[Any]:
    """An array (z, y, x) at the centres of 128 x 128 x 128 voxels of the same extent."""
    factors = [n / size for n, size in zip(DICE_SHAPE, array.shape, strict=True)]
    zoomed: NDArray[Any] = ndimage.zoom(array, factors, order=order, mode="nearest", grid_mode=True)
    return zoomed


def measure(case: Case, others: Iterable[Case], localiser: Localiser) -> Figures:
    """All figures of one patient with organs; `others` are stitched on top of it."""
    cuts = [cut for cut in slabs(case, SLAB_MM, SLAB_STEP_MM) if cut.labels.any()]
    boxes = [localiser.box(cut) for cut in cuts]
    bodies = {"scan": case, "padded": padded(case, BODY_MM), "stitched": stitched(chain([case], others), BODY_MM)}
    found = {name: localiser.box(body) for name, body in bodies.items()}
    recalls = {name: recall(body.labels, found[name]) for name, body in bodies.items()}
    return Figures(
        case=case.name,
        recall=recalls["scan"],
        box_ratio=box_ratio(case.labels, found["scan"], case.grid),
        worst_slab_recall=min(recall(cut.labels, kept) for cut, kept in zip(cuts, boxes, strict=True)),
        slabs=len(cuts),
        slabs_without_box=sum(kept is None for kept in boxes),
        padded_recall=recalls["padded"],
        stitched_recall=recalls["stitched"],
        without_box=tuple(name for name, kept in found.items() if kept is None),
        dice=organ_dice(case, localiser),
    )


def table(figures: list[Figures]) -> str:
    """A row per patient, for a person."""
    columns = f"{'in the box':>11}{'worst slab':>11}{'padded':>9}{'stitched':>9}{'box ratio':>10}{'Dice':>7}"
    lines = [f"{'':<20}{columns}"]
    lines += [
        f"{row.case:<20}{row.recall:>11.4f}{row.worst_slab_recall:>11.4f}{row.padded_recall:>9.4f}"
        f"{row.stitched_recall:>9.4f}{row.box_ratio:>10.2f}{np.mean(list(row.dice.values())):>7.3f}"
        for row in figures
    ]
    ratio = statistics.median(row.box_ratio for row in figures)
    mean = statistics.mean(float(np.mean(list(row.dice.values()))) for row in figures)
    lines.append(
        f"{'least, median, mean':<20}{min(r.recall for r in figures):>11.4f}"
        f"{min(r.worst_slab_recall for r in figures):>11.4f}{min(r.padded_recall for r in figures):>9.4f}"
        f"{min(r.stitched_recall for r in figures):>9.4f}{ratio:>10.2f}{mean:>7.3f}"
    )
    for organ in ORGANS:
        known = [row.dice[organ] for row in figures if organ in row.dice]
        lines.append(f"{organ:<20}Dice {np.mean(known):.3f}" if known else f"{organ:<20}absent")
    none, all_of_them = sum(row.slabs_without_box for row in figures), sum(row.slabs for row in figures)
    lines.append(f"slabs in which nothing was found, so that all is kept: {none} of {all_of_them}")
    lines += [f"{row.case}: nothing found in it {', '.join(row.without_box)}" for row in figures if row.without_box]
    return "\n".join(lines)
