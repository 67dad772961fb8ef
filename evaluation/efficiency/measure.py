"""Measure: one command from before its start until it exits, with what it uses along the way. Bytes and seconds."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from evaluation.shared.protocol import SAMPLE_SECONDS


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


START = Sample(0.0, Usage(0.0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Run:
    """One command. status: its exit status, negative the signal that ended it. own_cpu_seconds: of the measuring.

    started: as time.perf_counter() has it, which Linux reads from one clock for all processes. sampling_error: why
    there are no more samples after some time, if that is so.
    """

    started: float
    seconds: float
    status: int
    timed_out: bool = False
    samples: tuple[Sample, ...] = ()
    own_cpu_seconds: float = 0.0
    sampling_error: str = ""

    @property
    def peak_memory(self) -> int:
        """Largest anonymous and shared memory in any sample; 0 without samples."""
        return max((sample.usage.memory for sample in self.samples), default=0)

    @property
    def cpu_seconds(self) -> float:
        """As the last sample has it; what came after it is not in it."""
        return max((sample.usage.cpu_seconds for sample in self.samples), default=0.0)

    def cpu_percent(self, cpus: int | None = None) -> list[tuple[float, float]]:
        """(seconds, percent of all CPUs busy with it since the sample before, or since the start)."""
        share = 100 / (cpus or os.cpu_count() or 1)
        return [
            (
                now.seconds,
                share * max(0, now.usage.cpu_seconds - before.usage.cpu_seconds) / (now.seconds - before.seconds),
            )
            for before, now in pairwise((START, *self.samples))
        ]

    def memory_area(self) -> float:
        """Byte seconds under the curve of memory, by trapezoids."""
        return sum(
            (now.seconds - before.seconds) * (now.usage.memory + before.usage.memory) / 2
            for before, now in pairwise((START, *self.samples))
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
) -> Run:
    """Runs `command` to its end; its output goes into `log`.

    probe and kill are given the process id: the one makes what is read every tenth of a second, the other is called
    when `limit` seconds have passed, or when the measuring itself is interrupted. folder: where the command runs.

    The end is seen by waiting for the process, not by looking again and again: at once.
    """
    timed_out = threading.Event()
    with log.open("wb") as output:
        own = _own_cpu_seconds()
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder
        )
        sampler = _Sampler(probe(process.pid), start)

        def end() -> None:
            timed_out.set()
            kill(process.pid)

        timer = threading.Timer(limit or 0, end)
        try:
            sampler.start()
            if limit is not None:
                timer.start()
            status = process.wait()
            seconds = time.perf_counter() - start
        except BaseException:
            kill(process.pid)
            process.wait()
            raise
        finally:
            timer.cancel()
            sampler.stop()
    own = _own_cpu_seconds() - own
    return Run(start, seconds, status, timed_out.is_set(), tuple(sampler.samples), own, sampler.error)


@dataclass(slots=True)
class _Sampler:
    probe: Probe
    start_time: float
    samples: list[Sample] = field(default_factory=list)
    error: str = ""
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        due = self.start_time
        while True:
            try:
                usage = self.probe()
            except Exception as error:  # whatever it is, the run itself goes on, and its row says what is missing
                self.error = f"{type(error).__name__}: {error}"
                return
            if usage is not None:
                self.samples.append(Sample(time.perf_counter() - self.start_time, usage))
            due += SAMPLE_SECONDS
            if (late := time.perf_counter() - due) > 0:  # what was missed is missed: two readings at once say nothing
                due += late + SAMPLE_SECONDS
            if self._done.wait(due - time.perf_counter()):
                return


def _own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
