"""Validate: `python -m evaluation.validate DATA`. The whole pipeline on a folder of scans with masks, then its scores.

DATA holds `NAME_0000.nii.gz` and `NAME.nii.gz`, one beside the other, as training data do. Masks and scores (as
`evaluation.score` writes them) go into --outputs.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.errors import SetupError, VisceraError
from app.files.cases import identity, mask_name
from app.files.write import is_replaceable
from app.run.command_line import main as segment
from app.system.definition import load_system
from evaluation.scores.score_files import refuse_others, write_all
from evaluation.scores.scoring import score_folders
from evaluation.shared.masks import mask_paths

SCORES = "scores.csv"


def validate(data: Path, outputs: Path, system: str) -> int:
    """Writes a mask into `outputs` for every scan in `data`; only scans are handed on, not the masks beside them.

    The app's exit status: 1 where scans failed, 2 where nothing could be segmented. SetupError, before anything is
    removed, where `outputs` is the truth's folder or holds what Viscera did not write, or the system cannot be run.

    Masks of an earlier run are removed first: a scan that fails today is missing, not as good as it once was.
    """
    load_system(system)  # before masks are removed that it could not make
    _check_outputs(data, outputs)
    with tempfile.TemporaryDirectory() as folder:
        for scan, mask in _masks(data, outputs):
            (Path(folder) / scan.name).symlink_to(scan.resolve())
            mask.unlink(missing_ok=True)
        return segment(["--inputs", folder, "--outputs", str(outputs), "--system", system])


def _masks(data: Path, outputs: Path) -> Iterator[tuple[Path, Path]]:
    """Every scan, and where its mask goes."""
    return ((scan, outputs / mask_name(scan)) for scan in sorted(data.glob("*_0000.nii.gz")))


def _check_outputs(data: Path, outputs: Path) -> None:
    """By what is on the disk, so that links and other spellings of a name are seen through."""
    if outputs.exists() and not outputs.is_dir():
        raise SetupError(f"--outputs {outputs}: is not a folder; choose another")
    truth, own = data.resolve(), outputs.resolve()
    inside = identity(truth) in map(identity, (own, *own.parents))
    around = own.exists() and identity(own) in map(identity, truth.parents)
    if inside or around:
        raise SetupError(f"--outputs {outputs}: lies in the folder of the reference masks, or holds it; choose another")
    truths = {identity(path) for path in data.iterdir()}
    for _, mask in _masks(data, outputs):
        there = mask.exists() or mask.is_symlink()
        if there and (identity(mask) in truths or not is_replaceable(mask)):
            raise SetupError(
                f"{mask}: exists and is a reference mask or not viscera's; choose another --outputs, or move it away"
            )
    refuse_others(outputs / SCORES)


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
        status = validate(arguments.data, arguments.outputs, arguments.system)
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
