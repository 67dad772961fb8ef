"""Run files: what a training run leaves in its folder. Needs torch alone."""

from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "checkpoint.pt"  # everything needed to go on
AVERAGED = "averaged.pt"  # the weights to ship
HISTORY = "history.pt"  # of a run that was carried home without its checkpoint: what that said of the past
METRICS = "metrics.csv"
EVALUATIONS = "evaluations.csv"
CURVES = "curves.png"
SLICES = "slices"  # a folder
PAST = ("recipe", "stage", "step", "seconds", "started_from", "history")


def read_past(run: Path) -> dict[str, Any]:
    """What a run has behind it.

    recipe: as a table. stage, step: where it stands. seconds: it took. started_from: whose weights it began with.
    history: per stage, that of the run it started from first, `run`, `name`, `steps`, `seconds`, `scans`, `patients`,
    and the scans whose slices beyond the labels were left out. FileNotFoundError without a run.
    """
    path = next((run / name for name in (CHECKPOINT, HISTORY) if (run / name).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{run}: no run of training.train here, neither {CHECKPOINT} nor {HISTORY}")
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: state[name] for name in PAST}
