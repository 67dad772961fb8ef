"""Localiser: `python -m evaluation.localiser DATA`. Whether phase one keeps what it must, and how much more.

DATA holds `NAME_0000.nii.gz` and `NAME.nii.gz`. Every scan is located as it is, cut to each 10 cm of z, padded with air
to 1.2 m and stitched to others to 1.2 m. Where phase one finds nothing the whole volume is processed, which holds all.
Arrays (z, y, x), lengths mm.
"""

import argparse
import contextlib
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from app.errors import CaseError, SetupError, VisceraError
from app.files.read import read
from app.grid import Box, Grid, whole
from app.models.bundle import load_bundle
from app.models.engine import Model, load_engine
from app.run.stage import Answer, run_stage
from app.steps.classify import classify
from app.steps.resample import use_threads
from app.system.definition import SCAN, WEIGHTS, Stage, System, load_system
from app.system.rules import Locating, Seen
from app.types import AIR, Labels, Shape, Voxels
from evaluation.scores.overlap import dice
from evaluation.shared.own_files import refuse_foreign
from evaluation.shared.protocol import ORGANS

SLAB_MM = 100
SLAB_STEP_MM = 20
BODY_MM = 1200
DICE_SHAPE = (128, 128, 128)


@dataclass(frozen=True, slots=True)
class Case:
    """A scan with its labels (z, y, x) on one grid."""

    name: str
    voxels: Voxels
    labels: Labels
    grid: Grid


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


@dataclass(frozen=True, slots=True)
class Localiser:
    """Phase one as a system runs it."""

    model: Model
    stage: Stage
    rule: Locating

    def answer(self, case: Case) -> Answer:
        """What it says of the whole scan, on its own grid."""
        return run_stage(case.voxels, case.grid, None, self.stage, self.model, timed=lambda _: contextlib.nullcontext())

    def box(self, case: Case) -> Box | None:
        """The voxels it keeps."""
        return self.rule(self.answer(case).labels, case.grid, Seen(self.model.bundle.labels, located=False))


def load_localiser(stage: Stage, rule: Locating, weights: Path, threads: int) -> Localiser:
    """A stage that sees the whole scan, compiled, and the rule that takes a box of its answer."""
    use_threads(threads)
    bundle = load_bundle(weights / stage.bundle)
    engine = load_engine(bundle, stage.engine, stage.precision, threads, pinned=True)
    return Localiser(Model(bundle, engine), stage, rule)


def first_region(system: System) -> tuple[Stage, Locating]:
    """A system's first region and the stage that it is of. SetupError where it has none, or that sees a box only."""
    for region in system.region.values():
        stage = system.stage[region.of]
        if stage.sees == SCAN:
            return stage, region.rule
    raise SetupError("--system: has no region of a stage that sees the scan; name another one")


def load_case(scan: Path) -> Case:
    """A scan and the mask beside it. CaseError if they cannot be read or are not one grid."""
    name = scan.name.removesuffix("_0000.nii.gz")
    image, mask = read(scan), read(scan.with_name(f"{name}.nii.gz"))
    if image.grid.shape != mask.grid.shape or mask.voxels.max(initial=0) > len(ORGANS):
        raise CaseError(
            f"{name}: the mask's shape {mask.grid.shape} is not the scan's {image.grid.shape}, or has other labels"
        )
    return Case(name, image.voxels, mask.voxels.astype(np.uint8), image.grid)


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


def slabs(case: Case, height_mm: float, step_mm: float) -> list[Case]:
    """`case` cut to every `height_mm` of z, a step apart, from the lowest to the highest."""
    spacing = case.grid.spacing[0]
    count = min(case.grid.shape[0], max(1, round(height_mm / spacing)))
    last = case.grid.shape[0] - count
    starts = sorted({*range(0, last + 1, max(1, round(step_mm / spacing))), last})
    return [part(case, start, start + count) for start in starts]


