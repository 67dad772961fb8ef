"""Carry: a run in small files, to take it to another machine and back. Needs torch alone.

`python -m training.carry away RUN FOLDER [--optimiser]` writes the averaged weights as float16 (what ships is
rounded to it anyway), with `--optimiser` the whole checkpoint too, both in parts below 16 MB, and tables. Slices
of scans stay: what is carried may end in a repository, and scans must not.
`python -m training.carry home FOLDER RUN` puts them together again: with a checkpoint the run goes on
(`training.train`), without one it can be exported, or another begun from its weights (`--start-from`).
"""

import argparse
import hashlib
import io
import json
import shutil
from pathlib import Path

import torch

from training.run_files import AVERAGED, CHECKPOINT, EVALUATIONS, HISTORY, METRICS, read_past, read_saved

PART_BYTES = 15_000_000
MANIFEST = "manifest.json"  # SHA-256 of what was split
TABLES = (METRICS, EVALUATIONS)


def away(run: Path, folder: Path, *, optimiser: bool) -> None:
    """The run in files of at most `PART_BYTES`; `folder` must be new."""
    past = read_past(run)
    weights = read_saved(run / AVERAGED)
    buffer = io.BytesIO()
    torch.save({name: value.half() for name, value in weights.items()}, buffer)
    contents = {AVERAGED: buffer.getvalue()}
    if optimiser:
        contents[CHECKPOINT] = (run / CHECKPOINT).read_bytes()
    if folder.exists():
        raise ValueError(f"{folder}: is there already; name a new folder")
    folder.mkdir(parents=True)
    for name, content in contents.items():
        split(content, folder, name)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
    torch.save(past, folder / HISTORY)
    for name in TABLES:
        if (run / name).exists():
            shutil.copy(run / name, folder / name)


def home(folder: Path, run: Path) -> None:
    """The run from its files; `run` must be new. ValueError where a part is missing or is not what left."""
    contents = {
        name: join(folder, name, sha256) for name, sha256 in json.loads((folder / MANIFEST).read_text()).items()
    }
    run.mkdir(parents=True)
    weights = torch.load(io.BytesIO(contents[AVERAGED]), map_location="cpu", weights_only=True)
    torch.save({name: value.float() for name, value in weights.items()}, run / AVERAGED)
    if CHECKPOINT in contents:
        (run / CHECKPOINT).write_bytes(contents[CHECKPOINT])
    else:
        shutil.copy(folder / HISTORY, run / HISTORY)
    for name in TABLES:
        if (folder / name).exists():
            shutil.copy(folder / name, run / name)


def split(content: bytes, folder: Path, name: str) -> None:
    """`content` as `NAME.000`, `NAME.001` and so on."""
    for number, start in enumerate(range(0, len(content), PART_BYTES)):
        (folder / f"{name}.{number:03}").write_bytes(content[start : start + PART_BYTES])


def join(folder: Path, name: str, sha256: str) -> bytes:
    """What `split` wrote. ValueError where it is not all there."""
    parts = sorted(folder.glob(f"{name}.[0-9][0-9][0-9]"))
    content = b"".join(path.read_bytes() for path in parts)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{folder}: {name} is not whole, a part is missing or damaged; found {[p.name for p in parts]}"
        )
    return content


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
    try:
        if arguments.command == "away":
            away(arguments.run, arguments.folder, optimiser=arguments.optimiser)
        else:
            home(arguments.folder, arguments.run)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    target = arguments.folder if arguments.command == "away" else arguments.run
    files = [path for path in target.rglob("*") if path.is_file()]
    print(f"{target}: {len(files)} files, the largest {max(path.stat().st_size for path in files) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
