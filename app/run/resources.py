"""Resources: what this process may use, CPU time and memory, as its container says and not as its host has.

cgroup v2 (`cpu.max`, `memory.max`) and v1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`); a limit of any parent counts.
https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/scheduler/sched-bwc.html
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

UNLIMITED_BYTES = 1 << 60  # v1 writes "no limit" as a huge number of pages


def thread_count(root: Path = Path("/")) -> int:
    """Threads worth starting: the CPUs this process may run on, or its quota of CPU time, rounded up, if less."""
    quota = cpu_quota(root)
    cpus = available_cpus()
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def available_cpus() -> int:
    """CPUs in this process's affinity."""
    return len(os.sched_getaffinity(0))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the cgroup allows, None if it sets no limit."""
    quotas = [_quota_v2(folder) for folder in _cgroup_folders("", root)]
    quotas += [_quota_v1(folder) for folder in _cgroup_folders("cpu", root)]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that the cgroup allows, None if it sets no limit."""
    limits = [_number(folder / "memory.max") for folder in _cgroup_folders("", root)]
    limits += [_number(folder / "memory.limit_in_bytes") for folder in _cgroup_folders("memory", root)]
    return min((limit for limit in limits if limit is not None and limit < UNLIMITED_BYTES), default=None)


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may use: the cgroup's limit, or the machine's memory if that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = memory_limit(root)
    return machine if limit is None else min(machine, limit)


def reset_peak_memory() -> bool:
    """Starts the peak of this process anew; False where the kernel refuses (a read-only /proc)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process (VmHWM) in MB since the last reset."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    line = next((line for line in lines if line.startswith("VmHWM:")), None)
    return None if line is None else round(int(line.split()[1]) / 1024, 1)


def _cgroup_folders(controller: str, root: Path) -> Iterator[Path]:
    """The cgroup folders of this process, the top of what is mounted first, its own last.

    controller: "" for the v2 hierarchy, else the v1 one that has this controller. None of them need exist.
    """
    path = _cgroup_path(root / "proc/self/cgroup", controller)
    if path is None:
        return
    for mount_root, mount_point, options in _mounts(root, "cgroup" if controller else "cgroup2"):
        if controller and controller not in options:
            continue
        # inside a container without a cgroup namespace the path is the host's, and the mount is already there
        inside = path.is_relative_to(mount_root)
        relative = path.relative_to(mount_root) if inside else PurePosixPath(".")
        folder = root / mount_point.lstrip("/")
        yield folder
        for part in relative.parts:
            folder = folder / part
            yield folder


def _cgroup_path(table: Path, controller: str) -> PurePosixPath | None:
    """This process's path in the hierarchy of a v1 controller, or in the v2 one ("")."""
    for line in _lines(table):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path)
    return None


def _mounts(root: Path, kind: str) -> Iterator[tuple[str, str, list[str]]]:
    """Root within the hierarchy, mount point and options of each mount of a file system type."""
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        fields, (filesystem, _, options) = left.split(), right.split(" ", 2)
        if filesystem == kind:
            yield fields[3], fields[4], options.split(",")


def _quota_v2(folder: Path) -> float | None:
    words = next(iter(_lines(folder / "cpu.max")), "max").split()
    return None if words[0] == "max" else int(words[0]) / int(words[1])


def _quota_v1(folder: Path) -> float | None:
    quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _number(path: Path) -> int | None:
    text = next(iter(_lines(path)), "max").strip()
    return None if text == "max" else int(text)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if line.strip()]
    except OSError:
        return []