def part(case: Case, start: int, stop: int) -> Case:
    """The slices from `start` up to `stop`."""
    shape: Shape = (stop - start, *case.grid.shape[1:])
    grid = Grid(shape, case.grid.spacing)
    return Case(f"{case.name}[{start}:{stop}]", case.voxels[start:stop], case.labels[start:stop], grid)


def padded(case: Case, height_mm: float) -> Case:
    """`case` in the middle of as much air along z as makes it `height_mm` high."""
    missing = max(0, round(height_mm / case.grid.spacing[0]) - case.grid.shape[0])
    below = missing // 2
    margins = [(below, missing - below), (0, 0), (0, 0)]
    return _new(case, np.pad(case.voxels, margins, constant_values=AIR), np.pad(case.labels, margins))


def stitched(cases: Iterable[Case], height_mm: float) -> Case:
    """The cases end to end, the first one lowest, again and again up to `height_mm`; the narrower ones amid air.

    Cases whose spacing is not the first one's are left out: they would have to be resampled.
    """
    pieces: list[Case] = []
    for case in cases:
        if not pieces or np.allclose(case.grid.spacing, pieces[0].grid.spacing):
            pieces.append(case)
        if sum(piece.grid.extent[0] for piece in pieces) >= height_mm:
            break
    while sum(piece.grid.extent[0] for piece in pieces) < height_mm:
        pieces += pieces
    side = [max(piece.grid.shape[axis] for piece in pieces) for axis in (1, 2)]
    slices = round(height_mm / pieces[0].grid.spacing[0])
    arrays = [_widened(piece, side) for piece in pieces]
    voxels, labels = (np.concatenate(parts)[:slices] for parts in zip(*arrays, strict=True))
    return _new(pieces[0], voxels, labels)


def _widened(case: Case, side: list[int]) -> tuple[Voxels, Labels]:
    missing = [wanted - n for wanted, n in zip(side, case.grid.shape[1:], strict=True)]
    margins = [(0, 0), *((m // 2, m - m // 2) for m in missing)]
    return np.pad(case.voxels, margins, constant_values=AIR), np.pad(case.labels, margins)


def _new(case: Case, voxels: Voxels, labels: Labels) -> Case:
    z, y, x = voxels.shape
    return Case(case.name, voxels, labels, Grid((z, y, x), case.grid.spacing))


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


def main() -> None:
    """Parses the arguments, prints a table per engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of NAME_0000.nii.gz and NAME.nii.gz")
    parser.add_argument("--system", default="viscera", help="whose localiser (default: %(default)s)")
    parser.add_argument("--engine", nargs="+", default=["openvino-int8", "openvino-float32"])
    parser.add_argument("--bundle", help="in place of the system's")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these scans of the folder")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of bundles (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures into this file too")
    arguments = parser.parse_args()
    paths = sorted(arguments.data.glob("*_0000.nii.gz"))
    if arguments.only:
        paths = [path for path in paths if path.name.removesuffix("_0000.nii.gz") in arguments.only]
    if not paths or len(paths) < len(arguments.only or ()):
        parser.exit(2, f"{arguments.data}: no scans NAME_0000.nii.gz here, or not all of those named\n")
    try:
        if arguments.json:
            refuse_foreign(arguments.json, '"worst_slab_recall"')
        results = run(paths, arguments)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def run(paths: list[Path], arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Figures of every scan that has organs, by engine; prints a table of each."""
    results = {}
    stage, rule = first_region(load_system(arguments.system))
    stage = replace(stage, bundle=arguments.bundle or stage.bundle)
    for engine in arguments.engine:
        localiser = load_localiser(replace(stage, engine=engine), rule, arguments.weights, arguments.threads)
        figures = []
        for index, path in enumerate(paths):
            case = load_case(path)
            if not case.labels.any():
                print(f"{case.name}: left out, its mask is empty")
                continue
            figures.append(measure(case, map(load_case, paths[index + 1 :] + paths[:index]), localiser))
        if figures:
            print(f"{localiser.model.bundle.name}, {engine}\n{table(figures)}\n", flush=True)
        results[engine] = [asdict(row) for row in figures]
    return results


if __name__ == "__main__":
    main()
