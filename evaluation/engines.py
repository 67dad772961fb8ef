"""Engines: `python -m evaluation.engines SCANS --systems NAME …`. How far two engines give a system the same masks.

Every scan `NAME_0000.nii.gz` in SCANS goes through each system twice, all of its stages in the one engine and then in
the other; printed is the share of the voxels whose labels are equal, of all and of those that either mask calls an
organ. --weights names another folder of bundles than weights/, such as one that `training.export --engines` has filled.

Exit status: 0 all above --least, 1 some below, 2 nothing could be compared.
"""

import argparse
from pathlib import Path

from app.errors import VisceraError
from app.models.bundle import ENGINES, TORCHSCRIPT
from app.system.definition import WEIGHTS
from evaluation.maintenance.engine_masks import compare_engines


def main() -> None:
    """Parses the arguments, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path, metavar="SCANS", help="folder of NAME_0000.nii.gz")
    parser.add_argument("--systems", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--engines", nargs=2, choices=ENGINES, default=["openvino-float32", TORCHSCRIPT])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of bundles (default: the project's)")
    parser.add_argument("--least", type=float, default=0.999, help="share of all voxels (default: %(default)s)")
    arguments = parser.parse_args()
    scans = sorted(arguments.scans.glob("*_0000.nii.gz"))
    if not scans:
        parser.exit(2, f"{arguments.scans}: no scans NAME_0000.nii.gz here\n")
    first, second = arguments.engines
    equal = []
    try:
        for name in arguments.systems:
            for scan, same in compare_engines(name, scans, (first, second), arguments.weights):
                equal.append(same.of_all)
                print(
                    f"{name}, {scan}: {same.of_all:.4%} of all voxels equal, {same.of_organs:.3%} of organs", flush=True
                )
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"least: {min(equal):.4%} ({first} and {second}, {len(equal)} masks each)")
    parser.exit(0 if min(equal) >= arguments.least else 1)


if __name__ == "__main__":
    main()
