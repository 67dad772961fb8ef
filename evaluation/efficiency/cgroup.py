"""Cgroup: what a container uses, as the kernel accounts for it; version 1 and 2, whatever driver the engine has."""

import os
from dataclasses import dataclass
from pathlib import Path

from evaluation.efficiency.measure import Usage

ROOT = Path("/sys/fs/cgroup")
PLACES = (  # of a container, by the engine's driver
    "docker/{}",  # cgroupfs
    "system.slice/docker-{}.scope",  # systemd
    f"user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service/user.slice/docker-{{}}.scope",  # rootless
)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """Folders of one container: memory and cpu are one in version 2. version: 1 or 2."""

    version: int
    memory: Path
    cpu: Path

    def usage(self) -> Usage | None:
        """None once the container is gone. Processes below it are counted too."""
        try:
            memory = _numbers(self.memory / "memory.stat")
            if self.version == 1:
                used = int((self.cpu / "cpuacct.usage").read_text()) / 1e9
                anonymous, shared, files = (memory[f"total_{name}"] for name in ("rss", "shmem", "cache"))
            else:
                used = _numbers(self.cpu / "cpu.stat")["usage_usec"] / 1e6
                anonymous, shared, files = (memory[name] for name in ("anon", "shmem", "file"))
        except OSError:
            return None
        return Usage(used, anonymous, shared, files - shared)


def find_cgroup(container: str, root: Path = ROOT) -> Cgroup | None:
    """Of the container with this whole id; None where it has none yet, or none that can be seen from here."""
    for place in PLACES:
        name = place.format(container)
        if (root / name / "memory.stat").exists():
            return Cgroup(2, root / name, root / name)
        if (root / "memory" / name / "memory.stat").exists():
            return Cgroup(1, root / "memory" / name, root / "cpuacct" / name)
    return None


def _numbers(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}
