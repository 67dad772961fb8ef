"""Average: `python -m training.average RUN OTHER ... --out RUN`. The mean of the weights of runs on one way.

Runs that begin with the same weights lie in one valley of the loss, and between them it is lower as a rule ("model
soups", arXiv 2203.05482). What comes out is a run to export or to start from.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from app.errors import VisceraError
from training.run_files import AVERAGED, read_past, write_run
from training.start import Start, read_start


def average(run: Path, others: Sequence[Path], out: Path) -> None:
    """A new run in `out`, with the mean of a run's averaged weights and of others', as `read_start` takes them.

    It has the run's recipe, stage and history, and says whose weights went into it. ValueError for weights of another
    network, and for those of a run that is not on the way to this one: what it was trained on besides would be lost.
    """
    if out.exists():
        raise ValueError(f"{out}: is there already; name a new folder")
    past = read_past(run)
    try:
        role = past["recipe"]["role"]
        first = read_start(run / AVERAGED, role)
        starts = [first, *(read_start(other, role) for other in others)]
        for start in starts[1:]:
            _check_kin(start, first)
    except (LookupError, TypeError) as error:
        raise ValueError(f"{run}, or what it is averaged with: its past is not as training.train wrote it") from error
    named = "the mean of " + " and ".join(start.name for start in starts)
    write_run(out, mean([start.weights for start in starts]), past | {"started_from": named})


def mean(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Weights by name; whole numbers, such as a norm's count of batches, are the first's."""
    first = states[0]
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in first.items()
    }


def _check_kin(start: Start, first: Start) -> None:
    kinds, own = ({name: (w.shape, w.dtype) for name, w in each.weights.items()} for each in (start, first))
    if kinds != own:
        raise ValueError(f"{start.name}: is of another network than {first.name}; only weights of one can be averaged")
    if start.intensity != first.intensity:
        raise ValueError(f"{start.name}: sees another scale of HU than {first.name}")
    way, whole = ([_stage(entry) for entry in each.history] for each in (start, first))
    if not way or way != whole[: len(way)]:
        raise ValueError(f"{start.name}: is not on the way to {first.name}; the mean of strangers is no network")


def _stage(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["run"], entry["name"]


def main() -> None:
    """Parses the arguments, averages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that training.train wrote; its recipe and history are kept")
    parser.add_argument("others", type=Path, nargs="+", help=f"a run's {AVERAGED}, or a bundle's folder")
    parser.add_argument("--out", type=Path, required=True, help="a new run")
    arguments = parser.parse_args()
    try:
        average(arguments.run, arguments.others, arguments.out)
    except (VisceraError, ValueError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(f"{arguments.out}: the mean of {1 + len(arguments.others)} runs' weights")


if __name__ == "__main__":
    main()
