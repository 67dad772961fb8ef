"""Crops: `python -m evaluation.crops SCAN ...`. Random parts of scans: what becomes of those that phase one is blind to.

Each SCAN is a `NAME_0000.nii.gz` with its labels, `NAME.nii.gz`, beside it. Slabs of all its width and boxes out of the
body are cut from it and segmented. Where phase one has located nothing, the rest of the way goes by phase two alone:
printed is how much of each part is organs by its labels, how much of it was found, and which connected regions.

In the end stands for some sizes how many regions are as large and how many of them are right, of whose voxels seven in
ten or more have the label's organ. With a system without `large-regions-if-unlocated` that is what a limit would keep.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from app.errors import VisceraError
from app.files.cases import case_name
from app.run.command_line import main as segment
from evaluation.shared.masks import LabelMap, open_mask, read_labels

SLAB_MM = (44, 110)  # its height, from what is no longer called thin
BOX_MM = (70, 160)  # a side
BODY_HU = -200
LEAST_BODY = 0.2  # of the voxels of a part; less is air
LEAST_FOUND_ML = 2.0  # smaller regions are not listed
SIZES_ML = (20, 50, 100, 200, 300)
RIGHT = 0.7  # of a region's voxels
SOME_ML = 100  # of organs, which an empty mask should not miss
Slices = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Region:
    """Of a mask, of all organs together. right: the share of its voxels that the labels call the same."""

    ml: float
    right: float


@dataclass(frozen=True)
class Part:
    """A part of a scan in which nothing was located. organs_ml: by its labels. said: codes of its warnings."""

    name: str
    organs_ml: float
    regions: list[Region]
    verdict: str
    said: str


def main() -> None:
    """Parses the arguments, cuts, segments; prints a line per part in which nothing was located, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, nargs="+", metavar="SCAN", help="NAME_0000.nii.gz beside NAME.nii.gz")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    parser.add_argument("--count", type=int, default=10, help="of parts a scan (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error(f"--count must be 1 or more, found {arguments.count}")
    rng = np.random.default_rng(arguments.seed)
    cut, blind = 0, []
    try:
        for scan in arguments.scans:
            number, parts = parts_of(scan, arguments.count, rng, arguments.system)
            cut, blind = cut + number, blind + parts
            for part in parts:
                print(_text(part), flush=True)
    except (VisceraError, OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    print(f"\n{cut} parts, nothing located in {len(blind)}\n{summary(blind)}")


def parts_of(scan: Path, count: int, rng: np.random.Generator, system: str) -> tuple[int, list[Part]]:
    """How many parts of a scan were segmented, and those of them in which nothing was located."""
    image = nib.nifti1.load(scan)
    labels = read_labels(open_mask(scan.with_name(f"{case_name(scan)}.nii.gz")))
    if labels.shape != image.shape:
        raise ValueError(f"{scan}: has other voxels than its labels ({image.shape}, {labels.shape}); give another scan")
    voxels = np.asarray(image.dataobj)
    kept = {}
    with tempfile.TemporaryDirectory() as name:
        inputs, report = Path(name) / "inputs", Path(name) / "report.jsonl"
        inputs.mkdir()
        for number, where in enumerate(places(voxels, image.header.get_zooms(), count, rng)):
            kept[f"{case_name(scan)}_{number}"] = where
            nib.save(image.slicer[where], inputs / f"{case_name(scan)}_{number}_0000.nii.gz")
        outputs = ["--outputs", str(Path(name) / "outputs"), "--report", str(report)]
        segment(["--inputs", str(inputs), *outputs, "--system", system])
        if not report.exists():  # what is wrong has been said
            raise VisceraError(f"{scan}: nothing of it was segmented")
        lines = [json.loads(line) for line in report.read_text().splitlines()]
        voxel_ml = float(np.prod(image.header.get_zooms())) / 1000
        blind = [part_of(line, labels[kept[line["case"]]], voxel_ml) for line in lines if is_blind(line)]
    return len(lines), blind


def places(voxels: NDArray[Any], spacing: tuple[float, ...], count: int, rng: np.random.Generator) -> Iterator[Slices]:
    """As many slabs and boxes (x, y, z), by chance the one or the other; fewer where the scan is nearly all air."""
    body = np.argwhere(voxels[::8, ::8, ::8] > BODY_HU) * 8
    for _ in range(count if len(body) else 0):
        if rng.random() < 0.5:
            slices = int(rng.uniform(*SLAB_MM) / spacing[2])
            first = int(rng.integers(max(1, voxels.shape[2] - slices)))
            where = (slice(None), slice(None), slice(first, first + slices))
        else:
            middle = rng.choice(body)
            halves = [int(rng.uniform(*BOX_MM) / mm / 2) for mm in spacing[:3]]
            x, y, z = (slice(max(0, at - half), at + half) for at, half in zip(middle, halves, strict=True))
            where = (x, y, z)
        if (voxels[where] > BODY_HU).mean() >= LEAST_BODY:
            yield where


def is_blind(line: dict[str, Any]) -> bool:
    """Whether phase one has located nothing, by a case's line of the report."""
    return line["status"] == "done" and any(warning["code"] == "not-located" for warning in line["warnings"])


def part_of(line: dict[str, Any], labels: LabelMap, voxel_ml: float) -> Part:
    """What became of a part, by its line of the report, its mask and its labels (x, y, z)."""
    mask = np.asarray(nib.nifti1.load(line["output"]).dataobj)
    said = ", ".join(warning["code"] for warning in line["warnings"])
    organs_ml = np.count_nonzero(labels) * voxel_ml
    return Part(line["case"], organs_ml, regions_of(mask, labels, voxel_ml), line["verdict"], said)


def regions_of(mask: NDArray[np.uint8], labels: LabelMap, voxel_ml: float) -> list[Region]:
    """Regions whose voxels share a face, of `LEAST_FOUND_ML` and more, the largest first."""
    regions = cc3d.connected_components(mask > 0, connectivity=6).ravel()
    voxels = np.bincount(regions)
    right = np.bincount(regions[(mask == labels).ravel()], minlength=len(voxels))
    found = [Region(float(n * voxel_ml), float(same / n)) for n, same in zip(voxels[1:], right[1:], strict=True)]
    listed = [region for region in found if region.ml >= LEAST_FOUND_ML]
    return sorted(listed, key=lambda region: -region.ml)


def _text(part: Part) -> str:
    regions = ", ".join(f"{region.ml:.0f} ml ({region.right:.2f} right)" for region in part.regions) or "empty"
    return f"{part.name:<26}{part.organs_ml:>6.0f} ml of organs: {regions}; {part.verdict} {part.said}"


def summary(parts: list[Part]) -> str:
    """Of parts in which nothing was located: masks that miss organs, regions by their size."""
    some = [part for part in parts if part.organs_ml >= SOME_ML]
    empty = sum(not part.regions for part in some)
    lines = [f"{len(some)} of them with {SOME_ML} ml of organs or more, {empty} of these masks empty"]
    regions = [region for part in parts for region in part.regions]
    for least in SIZES_ML:
        large = [region for region in regions if region.ml >= least]
        lines.append(f"regions of {least} ml or more: {len(large)}, {sum(r.right >= RIGHT for r in large)} right")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
