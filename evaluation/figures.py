"""Figures: `python -m evaluation.figures SCAN`. What an organiser would measure of the image, from outside.

Seconds of a whole `docker run` (median over runs), the largest anonymous and shared memory of the container's cgroup
(page cache apart), and what the image adds to its base. `--large SCAN` runs one more scan once, for its memory.
"""

import argparse
import statistics
from pathlib import Path

from app.errors import SetupError
from evaluation.efficiency.timing import DONE
from evaluation.maintenance.image import image_bytes, localiser_seconds, peak, timed_runs


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
        found, large = timed_runs(
            arguments.image, arguments.scan, arguments.large, runs=arguments.runs, cpus=arguments.cpus
        )
    except SetupError as error:
        parser.exit(2, f"{error}\n")
    seconds = sorted(each.run.seconds for each in found)
    print(f"{arguments.scan.name}: {len(found)} runs, CPUs {arguments.cpus}")
    print(f"seconds: median {statistics.median(seconds):.2f}, from {seconds[0]:.2f} to {seconds[-1]:.2f}")
    print(f"peak memory: {peak(found)}")
    timed = [localiser_seconds(arguments.image, arguments.scan, arguments.cpus) for _ in range(arguments.runs)]
    loading, running = sorted(timed, key=sum)[len(timed) // 2]
    print(f"phase one: {loading + running:.2f} s, of which {loading:.2f} to load and {running:.2f} to run")
    base = image_bytes(arguments.base)
    print(f"image: {(image_bytes(arguments.image) - base) / 1e9:.3f} GB over its base of {base / 1e9:.3f} GB")
    if large:
        found.append(large)
        print(f"{arguments.large.name}: {large.run.seconds:.1f} s, peak memory {peak([large])}")
    if failed := [each for each in found if each.status != DONE]:
        parser.exit(1, f"these figures are of no use: {len(failed)} containers failed, {failed[0].status}\n")


if __name__ == "__main__":
    main()
