"""Segment folder: a mask for every scan of a folder by the whole pipeline, to be scored."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.errors import SetupError
from app.files.cases import identity, mask_name
from app.files.write import is_replaceable
from app.run.command_line import main as segment
from app.system.definition import load_system
from evaluation.scores.score_files import refuse_others

SCORES = "scores.csv"


def segment_folder(data: Path, outputs: Path, system: str) -> int:
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
