"""Time cases: `python -m evaluation.time_cases --image team.tar.gz --inputs DIR --out DIR`. As the organisers time.

One case at a time in an empty folder, one fresh container for each by their command, the clock from before it until it
exits; every tenth of a second the container's own memory and CPU. OUT gets masks/, efficiency.csv with the organisers'
columns and ours, summary.txt, curves/ (PNG), samples/ and logs/. --local measures `python -m app` without a container.

Exit status: 0 all done, 1 some cases failed (each has its row), 2 nothing could be measured.

Example: python -m evaluation.time_cases --image viscera --inputs ../shared/cases --out build/times
"""

import argparse
import math
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

from app.cases import case_name, mask_name
from app.errors import SetupError
from evaluation.containers import Engine
from evaluation.efficiency import summary, write_rows, write_samples
from evaluation.efficiency_plot import draw_curves
from evaluation.machine import busy_percent
from evaluation.protocol import MEGABYTE, MEMORY
from evaluation.timing import (
    DONE,
    CaseTimer,
    TimedCase,
    container_timer,
    exit_delays,
    process_timer,
    scan_paths,
    workspace,
)

LOCAL = "local process, not the container"
INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as shells have them
WATCHED_SECONDS = 0.2  # for what else is running, before each case
DELAYS = 20  # readings of our own share of a time
TABLE, SUMMARY = "efficiency.csv", "summary.txt"
FOLDERS = ("masks", "curves", "samples", "logs")


def time_all(scans: list[Path], timer: CaseTimer, out: Path, mark: str) -> list[TimedCase]:
    """Every scan in turn; what each leaves is kept in `out` at once, so that an interrupted run keeps what it has."""
    if (out / TABLE).exists():  # an earlier run's: what it left would be scored along with ours
        for name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
    for name in (TABLE, SUMMARY):
        (out / name).unlink(missing_ok=True)
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    found: list[TimedCase] = []
    for scan in scans:
        kept = out / "masks" / mask_name(scan)
        kept.unlink(missing_ok=True)  # there may have been one
        busy = busy_percent(WATCHED_SECONDS)
        with workspace(out) as place:
            case = replace(timer(scan, place), other_load=busy)
            if case.status == DONE:
                shutil.move(place.outputs / kept.name, kept)
            shutil.move(place.log, out / "logs" / f"{case_name(scan)}.txt")
        found.append(case)
        write_samples(case.run, out / "samples" / f"{case_name(scan)}.csv")
        draw_curves(case, out / "curves" / f"{case_name(scan)}.png")
        write_rows(found, out / TABLE)
        memory = case.run.peak_memory / MEGABYTE
        note = f" ({case.note})" if case.note else ""
        print(f"{mark}{scan.name}: {case.run.seconds:.2f} s, {memory:.0f} MB, {case.status}{note}", flush=True)
    return found


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
