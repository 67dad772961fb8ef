"""Time cases: `python -m evaluation.time_cases --image team.tar.gz --inputs DIR --out DIR`. As the organisers time.

One case at a time in an empty folder, one fresh container for each by their command, the clock from before it until it
exits; every tenth of a second the container's own memory and CPU. OUT gets masks/, efficiency.csv with the organisers'
columns and ours, summary.txt, curves/ (PNG), samples/ and logs/. --local measures `python -m app` without a container.

Exit status: 0 all done, 1 some cases failed (each has its row), 2 nothing could be measured.

Example: python -m evaluation.time_cases --image viscera --inputs ../shared/cases --out build/times
"""

import argparse
import math
import signal
import sys
from pathlib import Path

from app.errors import SetupError
from evaluation.efficiency.containers import Engine
from evaluation.efficiency.series import SUMMARY, time_all
from evaluation.efficiency.table import summary
from evaluation.efficiency.timing import DONE, LOCAL, TimedCase, container_timer, exit_delays, local_timer, scan_paths
from evaluation.shared.protocol import MEMORY

INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as shells have them
DELAYS = 20  # readings of our own share of a time


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
