"""Localiser: `python -m evaluation.localiser DATA`. Whether phase one keeps what it must, and how much more.

DATA holds `NAME_0000.nii.gz` and `NAME.nii.gz`. Every scan is located as it is, cut to each 10 cm of z, padded with air
to 1.2 m and stitched to others to 1.2 m. Where phase one finds nothing the whole volume is processed, which holds all.
Arrays (z, y, x), lengths mm.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.errors import VisceraError
from app.system.definition import WEIGHTS, load_system
from evaluation.maintenance.bodies import load_case
from evaluation.maintenance.box_figures import measure, table
from evaluation.maintenance.phase_one import first_region, load_localiser
from evaluation.shared.own_files import refuse_foreign


def main() -> None:
    """Parses the arguments, prints a table per engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of NAME_0000.nii.gz and NAME.nii.gz")
    parser.add_argument("--system", default="viscera", help="whose localiser (default: %(default)s)")
    parser.add_argument("--engine", nargs="+", help="default: the system's")
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
    for engine in arguments.engine or [stage.engine]:
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
