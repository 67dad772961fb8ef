"""Carry: a run in small files, to take it to another machine and back. Needs torch alone.

`python -m training.carry away RUN FOLDER [--optimiser]` writes the averaged weights as float16 (what ships is
rounded to it anyway), with `--optimiser` the whole checkpoint too, both in parts below 16 MB, and tables and slices.
`python -m training.carry home FOLDER RUN` puts them together again: with a checkpoint the run goes on
(`training.train`), without one it can be exported, or another begun from its weights (`--start-from`).
"""

import argparse
import io
import shutil
from pathlib import Path

import torch

PART_BYTES = 15_000_000
WEIGHTS, CHECKPOINT = "averaged.pt", "checkpoint.pt"
HISTORY = "history.pt"  # the checkpoint without tensors of the network: what the bundle says of its training
TABLES = ("metrics.csv", "evaluations.csv")


def away(run: Path, folder: Path, *, optimiser: bool) -> None:
    """The run in files of at most `PART_BYTES`; `folder` must be new."""
    folder.mkdir(parents=True)
    weights = torch.load(run / WEIGHTS, map_location="cpu", weights_only=True)
    buffer = io.BytesIO()
    torch.save({name: value.half() for name, value in weights.items()}, buffer)
    split(buffer.getvalue(), folder, WEIGHTS)
    state = torch.load(run / CHECKPOINT, map_location="cpu", weights_only=True)
    if optimiser:
        split((run / CHECKPOINT).read_bytes(), folder, CHECKPOINT)
    torch.save({name: state[name] for name in ("stage", "step", "seconds", "started_from")}, folder / HISTORY)
    for name in TABLES:
        if (run / name).exists():
            shutil.copy(run / name, folder / name)
    for slices in sorted((run / "slices").glob("*.npz")):
        shutil.copy(slices, folder / slices.name)


def home(folder: Path, run: Path) -> None:
    """The run from its files; `run` must be new."""
    run.mkdir(parents=True)
    weights = torch.load(io.BytesIO(join(folder, WEIGHTS)), map_location="cpu", weights_only=True)
    torch.save({name: value.float() for name, value in weights.items()}, run / WEIGHTS)
    if any(folder.glob(f"{CHECKPOINT}.*")):
        (run / CHECKPOINT).write_bytes(join(folder, CHECKPOINT))
    else:
        shutil.copy(folder / HISTORY, run / HISTORY)
    for name in TABLES:
        if (folder / name).exists():
            shutil.copy(folder / name, run / name)
    (run / "slices").mkdir()
    for slices in sorted(folder.glob("*.npz")):
        shutil.copy(slices, run / "slices" / slices.name)


def split(content: bytes, folder: Path, name: str) -> None:
    """`content` as `NAME.000`, `NAME.001` and so on."""
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        (folder / f"{name}.{number:03}").write_bytes(content[start : start + PART_BYTES])


def join(folder: Path, name: str) -> bytes:
    """What `split` wrote. ValueError where a part is missing in between, or all are."""
    parts = sorted(folder.glob(f"{name}.[0-9][0-9][0-9]"))
    if not parts or [path.suffix for path in parts] != [f".{number:03}" for number in range(len(parts))]:
        raise ValueError(f"{folder}: parts of {name} are missing, found {[path.name for path in parts]}")
    return b"".join(path.read_bytes() for path in parts)


def main() -> None:
    """Parses the arguments, carries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    there = commands.add_parser("away", help="from a run to small files")
    there.add_argument("run", type=Path)
    there.add_argument("folder", type=Path)
    there.add_argument("--optimiser", action="store_true", help="the whole checkpoint too, so that the run can go on")
    back = commands.add_parser("home", help="from small files to a run")
    back.add_argument("folder", type=Path)
    back.add_argument("run", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "away":
        away(arguments.run, arguments.folder, optimiser=arguments.optimiser)
    else:
        home(arguments.folder, arguments.run)
    target = arguments.folder if arguments.command == "away" else arguments.run
    files = [path for path in target.rglob("*") if path.is_file()]
    print(f"{target}: {len(files)} files, the largest {max(path.stat().st_size for path in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
