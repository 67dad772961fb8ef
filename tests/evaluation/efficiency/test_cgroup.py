import os

import pytest

from evaluation.efficiency.cgroup import find_cgroup
from evaluation.efficiency.measure import Usage

CONTAINER = "0123abcd"
USER = os.getuid()
PLACES = {
    "cgroupfs": "docker/0123abcd",
    "systemd": "system.slice/docker-0123abcd.scope",
    "rootless": f"user.slice/user-{USER}.slice/user@{USER}.service/user.slice/docker-0123abcd.scope",
}
V1 = "cache 5000\nrss 1\nshmem 1\ntotal_cache 9000\ntotal_rss 1000\ntotal_shmem 30\n"
V2 = "anon 1000\nfile 9000\nkernel 77\nshmem 30\n"


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_version_1(tmp_path, place):
    memory, cpu = tmp_path / "memory" / place, tmp_path / "cpuacct" / place
    memory.mkdir(parents=True)
    cpu.mkdir(parents=True)
    (memory / "memory.stat").write_text(V1)
    (cpu / "cpuacct.usage").write_text("2500000000\n")
    cgroup = find_cgroup(CONTAINER, tmp_path)
    assert cgroup is not None
    assert cgroup.usage() == Usage(2.5, 1000, 30, 8970)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_version_2(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "memory.stat").write_text(V2)
    (folder / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    cgroup = find_cgroup(CONTAINER, tmp_path)
    assert cgroup is not None
    assert cgroup.usage() == Usage(2.5, 1000, 30, 8970)
    assert cgroup.usage().memory == 1030
    (folder / "memory.stat").unlink()
    assert cgroup.usage() is None  # the container has ended


def test_another_container_is_not_ours(tmp_path):
    (tmp_path / "docker" / "ffff").mkdir(parents=True)
    (tmp_path / "docker" / "ffff" / "memory.stat").write_text(V2)
    assert find_cgroup(CONTAINER, tmp_path) is None
