"""Time cases: `python -m evaluation.time_cases --image team.tar.gz --inputs DIR --out DIR`. As the organisers time.

One case at a time in an empty folder, one fresh container for each by their command, the clock from before it until it
exits; every tenth of a second the container's own memory and CPU. OUT gets masks/, efficiency.csv with the organisers'
columns and ours, summary.txt, curves/ (PNG), samples/ and logs/. --local measures `python -m app` without a container.

Exit status: 0 all done, 1 some cases failed (each has its row), 2 nothing could be measured.

Example: python -m evaluation.time_cases --image viscera --inputs ../shared/cases --out build/times
"""

import argparse
import csv
import math
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

from app.errors import SetupError
from app.files.cases import ENDINGS, case_name, identity, mask_name
from evaluation.efficiency.containers import Engine
from evaluation.efficiency.curves import draw_curves
from evaluation.efficiency.machine import busy_percent
from evaluation.efficiency.table import COLUMNS, summary, write_rows, write_samples
from evaluation.efficiency.timing import (
    DONE,
    CaseTimer,
    TimedCase,
    container_timer,
    exit_delays,
    process_timer,
    scan_paths,
    workspace,
)
from evaluation.shared.own_files import refuse_foreign
from evaluation.shared.protocol import MEGABYTE, MEMORY

LOCAL = "local process, not the container"
INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as shells have them
WATCHED_SECONDS = 0.2  # for what else is running, before each case
DELAYS = 20  # readings of our own share of a time
TABLE, SUMMARY = "efficiency.csv", "summary.txt"
MASKS = "masks"
FOLDERS = (MASKS, "curves", "samples", "logs")


def time_all(scans: list[Path], timer: CaseTimer, out: Path, mark: str) -> list[TimedCase]:
    """Every scan in turn; what each leaves is kept in `out` at once, so that an interrupted run keeps what it has.

    What an earlier run left is removed. SetupError where anything else is in the way.
    """
    _clear(out, scans)
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    found: list[TimedCase] = []
    for scan in scans:
        kept = out / MASKS / mask_name(scan)
        busy = busy_percent(WATCHED_SECONDS)
        with workspace(out) as place:
            case = replace(timer(scan, place), other_load=busy)
            found.append(case)
            write_rows(found, out / TABLE)  # first: what it names is ours to remove
            if case.status == DONE:
                shutil.move(place.outputs / kept.name, kept)
            shutil.move(place.log, out / "logs" / f"{case_name(scan)}.txt")
        write_samples(case.run, out / "samples" / f"{case_name(scan)}.csv")
        draw_curves(case, out / "curves" / f"{case_name(scan)}.png")
        memory = case.run.peak_memory / MEGABYTE
        note = f" ({case.note})" if case.note else ""
        print(f"{mark}{scan.name}: {case.run.seconds:.2f} s, {memory:.0f} MB, {case.status}{note}", flush=True)
    return found


def _clear(out: Path, scans: list[Path]) -> None:
    """Removes what an earlier run left, which would be scored along with ours: what its table names, and no other file.

    SetupError, before anything is removed, where something else is there: a mask that was changed since, or is to be
    timed, too.
    """
    refuse_foreign(out / TABLE, ",".join(COLUMNS), out / SUMMARY)
    left = {path for name in _earlier_cases(out / TABLE) for path in _files(out, name)}
    for name in FOLDERS:
        folder = out / name
        inside = [path for path in folder.glob("*") if path not in left or path.is_dir()]
        if others := [folder] if folder.is_symlink() or folder.is_file() else inside:
            raise SetupError(f"{others[0]}: exists and is not of an earlier run; choose another --out, or move it away")
    inputs = {identity(scan) for scan in scans} - {None}
    for path in sorted(left):
        if identity(path) in inputs:
            raise SetupError(f"{path}: is to be timed, and of an earlier run, which is removed; choose another --out")
        if path.parent.name == MASKS and path.exists() and path.stat().st_mtime > (out / TABLE).stat().st_mtime:
            raise SetupError(f"{path}: was changed since the earlier run; choose another --out, or move it away")
    for path in (*left, out / SUMMARY, out / TABLE):
        path.unlink(missing_ok=True)


def _earlier_cases(table: Path) -> list[Path]:
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        names = [Path(row["Name"]).name for row in csv.DictReader(file)]
    return [Path(name) for name in names if name.lower().endswith(ENDINGS)]


def _files(out: Path, scan: Path) -> list[Path]:
    """What a case leaves, by the name of its scan."""
    endings = {"curves": ".png", "samples": ".csv", "logs": ".txt"}
    others = [out / folder / f"{case_name(scan)}{ending}" for folder, ending in endings.items()]
    return [out / MASKS / mask_name(scan), *others]


def local_timer(limit: float | None) -> CaseTimer:
    """`python -m app` in place of a container."""
    start = [sys.executable, "-m", "app", "--inputs"]
    return process_timer(lambda scan, place: [*start, scan, "--outputs", place.outputs.resolve()], LOCAL, limit=limit)


def main() -> None:
    """Parses the arguments, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", help="an archive team.tar.gz, or the name of an image that the engine has")
    what.add_argument("--local", action="store_true", help="`python -m app` in place of a container")
    parser.add_argument("--inputs", type=Path, required=True, help="a folder of scans, or one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--memory", help=f"of a container (default: {MEMORY})")
    parser.add_argument("--cpus", help="those a container may use, as --cpuset-cpus has them (default: all)")
    parser.add_argument("--with-network", action="store_true", help="leave out --network none")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds a case may take (default: %(default)s)")
    arguments = parser.parse_args()
    if not 0 < arguments.time_limit < math.inf:
        parser.error(f"--time-limit takes seconds above 0, not {arguments.time_limit:g}")
    if arguments.local and (arguments.memory or arguments.cpus or arguments.with_network):
        parser.error("--memory, --cpus and --with-network are a container's, --local runs none")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that no container is left behind
    try:
        found = _time(arguments)
        delays = exit_delays(DELAYS, arguments.out)
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, f"interrupted; what is done is in {arguments.out}\n")
    except (SetupError, OSError) as error:
        parser.exit(2, f"{error}\n")
    mark = _mark(arguments)
    lines = [mark + line for line in summary(found, delays).splitlines()]
    (arguments.out / SUMMARY).write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    parser.exit(any(case.status != DONE for case in found))


def _time(arguments: argparse.Namespace) -> list[TimedCase]:
    scans = scan_paths(arguments.inputs)
    if others := [path.name for path in arguments.inputs.glob("*.nii*") if path not in scans]:
        print(f"{_mark(arguments)}left alone, since scans here are called NAME_0000: {', '.join(sorted(others))}")
    limit = arguments.time_limit
    if arguments.local:
        return time_all(scans, local_timer(limit), arguments.out, _mark(arguments))
    with Engine() as engine:
        timer = container_timer(
            engine,
            engine.image(arguments.image),
            memory=arguments.memory or MEMORY,
            network=arguments.with_network,
            cpus=arguments.cpus,
            limit=limit,
        )
        return time_all(scans, timer, arguments.out, _mark(arguments))


def _mark(arguments: argparse.Namespace) -> str:
    return f"[{LOCAL}] " if arguments.local else ""


if __name__ == "__main__":
    main()
