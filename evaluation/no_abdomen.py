"""No abdomen: `python -m evaluation.no_abdomen DATA`. What the whole pipeline makes of scans without an organ.

DATA holds `train` and `val`. The slices above the highest label, or below the lowest, of scans named here (kept out of
the localiser's training by its recipe), a scan of air and a cylinder of water go through the pipeline: phase one must
find no box, and the mask must stay all but empty.
"""

import argparse
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from app.run.command_line import main as segment
from app.types import AIR

ABOVE = ("train/onko_thorax", "train/tcga_34_2605_chest", "val/ircad_19")
BELOW = ("train/tcga_ay_4070a", "train/acrin_flt_001", "val/ircad_19")
ALLOWED_ML = 5
PHANTOM_SHAPE = (160, 160, 60)  # x, y, z
PHANTOM_SPACING = (2.2, 2.2, 5.0)


def write_slab(data: Path, case: str, *, above: bool, folder: Path) -> None:
    """The slices of `case` beyond its labels as a scan of its own in `folder`."""
    scan, mask = (nib.nifti1.load(data / f"{case}{ending}") for ending in ("_0000.nii.gz", ".nii.gz"))
    first, last = label_range(np.asarray(mask.dataobj))
    slices = slice(last + 1, None) if above else slice(0, first)
    part = scan.slicer[:, :, slices]
    side = "above" if above else "below"
    nib.save(part, folder / f"{Path(case).name}_{side}_0000.nii.gz")


def label_range(labels: np.ndarray) -> tuple[int, int]:
    """First and last slice (x, y, z) that shows an organ."""
    found = np.flatnonzero(labels.any(axis=(0, 1)))
    return int(found[0]), int(found[-1])


def write_phantoms(folder: Path) -> None:
    """A scan of nothing but air, and one of a cylinder of water."""
    air = np.full(PHANTOM_SHAPE, AIR, np.int16)
    x, y = np.meshgrid(*(np.linspace(-1, 1, n) for n in PHANTOM_SHAPE[:2]), indexing="ij")
    water = air.copy()
    water[x**2 + y**2 < 0.4] = 0
    affine = np.diag([-PHANTOM_SPACING[0], -PHANTOM_SPACING[1], PHANTOM_SPACING[2], 1])
    for name, voxels in (("air", air), ("water", water)):
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}_0000.nii.gz")


def main() -> None:
    """Parses the arguments, runs, prints a line per scan; exit status 1 where a box or too much was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of train and val")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs, report = Path(name) / "inputs", Path(name) / "report.jsonl"
        inputs.mkdir()
        try:
            for case in ABOVE:
                write_slab(arguments.data, case, above=True, folder=inputs)
            for case in BELOW:
                write_slab(arguments.data, case, above=False, folder=inputs)
        except OSError as error:
            parser.exit(2, f"{error}\n")
        write_phantoms(inputs)
        outputs = ["--outputs", str(Path(name) / "outputs"), "--report", str(report)]
        segment(["--inputs", str(inputs), *outputs, "--system", arguments.system])
        lines = [json.loads(line) for line in report.read_text().splitlines()]
    failed = len(lines) != len(ABOVE) + len(BELOW) + 2  # and two phantoms
    for line in lines:
        organs = line["volume_ml"] or {}
        found = ", ".join(f"{organ} {ml:.1f}" for organ, ml in organs.items() if ml)
        bad = line["status"] != "done" or line["box"] is not None or sum(organs.values()) > ALLOWED_ML
        failed = failed or bad
        box = "no box" if line["box"] is None else f"box {line['box']}"
        print(f"{'FAILS' if bad else 'ok':<6}{line['case']:<28}{box}, {sum(organs.values()):.1f} ml {found}")
    parser.exit(int(failed))


if __name__ == "__main__":
    main()
