"""Validate: `python -m evaluation.validate DATA`. The whole pipeline on a folder of scans with masks, then its scores.

DATA holds `NAME_0000.nii.gz` and `NAME.nii.gz`, one beside the other, as training data do. Masks and scores (as
`evaluation.score` writes them) go into --outputs.
"""

import argparse
from pathlib import Path

from app.errors import VisceraError
from evaluation.scores.score_files import write_all
from evaluation.scores.scoring import score_folders
from evaluation.scores.segment_folder import SCORES, segment_folder
from evaluation.shared.masks import mask_paths


def main() -> None:
    """Parses the arguments, segments, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of NAME_0000.nii.gz and NAME.nii.gz")
    parser.add_argument("--system", default="viscera", help="as of the app (default: %(default)s)")
    parser.add_argument("--outputs", type=Path, default=Path("build/validation"), help="default: %(default)s")
    arguments = parser.parse_args()
    if not any(arguments.data.glob("*_0000.nii.gz")):
        parser.exit(2, f"{arguments.data}: no scans NAME_0000.nii.gz here\n")
    try:
        mask_paths(arguments.data, some=True)  # minutes before they are needed
        status = segment_folder(arguments.data, arguments.outputs, arguments.system)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    if status == 2:
        parser.exit(2)  # the app has said why, and there is nothing to score
    try:
        scores, warnings = score_folders(arguments.data, arguments.outputs)
    except VisceraError as error:
        parser.exit(2, f"{error}\n")
    out = arguments.outputs / SCORES
    print(
        write_all(
            {arguments.system: scores},
            out,
            [f"warning: {warning}" for warning in warnings],
            truth=str(arguments.data),
            system=arguments.system,
        )
    )
    parser.exit(status)


if __name__ == "__main__":
    main()
