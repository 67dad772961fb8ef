"""Processes: what a process and those it has started use, for commands that run in no container of their own."""

import contextlib
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from evaluation.efficiency.measure import Usage

LOOKS_PER_LISTING = 5  # listing all processes takes as long as many readings of one
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class ProcessTree:
    """A process and its descendants. One that lived for less than half a second may have been missed.

    Pages that a fork shares with its parent are counted for both: the kernel tells them apart too slowly for this.
    """

    process: int
    _looks: int = 0
    _descendants: list[int] = field(default_factory=list)

    def usage(self) -> Usage | None:
        """Anonymous memory and CPU of all; shared memory of the one that has most, since they share it. None: ended."""
        if self._looks % LOOKS_PER_LISTING == 0:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._descendants = [child.pid for child in psutil.Process(self.process).children(recursive=True)]
        self._looks += 1
        own = _usage(self.process)
        if own is None:
            return None
        others = [used for child in self._descendants if (used := _usage(child)) is not None]
        return Usage(
            own.cpu_seconds + sum(used.cpu_seconds for used in others),
            own.anonymous + sum(used.anonymous for used in others),
            max([own.shared, *(used.shared for used in others)]),
            max([own.page_cache, *(used.page_cache for used in others)]),
        )


def kill_tree(process: int) -> None:
    """Ends a process and its descendants, none of which is asked."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _usage(process: int) -> Usage | None:
    """CPU with that of ended children; memory as the kernel splits it, which psutil does not tell."""
    folder = Path("/proc") / str(process)
    try:
        times = (folder / "stat").read_text().rpartition(")")[2].split()
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return None
    memory = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if "Rss" in name
    }
    if not memory:  # ended, and not waited for yet
        return None
    used = sum(int(ticks) for ticks in times[11:15]) / TICKS  # user, system, and both of children that have ended
    return Usage(used, memory["RssAnon"], memory["RssShmem"], memory["RssFile"])
