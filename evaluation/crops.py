"""Crops: `python -m evaluation.crops SCAN ...`. Small parts of scans: what becomes of those that phase one is blind to.

Each SCAN is a `NAME_0000.nii.gz` with its labels, `NAME.nii.gz`, beside it. Slabs of all its width and boxes out of the
body are cut from it at random and segmented. Where phase one has located nothing, the rest goes by phase two alone: of
such a part is printed how much of it is organs by its labels, and which connected regions of it the mask holds.

In the end stands for some sizes how many regions are as large, and how many of those are right: of whose voxels seven
in ten or more have the label's organ. With a system without `large-regions-if-unlocated` a limit is chosen by that.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import VisceraError
from app.system.definition import load_system
from evaluation.maintenance.bodies import Case, load_case
from evaluation.maintenance.parts import Region, as_sample, parts, regions_of
from evaluation.maintenance.reported import Line, codes, reported
from evaluation.shared.masks import open_mask, read_labels

LISTED_ML = 2.0  # smaller regions are left out
SIZES_ML = (20, 50, 100, 200, 300)
RIGHT = 0.7  # of a region's voxels
SOME_ML = 100  # of organs by the labels; an empty mask of such a part is counted


@dataclass(frozen=True)
class Row:
    """A part in which nothing was located. organs_ml: by its labels. said: its verdict, and codes of its warnings."""

    part: str
    organs_ml: float
    regions: list[Region]
    said: str


def main() -> None:
    """Parses the arguments, cuts, segments; exit status 1 where a part cannot be segmented."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="NAME_0000.nii.gz beside NAME.nii.gz")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=10, help="of parts a scan (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.seed < 0:
        parser.error(f"--count must be 1 or more, --seed 0 or more, found {arguments.count} and {arguments.seed}")
    cut = failed = 0
    rows: list[Row] = []
    try:
        load_system(arguments.system)  # before a scan is read
        for number, scan in enumerate(arguments.scans):
            rng = np.random.default_rng([arguments.seed, number])
            cases = parts(load_case(scan), arguments.count, rng)
            lines = segmented(cases, arguments.system)
            cut, failed = cut + len(cases), failed + sum(mask is None for _, _, mask in lines)
            blind = [row_of(line, case, mask) for line, case, mask in lines if mask is not None and is_blind(line)]
            for row in blind:
                print(text(row), flush=True)
                rows.append(row)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"\n{cut} parts, {failed} of them failed, nothing located in {len(rows)}\n{summary(rows)}")
    parser.exit(int(failed > 0))


def segmented(cases: list[Case], system: str) -> list[tuple[Line, Case, np.ndarray | None]]:
    """Of each part its line of the report and its mask (z, y, x); None where there is none."""
    if not cases:
        return []
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        for case in cases:
            as_sample(case).write(inputs / f"{case.name}_0000.nii.gz")
        by_name = {case.name: case for case in cases}
        lines = reported(inputs, Path(name) / "outputs", system)
        masks = [read_labels(open_mask(Path(line["output"]))).T if line["output"] else None for line in lines]
        return [(line, by_name[line["case"]], mask) for line, mask in zip(lines, masks, strict=True)]


def is_blind(line: Line) -> bool:
    """Whether phase one has located nothing in a part."""
    return "not-located" in codes(line)


def row_of(line: Line, case: Case, mask: np.ndarray) -> Row:
    """What became of a part."""
    ml = case.grid.voxel_ml
    said = f"{line['verdict']} {codes(line)}"
    return Row(case.name, np.count_nonzero(case.labels) * ml, regions_of(mask, case.labels, ml), said)


def text(row: Row) -> str:
    """A line for a person."""
    listed = [f"{region.ml:.0f} ml ({region.right:.2f} right)" for region in row.regions if region.ml >= LISTED_ML]
    return f"{row.part:<26}{row.organs_ml:>6.0f} ml of organs; found {', '.join(listed) or 'nothing'}; {row.said}"


def summary(rows: list[Row]) -> str:
    """Of parts in which nothing was located: masks that miss organs, regions by their size."""
    some = [row for row in rows if row.organs_ml >= SOME_ML]
    empty = sum(not row.regions for row in some)
    lines = [f"{len(some)} of these have {SOME_ML} ml of organs or more, and {empty} an empty mask for them"]
    regions = [region for row in rows for region in row.regions]
    for least in SIZES_ML:
        large = [region for region in regions if region.ml >= least]
        right = sum(region.right >= RIGHT for region in large)
        lines.append(f"regions of {least} ml or more: {len(large)}, {right} of them right")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
