"""Systems: `python -m evaluation.systems VAL`. What every system makes of the same scans, in one run.

VAL holds `NAME_0000.nii.gz` and `NAME.nii.gz`. Each scan goes through the whole pipeline in a process of its own; DSC
and NSD are means over the scans of each one's mean over the 13 organs present, seconds the median, memory the largest
peak. Figures go into `systems/measured.json`, which `python -m app --list-systems` shows, and into the tables in
`systems/README.md` and `systems/ablations/README.md`; masks and times into OUT. Without VAL only the tables are written
anew.

Exit status: 0 all done, 1 some systems or scans were not (each has its line), 2 nothing could be measured.
"""

import argparse
import math
import signal
import sys
from pathlib import Path

from app.errors import SetupError, VisceraError
from app.system import definition
from app.system.catalogue import entries
from evaluation.maintenance.system_figures import ablation_names, measure_system, record, write_tables
from evaluation.shared.masks import mask_paths

INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as shells have them


def main() -> None:
    """Parses the arguments, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", metavar="VAL", help="folder of NAME_0000.nii.gz and NAME.nii.gz")
    parser.add_argument("--systems", nargs="+", metavar="NAME", help="by itself all that there are, ablations too")
    parser.add_argument("--out", type=Path, default=Path("build/systems"), help="default: %(default)s")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds a scan may take (default: %(default)s)")
    arguments = parser.parse_args()
    if not 0 < arguments.time_limit < math.inf:
        parser.error(f"--time-limit takes seconds above 0, not {arguments.time_limit:g}")
    if arguments.systems and arguments.data is None:
        parser.error("--systems goes with VAL, which is measured on")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that no process is left behind
    try:
        write_tables()  # before minutes are spent on what could not be written
        if arguments.data is None:
            parser.exit(0)
        if not any(arguments.data.glob("*_0000.nii.gz")):
            parser.exit(2, f"{arguments.data}: no scans NAME_0000.nii.gz here\n")
        mask_paths(arguments.data, some=True)
        names = arguments.systems or _all_names()
        whole = [_measure(name, arguments) for name in names]
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, "interrupted; the systems that are done are in systems/measured.json\n")
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    parser.exit(0 if all(whole) else 1 if any(done is not None for done in whole) else 2)


def _all_names() -> list[str]:
    """Every system, and those ablations whose bundles are there: not all of them ship."""
    ablations = entries(ablation_names())
    for entry in ablations:
        if entry.error:
            print(f"{entry.name}: left out: {entry.error}", file=sys.stderr, flush=True)
    return [*definition.system_names(), *(entry.name for entry in ablations if not entry.error)]


def _measure(name: str, arguments: argparse.Namespace) -> bool | None:
    """Whether all its scans were done; None where there is nothing to record."""
    try:
        measured, warnings = measure_system(name, arguments.data, arguments.out / name, arguments.time_limit)
    except SetupError as error:
        print(f"{name}: not measured: {error}", file=sys.stderr, flush=True)
        return None
    record(name, measured)
    write_tables()
    for warning in warnings:
        print(f"{name}: warning: {warning}", file=sys.stderr)
    print(f"{name}: DSC {measured.mean_dice}, NSD {measured.mean_nsd}, {measured.seconds} s", flush=True)
    return not measured.failed


if __name__ == "__main__":
    main()
