"""Image: what an organiser would measure of it: containers, phase one inside one, its size."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evaluation.efficiency.containers import Engine
from evaluation.efficiency.timing import TimedCase, container_timer, workspace
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
from app.system.rules import Seen
scan, system = read(Path(sys.argv[1])), load_system("viscera")
region = system.region["abdomen"]
stage = system.stage[region.of]
use_threads(2)
start = time.perf_counter()
bundle = load_bundle(WEIGHTS / stage.bundle)
model = Model(bundle, load_engine(bundle, stage.engine, stage.precision, 2, pinned=True))
loaded = time.perf_counter()
answer = run_stage(scan.voxels, scan.grid, None, stage, model, timed=nullcontext)
region.rule(answer.labels, scan.grid, Seen(bundle.labels, located=False))
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


def timed_runs(
    image: str, scan: Path, large: Path | None, *, runs: int, cpus: str
) -> tuple[list[TimedCase], TimedCase | None]:
    """`scan` through fresh containers of the image, `runs` times and once before, uncounted; `large` once, if any."""
    with Engine() as engine, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        timer = container_timer(engine, engine.image(image), cpus=cpus, limit=LIMIT_SECONDS)

        def once(path: Path) -> TimedCase:
            with workspace(Path(folder)) as place:
                return timer(path, place)

        once(scan)  # not counted: the engine's first look at the image
        found = [once(scan) for _ in range(runs)]
        return found, once(large) if large else None


def peak(found: Sequence[TimedCase]) -> str:
    """The largest memory of them, for a person."""
    if not any(case.run.samples for case in found):
        return "unknown, no sample could be taken"
    return f"{max(case.run.peak_memory for case in found) / MEGABYTE:.0f} MB, by the {found[0].source}"
