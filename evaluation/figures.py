"""Figures: `python -m evaluation.figures SCAN`. What an organiser would measure of the image, from outside.

Seconds of a whole `docker run` (median over runs), the largest anonymous and shared memory of the container's cgroup
(page cache apart), and what the image adds to its base. `--large SCAN` runs one more scan once, for its memory.
"""

import argparse
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.02
LOCALISER = """
import sys, time
from pathlib import Path
from app.bundle import load_bundle
from app.engine import load_engine
from app.locate import locate
from app.read import read
from app.resample import use_threads
from app.system import WEIGHTS, load_system
scan, choice = read(Path(sys.argv[1])), load_system("viscera").locate
use_threads(2)
start = time.perf_counter()
bundle = load_bundle(WEIGHTS / choice.bundle, "localiser")
engine = load_engine(bundle, choice.engine, choice.precision, 2, pinned=True)
loaded = time.perf_counter()
names = ("min_component_ml", "min_component_share", "margin_mm")
amounts = {name: getattr(choice, name) for name in names}
locate(scan.voxels, scan.grid, bundle, engine, **amounts)
print(loaded - start, time.perf_counter() - loaded)
"""  # run inside the image: what phase one takes, the import of its engine included
CGROUPS = (  # of a container, by cgroup version and by the engine's driver
    "/sys/fs/cgroup/docker/{}",
    "/sys/fs/cgroup/system.slice/docker-{}.scope",
    "/sys/fs/cgroup/memory/docker/{}",
    "/sys/fs/cgroup/memory/system.slice/docker-{}.scope",
)
COUNTED = ("anon", "rss", "shmem")  # cgroup v2 says anon, v1 rss; both say shmem


@dataclass(frozen=True, slots=True)
class Run:
    """One container: its wall seconds, exit status, peak memory in bytes (None if no cgroup was seen)."""

    seconds: float
    status: int
    peak: int | None


def run_container(image: str, scan: Path, cpus: str) -> Run:
    """The organisers' way with one scan as the only input, without network, on these CPUs (as in `taskset`)."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs, identity = (Path(folder) / name for name in ("inputs", "outputs", "id"))
        inputs.mkdir()
        outputs.mkdir()
        (inputs / scan.name).write_bytes(scan.read_bytes())
        command = ["docker", "container", "run", "--rm", "--network", "none", "-m", "8g", "--cidfile", str(identity)]
        command += [
            "--cpuset-cpus",
            cpus,
            "-v",
            f"{inputs}:/workspace/inputs/",
            "-v",
            f"{outputs}:/workspace/outputs/",
            image,
        ]
        command += ["/bin/bash", "-c", "sh predict.sh"]
        peak = _Peak(identity)
        start = time.perf_counter()
        status = subprocess.run(command, check=False).returncode
        seconds = time.perf_counter() - start
        return Run(seconds, status, peak.stop())


def localiser_seconds(image: str, scan: Path, cpus: str) -> tuple[float, float]:
    """Seconds to load phase one and to run it once, measured inside a container."""
    command = ["docker", "container", "run", "--rm", "--network", "none", "-m", "8g", "--cpuset-cpus", cpus]
    command += ["-v", f"{scan.resolve().parent}:/scans:ro", image, "python", "-c", LOCALISER, f"/scans/{scan.name}"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loading, running = (float(value) for value in printed.split())
    return loading, running


class _Peak:
    """Samples a container's memory beside its run."""

    def __init__(self, identity: Path) -> None:
        self._identity = identity
        self._done = threading.Event()
        self._largest: int | None = None
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> int | None:
        self._done.set()
        self._thread.join()
        return self._largest

    def _sample(self) -> None:
        statistics_file: Path | None = None
        while not self._done.wait(SAMPLE_SECONDS):
            statistics_file = statistics_file or self._find()
            used = None if statistics_file is None else _memory(statistics_file)
            if used is not None:
                self._largest = max(used, self._largest or 0)

    def _find(self) -> Path | None:
        if not self._identity.exists() or not (container := self._identity.read_text()):
            return None
        folders = [name.format(container) for name in CGROUPS]
        return next((file for folder in folders if (file := Path(folder) / "memory.stat").exists()), None)


def _memory(statistics_file: Path) -> int | None:
    try:
        lines = statistics_file.read_text().splitlines()
    except OSError:
        return None
    values = dict(line.split()[:2] for line in lines)
    return sum(int(values.get(name, 0)) for name in COUNTED)


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
    run_container(arguments.image, arguments.scan, arguments.cpus)  # not counted: the engine's first look at the image
    runs = [run_container(arguments.image, arguments.scan, arguments.cpus) for _ in range(arguments.runs)]
    seconds = sorted(run.seconds for run in runs)
    base = image_bytes(arguments.base)
    print(f"{arguments.scan.name}: {len(runs)} runs, CPUs {arguments.cpus}")
    print(f"seconds: median {statistics.median(seconds):.2f}, from {seconds[0]:.2f} to {seconds[-1]:.2f}")
    print(f"peak memory: {_megabytes([run.peak for run in runs])}")
    timed = [localiser_seconds(arguments.image, arguments.scan, arguments.cpus) for _ in range(arguments.runs)]
    phase_one = sorted(timed, key=sum)
    loading, running = phase_one[len(phase_one) // 2]
    print(f"phase one: {loading + running:.2f} s, of which {loading:.2f} to load and {running:.2f} to run")
    print(f"image: {(image_bytes(arguments.image) - base) / 1e9:.3f} GB over its base of {base / 1e9:.3f} GB")
    if arguments.large:
        runs.append(large := run_container(arguments.image, arguments.large, arguments.cpus))
        print(f"{arguments.large.name}: {large.seconds:.1f} s, peak memory {_megabytes([large.peak])}")
    if failed := [run.status for run in runs if run.status]:
        parser.exit(1, f"these figures are of no use: {len(failed)} containers failed, exit status {failed[0]}\n")


def _megabytes(peaks: list[int | None]) -> str:
    known = [peak for peak in peaks if peak is not None]
    return f"{max(known) / 1e6:.0f} MB" if known else "unknown, the containers' cgroups cannot be read here"


if __name__ == "__main__":
    main()
