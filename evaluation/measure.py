"""Measure: one command from before its start until it exits, with what it uses along the way. Bytes and seconds."""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from evaluation.protocol import SAMPLE_SECONDS

MEGABYTE = 2**20  # bytes, as the organisers count


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in use now. cpu_seconds: spent so far, of all threads. Bytes; shared memory is no part of page_cache."""

    cpu_seconds: float
    anonymous: int
    shared: int
    page_cache: int

    @property
    def memory(self) -> int:
        """What cannot be dropped: anonymous and shared. Page cache can, and is mostly that of files once read."""
        return self.anonymous + self.shared


@dataclass(frozen=True, slots=True)
class Sample:
    """A usage and when it was read, in seconds from the start."""

    seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Run:
    """One command. status: its exit status, negative the signal that ended it. own_cpu_seconds: of the measuring.

    started: as time.perf_counter() has it, which Linux reads from one clock for all processes.
    """

    started: float
    seconds: float
    status: int
    timed_out: bool
    samples: tuple[Sample, ...]
    own_cpu_seconds: float

    @property
    def peak_memory(self) -> int:
        """Largest anonymous and shared memory in any sample; 0 without samples."""
        return max((sample.usage.memory for sample in self.samples), default=0)

    @property
    def cpu_seconds(self) -> float:
        """As the last sample has it; what came after it, a tenth of a second at the most, is not in it."""
        return max((sample.usage.cpu_seconds for sample in self.samples), default=0.0)

    def cpu_percent(self, cpus: int | None = None) -> list[tuple[float, float]]:
        """(seconds, percent of all CPUs busy with it since the sample before), from the second sample on."""
        share = 100 / (cpus or os.cpu_count() or 1)
        return [
            (
                now.seconds,
                share * max(0, now.usage.cpu_seconds - before.usage.cpu_seconds) / (now.seconds - before.seconds),
            )
            for before, now in pairwise(self.samples)
        ]

    def memory_area(self) -> float:
        """Byte seconds under the curve of memory, by trapezoids."""
        return sum(
            (now.seconds - before.seconds) * (now.usage.memory + before.usage.memory) / 2
            for before, now in pairwise(self.samples)
        )


Probe = Callable[[], Usage | None]
"""Reads what is in use now; None while, or after, there is nothing to read."""


def measure(
    command: Sequence[str],
    probe: Callable[[int], Probe],
    kill: Callable[[int], None],
    log: Path,
    *,
    limit: float | None = None,
    folder: Path | None = None,
    variables: dict[str, str] | None = None,
) -> Run:
    """Runs `command` to its end; its output goes into `log`.

    probe and kill are given the process id: the one makes what is read every tenth of a second, the other is called
    when `limit` seconds have passed, or when the measuring itself is interrupted. folder: where the command runs.
    variables: its environment, in place of ours.

    The end is seen by waiting for the process, not by looking again and again: at once.
    """
    done, timed_out = threading.Event(), threading.Event()
    samples: list[Sample] = []
    with log.open("wb") as output:
        own = _own_cpu_seconds()
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder, env=variables
        )
        sampler = threading.Thread(target=_sample, args=(probe(process.pid), samples, start, done), daemon=True)

        def end() -> None:
            timed_out.set()
            kill(process.pid)

        timer = threading.Timer(limit or 0, end)
        try:
            sampler.start()
            if limit:
                timer.start()
            status = process.wait()
            seconds = time.perf_counter() - start
        except BaseException:
            kill(process.pid)
            process.wait()
            raise
        finally:
            done.set()
            timer.cancel()
            sampler.join()
    return Run(start, seconds, status, timed_out.is_set(), tuple(samples), _own_cpu_seconds() - own)


def exit_delays(count: int, log: Path) -> list[float]:
    """Seconds between a process's own last reading of the clock and our seeing its end, `count` times.

    Of the way `measure` waits, sampling included, with a process that does nothing: so long is our share of every time.
    """
    script = "import os, time; os.write(1, repr(time.perf_counter()).encode()); os._exit(0)"
    delays = []
    for _ in range(count):
        run = measure([sys.executable, "-c", script], lambda _: lambda: None, lambda _: None, log)
        delays.append(run.started + run.seconds - float(log.read_text()))
    return delays


def _sample(probe: Probe, samples: list[Sample], start: float, done: threading.Event) -> None:
    due = start
    while True:
        usage = probe()
        if usage is not None:
            samples.append(Sample(time.perf_counter() - start, usage))
        due = max(due + SAMPLE_SECONDS, time.perf_counter())
        if done.wait(due - time.perf_counter()):
            return


def _own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
