"""Run files: what a training run leaves in its folder, and its tables. Needs torch alone."""

import csv
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CHECKPOINT = "checkpoint.pt"  # everything needed to go on
AVERAGED = "averaged.pt"  # the weights to ship
HISTORY = "history.pt"  # of a run without a checkpoint, carried home or made of others: its past
METRICS = "metrics.csv"
EVALUATIONS = "evaluations.csv"
CURVES = "curves.png"
SLICES = "slices"  # a folder
PAST = ("recipe", "stage", "step", "seconds", "started_from", "history")


def read_past(run: Path) -> dict[str, Any]:
    """What a run has behind it.

    recipe: as a table. stage, step: where it stands. seconds: it took. started_from: whose weights it began with.
    history: per stage, that of the run it started from first, `run`, `name`, `steps`, `seconds`, `scans`, `patients`,
    the scans whose slices beyond the labels were left out, and where the labels came from. FileNotFoundError without a
    run, ValueError for a damaged one.
    """
    path = next((run / name for name in (CHECKPOINT, HISTORY) if (run / name).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{run}: no run of training.train here, neither {CHECKPOINT} nor {HISTORY}")
    state = read_saved(path)
    if not isinstance(state, dict) or not {*PAST} <= {*state} or not isinstance(state["recipe"], dict):
        raise ValueError(f"{path}: not what training.train wrote")
    return {name: state[name] for name in PAST}


def read_saved(path: Path) -> Any:
    """What torch saved into a file, on the CPU. ValueError for a file that is damaged or another's."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # other bytes than torch's make its unpickler raise almost anything
        raise ValueError(f"{path}: not what training.train wrote, or damaged") from error


def write_run(out: Path, weights: Mapping[str, Tensor], past: Mapping[str, Any]) -> None:
    """A run of averaged weights and a past, whole or not at all; to export, or to start another one from."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        unfinished = Path(name) / out.name
        unfinished.mkdir()
        torch.save(dict(weights), unfinished / AVERAGED)
        torch.save(dict(past), unfinished / HISTORY)
        unfinished.rename(out)


def append_row(table: Path, header: list[str], row: list[Any]) -> None:
    """A row at the end of a table (CSV), which begins with its header."""
    new = not table.exists() or not table.stat().st_size
    with table.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(header)
        writer.writerow(row)


def is_table(table: Path) -> bool:
    """Whether a table is not there, empty, or one of a run."""
    if not table.exists():
        return True
    with table.open("rb") as file:
        start = file.readline(1000)
    return not start or start.startswith(b"stage,step,name,seconds,")


def has_row(table: Path, reached: tuple[int, int]) -> bool:
    """Whether a table whose first columns are stage and step has a row of this place."""
    if not table.exists():
        return False
    with table.open(newline="") as file:
        return any(row[:2] == [str(n) for n in reached] for row in csv.reader(file))


def forget_rows_after(table: Path, reached: tuple[int, int]) -> None:
    """Rows that a killed run wrote after its last checkpoint will be written again; half of a row goes too."""
    if not table.exists():
        return
    with table.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    partial = table.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        whole = [row for row in rows if len(row) == len(header)]
        kept = [row for row in whole if (int(row[0]), int(row[1])) <= reached]
        csv.writer(file).writerows([header, *kept] if header else [])
    os.replace(partial, table)
