"""Figures: `python -m evaluation.figures SCAN`. What an organiser would measure of the image, from outside.

Seconds of a whole `docker run` (median over runs), the largest anonymous and shared memory of the container's cgroup
(page cache apart), and what the image adds to its base. `--large SCAN` runs one more scan once, for its memory.
"""

import argparse
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from app.errors import SetupError
from evaluation.efficiency.containers import Engine
from evaluation.efficiency.timing import DONE, TimedCase, container_timer, workspace
from evaluation.shared.protocol import MEGABYTE

LIMIT_SECONDS = 600.0
LOCALISER = """
import sys, time
from contextlib import nullcontext
from pathlib import Path
from app.files.read import read
from app.models.bundle import load_bundle
from app.models.engine import load_engine
from app.models.engine import Model
from app.run.stage import run_stage
from app.steps.resample import use_threads
from app.system.definition import WEIGHTS, load_system
scan, system = read(Path(sys.argv[1])), load_system("viscera")
region = system.region["abdomen"]
stage = system.stage[region.of]
use_threads(2)
start = time.perf_counter()
bundle = load_bundle(WEIGHTS / stage.bundle)
model = Model(bundle, load_engine(bundle, stage.engine, stage.precision, 2, pinned=True))
loaded = time.perf_counter()
answer = run_stage(scan.voxels, scan.grid, None, stage, model, timed=nullcontext)
region.rule(answer.labels, scan.grid)
print(loaded - start, time.perf_counter() - loaded)
"""  # run inside the image: what phase one takes, the import of its engine included


def localiser_seconds(image: str, scan: Path, cpus: str) -> tuple[float, float]:
    """Seconds to load phase one and to run it once, measured inside a container."""
    command = ["docker", "container", "run", "--rm", "--network", "none", "-m", "8g", "--cpuset-cpus", cpus]
    command += ["-v", f"{scan.resolve().parent}:/scans:ro", image, "python", "-c", LOCALISER, f"/scans/{scan.name}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loading, running = (float(value) for value in printed.split())
    return loading, running


def image_bytes(image: str) -> int:
    """Uncompressed size as the engine counts it."""
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Parses the arguments, runs, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--image", default="viscera:latest", help="default: %(default)s")
    parser.add_argument("--base", default="python:3.11-slim-bookworm", help="what the image is built from")
    parser.add_argument("--runs", type=int, default=5, help="counted ones (default: %(default)s)")
    parser.add_argument("--cpus", default="0,1", help="the CPUs a container may use (default: %(default)s)")
    parser.add_argument("--large", type=Path, help="a large scan, run once under the same limit")
    arguments = parser.parse_args()
    for scan in (arguments.scan, arguments.large):
        if scan is not None and not scan.is_file():
            parser.exit(2, f"{scan}: no such file\n")
    try:
        found, large = _runs(arguments)
    except SetupError as error:
        parser.exit(2, f"{error}\n")
    seconds = sorted(each.run.seconds for each in found)
    print(f"{arguments.scan.name}: {len(found)} runs, CPUs {arguments.cpus}")
    print(f"seconds: median {statistics.median(seconds):.2f}, from {seconds[0]:.2f} to {seconds[-1]:.2f}")
    print(f"peak memory: {_peak(found)}")
    timed = [localiser_seconds(arguments.image, arguments.scan, arguments.cpus) for _ in range(arguments.runs)]
    loading, running = sorted(timed, key=sum)[len(timed) // 2]
    print(f"phase one: {loading + running:.2f} s, of which {loading:.2f} to load and {running:.2f} to run")
    base = image_bytes(arguments.base)
    print(f"image: {(image_bytes(arguments.image) - base) / 1e9:.3f} GB over its base of {base / 1e9:.3f} GB")
    if large:
        found.append(large)
        print(f"{arguments.large.name}: {large.run.seconds:.1f} s, peak memory {_peak([large])}")
    if failed := [each for each in found if each.status != DONE]:
        parser.exit(1, f"these figures are of no use: {len(failed)} containers failed, {failed[0].status}\n")


def _runs(arguments: argparse.Namespace) -> tuple[list[TimedCase], TimedCase | None]:
    with Engine() as engine, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        timer = container_timer(engine, engine.image(arguments.image), cpus=arguments.cpus, limit=LIMIT_SECONDS)

        def once(scan: Path) -> TimedCase:
            with workspace(Path(folder)) as place:
                return timer(scan, place)

        once(arguments.scan)  # not counted: the engine's first look at the image
        found = [once(arguments.scan) for _ in range(arguments.runs)]
        return found, once(arguments.large) if arguments.large else None


def _peak(found: Sequence[TimedCase]) -> str:
    if not any(case.run.samples for case in found):
        return "unknown, no sample could be taken"
    return f"{max(case.run.peak_memory for case in found) / MEGABYTE:.0f} MB, by the {found[0].source}"


if __name__ == "__main__":
    main()
