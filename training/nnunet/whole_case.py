"""Whole case: a scan's mask by nnU-Net's own predictor beside those of the systems that were imported.

Needs nnunetv2, which reads the checkpoint with a pickle that may hold a program: it is only run after
`training.nnunet.checkpoint` has read the file and found data alone.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from app.errors import SetupError
from app.run.outcome import Outcome
from app.run.pipeline import load_models, run_case
from app.system.definition import System
from training.nnunet.archive import Trained
from training.nnunet.tables import shown
from training.nnunet.windows import agreement_in, counts_of

PREDICT = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder as run; run()"
PACKAGE = "nnunetv2"


def check_package(scan: Path, file_ending: str) -> None:
    """SetupError unless nnunetv2 is here and reads files of the scan's name."""
    if find_spec(PACKAGE) is None:
        raise SetupError(f"{scan}: --proof-scan needs {PACKAGE} beside what is here; install it, or leave that out")
    if not scan.is_file():
        raise SetupError(f"{scan}: is not there; --proof-scan is one scan")
    if not scan.name.endswith(file_ending):
        raise SetupError(
            f"{scan}: the model's dataset.json has files that end in {shown(file_ending)}; give one of those"
        )


def predicted(scan: Path, trained: Trained, file_ending: str, folder: Path, *, mirrored: bool) -> Path:
    """nnU-Net's mask of a scan, in `folder`, on a CPU."""
    names = {file.name for file in trained.folds.values()}
    if len(names) > 1:
        raise SetupError(f"{trained.folder}: folds have {' and '.join(sorted(names))}; prove one of them with --fold")
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir()
    shutil.copyfile(scan, inputs / f"case_0000{file_ending}")
    options = ["-device", "cpu", "-npp", "1", "-nps", "1", "-chk", names.pop(), "--disable_progress_bar"]
    options += [] if mirrored else ["--disable_tta"]
    command = [sys.executable, "-c", PREDICT, "-i", str(inputs), "-o", str(outputs), "-m", str(trained.folder)]
    environment = {f"nnUNet_{name}": str(folder) for name in ("raw", "preprocessed", "results")}
    done = subprocess.run(
        [*command, "-f", *trained.folds, *options],
        env={"PATH": os.defpath, "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    mask = outputs / f"case{file_ending}"
    if done.returncode != 0 or not mask.exists():
        said = done.stderr.strip().splitlines()[-1:] or ["no reason"]
        raise SetupError(f"{scan}: {PACKAGE} could not segment it: {shown(said[0], 200)}")
    return mask


def proof_of_case(scan: Path, theirs: Path, system: System, names: Sequence[str], threads: int) -> dict[str, Any]:
    """What `bundle.json` says of it: how far a system's mask is nnU-Net's, on the scan's own voxels."""
    target = theirs.with_name("ours.nii.gz")
    target.unlink(missing_ok=True)
    run_case(
        scan, target, system, lambda: load_models(system, threads=threads, pinned=False), Outcome(), threads=threads
    )
    ours, other = (np.asarray(nibabel.load(path).dataobj) for path in (target, theirs))  # type: ignore[attr-defined]
    if ours.shape != other.shape:
        raise SetupError(f"{scan}: {PACKAGE} wrote a mask of {other.shape}, the scan has {ours.shape}")
    table = counts_of(ours, other, len(names))
    found = agreement_in(table, names)
    return {
        "against": f"{PACKAGE} {metadata.version(PACKAGE)}",
        "scan": scan.name,
        "same_label": float(table.diagonal().sum() / table.sum()),
        "same_of_labelled": found.share,
        "dice": {name: round(value, 4) for name, value in found.dice.items()},
    }
