"""Timing: one scan through a container or a process, and what became of it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.errors import SetupError, VisceraError
from app.files.cases import CHANNEL, ENDINGS, mask_name
from app.system.definition import ROOT
from evaluation.efficiency.containers import DOCKER_FAILED, Engine, Image, run_container
from evaluation.efficiency.measure import Run, measure
from evaluation.efficiency.processes import ProcessTree, kill_tree
from evaluation.shared.masks import open_mask
from evaluation.shared.protocol import MEMORY

DONE = "done"
NO_SAMPLES = "no samples"
LOCAL = "local process, not the container"
LONGEST_NOTE = 200
LOG_BYTES = 1 << 16  # read of what a case printed, from its end: a container may print without end


@dataclass(frozen=True, slots=True)
class Workspace:
    """Empty folders for one case, and a file for what is printed."""

    inputs: Path
    outputs: Path
    log: Path


@dataclass(frozen=True, slots=True)
class TimedCase:
    """One case. name: of its scan's file. status: "done", or what went wrong in two words. source: of the samples.

    other_load: percent of all CPUs that other programs used just before it.
    """

    name: str
    run: Run
    status: str
    source: str
    note: str = ""
    other_load: float = 0.0


CaseTimer = Callable[[Path, Workspace], TimedCase]
"""Takes a scan and a fresh workspace; the mask is then in its `outputs`, under its `app.files.cases.mask_name`."""


def scan_paths(inputs: Path) -> list[Path]:
    """Scans of a folder by name, or the one file. Where any is called NAME_0000, the others are no scans."""
    if inputs.is_file():
        files = [inputs]
    else:
        files = sorted(path for path in inputs.glob("*") if path.is_file() and not path.name.startswith("."))
    files = [path for path in files if path.name.lower().endswith(ENDINGS)]
    scans = [path for path in files if any(path.name.endswith(CHANNEL + ending) for ending in ENDINGS)] or files
    if not scans:
        raise SetupError(f"{inputs}: no scans NAME{CHANNEL}.nii.gz here; give a folder of them, or one")
    return scans


@contextmanager
def workspace(parent: Path) -> Iterator[Workspace]:
    """A new one in `parent`, gone afterwards but for what its container's user owns. Anybody may write its outputs."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    made = Workspace(folder / "inputs", folder / "outputs", folder / "log.txt")
    made.inputs.mkdir()
    made.outputs.mkdir()
    made.outputs.chmod(0o777)
    made.log.touch()
    try:
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def container_timer(
    engine: Engine,
    image: Image,
    *,
    memory: str = MEMORY,
    network: bool = False,
    cpus: str | None = None,
    limit: float | None = None,
) -> CaseTimer:
    """One fresh container of this image a case, by the organisers' command."""

    def time_case(scan: Path, place: Workspace) -> TimedCase:
        try:
            shutil.copy(scan, place.inputs / scan.name)
        except OSError as error:
            return TimedCase(scan.name, Run(0.0, 0.0, 0), "not read", NO_SAMPLES, str(error))
        found = run_container(
            engine,
            image,
            place.inputs,
            place.outputs,
            place.log,
            memory=memory,
            network=network,
            cpus=cpus,
            limit=limit,
        )
        return judged(scan, found.run, place, found.source, out_of_memory=found.out_of_memory)

    return time_case


def process_timer(
    command: Callable[[Path, Workspace], Sequence[str | Path]], source: str, *, limit: float | None = None
) -> CaseTimer:
    """A plain process a case, run in the project's folder; `command` makes its command line."""

    def time_case(scan: Path, place: Workspace) -> TimedCase:
        words = [str(word) for word in command(scan.absolute(), place)]
        run = measure(words, lambda process: ProcessTree(process).usage, kill_tree, place.log, limit=limit, folder=ROOT)
        return judged(scan, run, place, source, out_of_memory=False)

    return time_case


def local_timer(limit: float | None, *options: str) -> CaseTimer:
    """`python -m app` in place of a container, with further options."""
    start = [sys.executable, "-m", "app", *options, "--inputs"]
    return process_timer(lambda scan, place: [*start, scan, "--outputs", place.outputs.resolve()], LOCAL, limit=limit)


def judged(scan: Path, run: Run, place: Workspace, source: str, *, out_of_memory: bool) -> TimedCase:
    """What became of a case: done only if it ended by itself, without an error, and left the mask."""
    if run.sampling_error:
        source += f", which ended early ({run.sampling_error})"
    source = source if run.samples else NO_SAMPLES
    status, note = _ending(scan, run, place, out_of_memory=out_of_memory)
    return TimedCase(scan.name, run, status, source, note)


def _ending(scan: Path, run: Run, place: Workspace, *, out_of_memory: bool) -> tuple[str, str]:
    if run.timed_out:
        return "time limit", _last_words(place.log, run.status)
    if run.status:
        return "out of memory" if out_of_memory else f"exit status {run.status}", _last_words(place.log, run.status)
    mask = place.outputs / mask_name(scan)
    try:
        if mask.is_symlink() or not mask.is_file():
            return "out of memory" if out_of_memory else "no mask", _last_words(place.log, run.status)
        open_mask(mask)
    except (OSError, VisceraError) as error:
        return "unusable mask", str(error)
    return DONE, "the kernel ended a process of it for want of memory" if out_of_memory else ""


def _last_words(log: Path, status: int) -> str:
    text, left_out = end_of(log)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if status == DOCKER_FAILED:  # the client ends by pointing to its help
        lines = [line for line in lines if line.startswith("docker:")] or lines[:1]
    words = lines[-1] if lines else "it said nothing"
    words = "".join(letter if letter.isprintable() else "?" for letter in words[:LONGEST_NOTE])
    cut = f" (of its log the last {LOG_BYTES} bytes were read, not the {left_out} before)" if left_out else ""
    return words + cut


def end_of(log: Path) -> tuple[str, int]:
    """The last LOG_BYTES of what a case printed, and how many bytes before them were left out."""
    with log.open("rb") as file:
        left_out = max(0, file.seek(0, os.SEEK_END) - LOG_BYTES)
        file.seek(left_out)
        return file.read(LOG_BYTES).decode(errors="replace"), left_out


def exit_delays(count: int, parent: Path) -> list[float]:
    """Seconds between a process's own last reading of the clock and our seeing its end, `count` times.

    Measured as cases are, with a process that ends at once: so long is our share of every time.
    """
    script = "import os, time; os.write(1, repr(time.perf_counter()).encode()); os._exit(0)"
    timer = process_timer(lambda *_: [sys.executable, "-c", script], "")
    delays = []
    for _ in range(count):
        with workspace(parent) as place:
            run = timer(Path("none.nii.gz"), place).run
            delays.append(run.started + run.seconds - float(place.log.read_text()))
    return delays
