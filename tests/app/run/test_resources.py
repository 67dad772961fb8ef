"""Resources, on file trees recorded from containers: what /proc/self and /sys/fs/cgroup looked like there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.run import resources

V1_MOUNTS = """\
74 50 0:39 / / rw,relatime master:2 - overlay overlay rw,lowerdir=/a:/b,upperdir=/c,workdir=/d
79 78 0:46 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
80 79 0:29 /docker/28411b19 /sys/fs/cgroup/cpu ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,cpu
83 79 0:32 /docker/28411b19 /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,memory
88 79 0:37 /docker/28411b19 /sys/fs/cgroup/systemd ro,nosuid - cgroup cgroup rw,name=systemd
"""
V1_CGROUP = """\
9:name=systemd:/docker/28411b19
4:memory:/docker/28411b19
1:cpu:/docker/28411b19
0::/docker/28411b19
"""
V2_CONTAINER_MOUNTS = "611 610 0:27 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate\n"
V2_HOST_MOUNTS = "34 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw\n"
NO_V1_LIMIT = "9223372036854771712"  # 2^63 rounded down to a page


def tree(root, cgroup, mountinfo, files):
    for name, text in {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mountinfo, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + ("" if text.endswith("\n") else "\n"))
    return root


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "files", "quota", "memory"),
    [
        pytest.param(
            "0::/",
            V2_CONTAINER_MOUNTS,
            {"sys/fs/cgroup/cpu.max": "150000 100000", "sys/fs/cgroup/memory.max": "8589934592"},
            1.5,
            8 << 30,
            id="v2, inside a container with its own namespace",
        ),
        pytest.param(
            "0::/",
            V2_CONTAINER_MOUNTS,
            {"sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"},
            None,
            None,
            id="v2, no limits",
        ),
        pytest.param(
            "0::/user.slice/job.scope",
            V2_HOST_MOUNTS,
            {
                "sys/fs/cgroup/user.slice/cpu.max": "50000 100000",
                "sys/fs/cgroup/user.slice/memory.max": "max",
                "sys/fs/cgroup/user.slice/job.scope/cpu.max": "max 100000",
                "sys/fs/cgroup/user.slice/job.scope/memory.max": "1073741824",
            },
            0.5,
            1 << 30,
            id="v2, on a host, the parent's quota counts",
        ),
        pytest.param(
            V1_CGROUP,
            V1_MOUNTS,
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3221225472",
            },
            2.5,
            3 << 30,
            id="v1, inside a container: mounted at its own folder",
        ),
        pytest.param(
            V1_CGROUP,
            V1_MOUNTS,
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_V1_LIMIT,
            },
            None,
            None,
            id="v1, no limits",
        ),
        pytest.param(
            "5:cpu,cpuacct:/batch/job7\n3:memory:/batch/job7",
            "33 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
            "35 25 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/batch/job7/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu,cpuacct/batch/job7/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/memory/batch/memory.limit_in_bytes": "2147483648",
                "sys/fs/cgroup/memory/batch/job7/memory.limit_in_bytes": NO_V1_LIMIT,
            },
            4.0,
            2 << 30,
            id="v1, on a host, controllers together, the parent's limit counts",
        ),
        pytest.param("", "", {}, None, None, id="no cgroups at all"),
        pytest.param(
            "", V2_CONTAINER_MOUNTS, {"sys/fs/cgroup/cpu.max": "1 1"}, None, None, id="in none of those mounted"
        ),
        pytest.param(
            "0::/",
            V2_CONTAINER_MOUNTS.replace(" / /sys", " /docker/1f /sys"),
            {"sys/fs/cgroup/cpu.max": "150000 100000"},
            1.5,
            None,
            id="v2, mounted from a folder that the own path does not name",
        ),
        pytest.param(
            "0::/a:b.scope",
            V2_HOST_MOUNTS,
            {"sys/fs/cgroup/a:b.scope/cpu.max": "150000 100000"},
            1.5,
            None,
            id="v2, a colon in a name",
        ),
        pytest.param(
            V1_CGROUP.replace("systemd:/docker/28411b19", "systemd:/elsewhere"),
            V1_MOUNTS.replace(" /docker/28411b19 /sys", " / /sys"),
            {
                "cpu.max": "1000 100000",
                "sys/fs/cgroup/memory/cpu.cfs_quota_us": "1000",
                "sys/fs/cgroup/memory/cpu.cfs_period_us": "100000",
                "sys/fs/cgroup/cpu/docker/28411b19/cpu.cfs_quota_us": "250000",
                "sys/fs/cgroup/cpu/docker/28411b19/cpu.cfs_period_us": "100000",
            },
            2.5,
            None,
            id="v1, what lies in another controller's or another file system's folder does not count",
        ),
        *(
            pytest.param(
                V1_CGROUP,
                V1_MOUNTS,
                {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": quota, "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"},
                expected,
                None,
                id=f"v1, a quota of {quota}",
            )
            for quota, expected in (("0", None), ("1", 1e-5))
        ),
        *(
            pytest.param(
                "0::/",
                V2_CONTAINER_MOUNTS,
                {"sys/fs/cgroup/memory.max": str(limit)},
                None,
                expected,
                id=f"{limit} bytes",
            )
            for limit, expected in ((1 << 60, None), ((1 << 60) - 1, (1 << 60) - 1))
        ),
    ],
)
def test_limits(tmp_path, cgroup, mountinfo, files, quota, memory):
    root = tree(tmp_path, cgroup, mountinfo, files)
    assert resources.cpu_quota(root) == quota
    assert resources.memory_limit(root) == memory


@pytest.mark.parametrize(
    ("cpus", "quota", "threads"),
    [
        pytest.param(64, None, 64, id="no quota: the affinity"),
        pytest.param(64, 0.5, 1, id="half a CPU is one thread"),
        pytest.param(64, 1.5, 2, id="rounded up"),
        pytest.param(2, 16.0, 2, id="never more than the affinity"),
    ],
)
def test_thread_count(monkeypatch, cpus, quota, threads):
    monkeypatch.setattr(resources, "available_cpus", lambda: cpus)
    monkeypatch.setattr(resources, "cpu_quota", lambda _: quota)
    assert resources.thread_count() == threads


def test_affinity_counts():
    one = next(iter(os.sched_getaffinity(0)))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}}); "
        "from app.run import resources; print(resources.available_cpus())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_peak_memory_is_the_cases_own():
    if not resources.reset_peak_memory():
        pytest.skip("this kernel does not let a process reset its peak")
    before = resources.peak_memory_mb()
    block = bytearray(200_000_000)
    block[::4096] = b"x" * len(block[::4096])
    high = resources.peak_memory_mb()
    del block
    assert high > before + 150
    assert resources.reset_peak_memory()
    assert resources.peak_memory_mb() < high - 150


def test_usable_is_the_limit_or_the_machines_memory(monkeypatch):
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit, usable in ((None, machine), (1000, 1000), (machine + 1, machine)):
        monkeypatch.setattr(resources, "memory_limit", lambda _, limit=limit: limit)
        assert resources.usable_memory() == usable


@pytest.mark.parametrize(
    ("status", "peak"),
    [("Name:\tpython\nVmHWM:\t  123456 kB\nVmRSS:\t 1 kB\n", 120.6), ("Name:\tpython\n", None)],
)
def test_the_kernels_words_for_a_peak(monkeypatch, status, peak):
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", lambda _: status)
        found = resources.peak_memory_mb()
    assert found == peak


def test_a_proc_that_cannot_be_used_is_no_error(monkeypatch):
    def refused(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refused)
        patched.setattr(Path, "write_text", refused)
        found = resources.reset_peak_memory(), resources.peak_memory_mb()
    assert found == (False, None)


def test_a_peak_is_started_anew_by_a_word_to_the_kernel(monkeypatch):
    said = []
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", lambda path, text: said.append((str(path), text)))
        found = resources.reset_peak_memory()
    assert (found, said) == (True, [("/proc/self/clear_refs", "5")])
