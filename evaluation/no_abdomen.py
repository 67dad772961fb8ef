"""No abdomen: `python -m evaluation.no_abdomen DATA`. What the whole pipeline makes of scans without an organ.

DATA holds `train` and `val`. Slices beyond the labels of scans named here, a scan of air and a cylinder of water go
through the pipeline: the mask must be all but empty, or its verdict "unusable". Of slabs that the localiser's recipe
kept out of its training phase one must find no box, either. Of what is found, the largest connected region is printed:
`large-regions-if-unlocated` must ask for more than any that a system without it finds where phase one saw nothing;
what it costs `evaluation.crops` says.
"""

import argparse
import tempfile
from pathlib import Path

import cc3d
import nibabel as nib
import numpy as np

from app.notice import Verdict
from evaluation.maintenance.no_organs import Slab, write_phantoms, write_slab
from evaluation.maintenance.reported import Line, reported

KEPT_OUT = (
    Slab("train/onko_thorax", "chest-and-neck", above=True),
    Slab("train/tcga_34_2605_chest", "chest", above=True),
    Slab("val/ircad_19", "chest", above=True),
    Slab("train/tcga_ay_4070a", "pelvis-and-thighs", above=False),
    Slab("train/acrin_flt_001", "pelvis", above=False),
    Slab("val/ircad_19", "pelvis", above=False),
    Slab("train/onko_thorax", "lungs", above=True, stop_mm=60),
    Slab("train/onko_thorax", "shoulders", above=True, start_mm=60, stop_mm=110),
    Slab("train/onko_thorax", "neck", above=True, start_mm=110),
    Slab("train/tcga_34_2605_chest", "shoulders", above=True, start_mm=50),
    Slab("train/tcga_ay_4070a", "sacrum", above=False, stop_mm=60),
    Slab("train/tcga_ay_4070a", "bladder", above=False, start_mm=60, stop_mm=140),
    Slab("train/tcga_ay_4070a", "thighs", above=False, start_mm=140),
    Slab("train/acrin_flt_001", "bowel", above=False, stop_mm=80),
    Slab("train/acrin_flt_001", "bladder", above=False, start_mm=80),
)
OTHERS = (
    Slab("val/lidc_0001", "chest", above=True),
    Slab("train/lung1_141", "chest", above=True),
    Slab("train/lung1_141", "shoulders", above=True, start_mm=40),
    Slab("train/ricord_1a_419639", "chest", above=True),
    Slab("train/cmb_crc_01068", "chest", above=True),
    Slab("train/pancreas_ct_cb_001", "pelvis", above=False),
    Slab("train/tcga_bc_a10x", "pelvis", above=False),
)
ALLOWED_ML = 5
FAILS = "FAILS"


def main() -> None:
    """Parses the arguments, runs, prints a line per scan; exit status 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of train and val")
    parser.add_argument("--system", default="viscera", help="default: %(default)s")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        inputs = Path(name) / "inputs"
        inputs.mkdir()
        try:
            for slab in (*KEPT_OUT, *OTHERS):
                write_slab(arguments.data, slab, inputs)
        except (OSError, ValueError) as error:
            parser.exit(2, f"{error}\n")
        write_phantoms(inputs)
        lines = reported(inputs, Path(name) / "outputs", arguments.system)
        largest = {line["case"]: largest_region_ml(Path(line["output"])) for line in lines if line["output"]}
    failed = len(lines) != len(KEPT_OUT) + len(OTHERS) + 2  # and two phantoms
    may_have_box = {slab.name for slab in OTHERS}
    for line in lines:
        judged = judge(line, may_have_box=line["case"] in may_have_box)
        failed = failed or judged == FAILS
        organs = line["volume_ml"] or {}
        found = ", ".join(f"{organ} {ml:.1f}" for organ, ml in organs.items() if ml)
        box = "no box" if line["box"] is None else f"box {line['box']}"
        region = f"{sum(organs.values()):.1f} ml, {largest.get(line['case'], 0):.1f} in one region"
        print(f"{judged:<8}{line['case']:<36}{box}, {region}, {line['verdict']} {found}")
    parser.exit(int(failed))


def largest_region_ml(mask: Path) -> float:
    """Of all organs together, voxels that share a face; 0 of an empty mask."""
    image = nib.nifti1.load(mask)
    regions = cc3d.connected_components(np.asarray(image.dataobj) > 0, connectivity=6)
    voxel_ml = float(np.prod(image.header.get_zooms())) / 1000
    return float(np.bincount(regions.ravel())[1:].max(initial=0)) * voxel_ml


def judge(line: Line, *, may_have_box: bool) -> str:
    """A case's line of the report in a word: `ok`, `flagged` or `FAILS`."""
    if line["status"] != "done" or (line["box"] is not None and not may_have_box):
        return FAILS
    if sum(line["volume_ml"].values()) <= ALLOWED_ML:
        return "ok"
    return "flagged" if line["verdict"] == Verdict.UNUSABLE else FAILS


if __name__ == "__main__":
    main()
