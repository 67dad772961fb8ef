"""What is worked out and printed of containers, with an engine that answers as asked; none is started."""

import subprocess
import sys

import pytest

from app.errors import SetupError
from evaluation import figures
from evaluation.efficiency.measure import Run, Sample, Usage
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.maintenance import image
from evaluation.shared.protocol import MEGABYTE


class FakeEngine:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def image(self, name):
        if name == "nobody":
            raise SetupError("nobody: no such image")
        return name


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Seconds of each run in turn and what was asked for; a scan called "large" takes 50 s and 3000 MB."""

    class Machine:
        seconds = iter((9.0, 3.0, 1.0, 2.0))  # the first is not counted
        status = DONE
        asked: list = []  # noqa: RUF012
        phase_one = iter(("0.5 1.5", "0.1 0.2", "5.0 5.0"))

    def container_timer(engine, image, *, cpus, limit):
        Machine.asked.append((type(engine), image, cpus, limit))

        def timer(scan, place):
            assert place.outputs.is_dir()
            large = scan.name.startswith("large")
            peak = 3000 if large else 800
            samples = (Sample(0.1, Usage(0.1, 10 * MEGABYTE, 0, 0)), Sample(0.2, Usage(0.2, peak * MEGABYTE, 0, 0)))
            run = Run(0.0, 50.0 if large else next(Machine.seconds), 0, samples=samples)
            return TimedCase(scan.name, run, Machine.status, "cgroup")

        return timer

    def docker(command, **_):
        if command[:3] == ["docker", "image", "inspect"]:
            size = {"viscera:latest": "550000000\n", "base": "130000000\n"}[command[-1]]
            return subprocess.CompletedProcess(command, 0, size)
        Machine.asked.append(command)
        return subprocess.CompletedProcess(command, 0, next(Machine.phase_one))

    Machine.asked = []
    monkeypatch.setattr(image, "Engine", FakeEngine)
    monkeypatch.setattr(image, "container_timer", container_timer)
    monkeypatch.setattr(image.subprocess, "run", docker)
    for name in ("scan_0000.nii.gz", "large_0000.nii.gz"):
        (tmp_path / name).touch()
    return Machine


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, arguments)])
    try:
        figures.main()
    except SystemExit as end:
        return end.code
    return 0


def test_medians_and_peaks_without_the_first_run(monkeypatch, machine, tmp_path, capsys):
    scan = tmp_path / "scan_0000.nii.gz"
    assert run(monkeypatch, scan, "--runs", 3, "--cpus", "2,5", "--base", "base") == 0
    assert capsys.readouterr().out.splitlines() == [
        "scan_0000.nii.gz: 3 runs, CPUs 2,5",
        "seconds: median 2.00, from 1.00 to 3.00",
        "peak memory: 800 MB, by the cgroup",
        "phase one: 2.00 s, of which 0.50 to load and 1.50 to run",
        "image: 0.420 GB over its base of 0.130 GB",
    ]
    assert machine.asked[0] == (FakeEngine, "viscera:latest", "2,5", image.LIMIT_SECONDS)
    assert len(machine.asked) == 1 + 3
    command = machine.asked[1]
    assert command[command.index("--cpuset-cpus") + 1] == "2,5"
    assert command[-2:] == [image.LOCALISER, "/scans/scan_0000.nii.gz"]
    assert f"{tmp_path}:/scans:ro" in command


@pytest.mark.usefixtures("machine")
def test_a_large_scan_has_its_own_line(monkeypatch, tmp_path, capsys):
    scan, large = (tmp_path / f"{name}_0000.nii.gz" for name in ("scan", "large"))
    assert run(monkeypatch, scan, "--runs", 3, "--large", large, "--base", "base") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "peak memory: 800 MB, by the cgroup"
    assert lines[-1] == "large_0000.nii.gz: 50.0 s, peak memory 3000 MB, by the cgroup"


def test_figures_of_containers_that_failed_are_of_no_use(monkeypatch, machine, tmp_path, capsys):
    machine.status = "out of memory"
    assert run(monkeypatch, tmp_path / "scan_0000.nii.gz", "--runs", 3, "--base", "base") == 1
    assert capsys.readouterr().err == "these figures are of no use: 3 containers failed, out of memory\n"


@pytest.mark.usefixtures("machine")
def test_what_is_not_there_is_a_line_and_status_2(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, tmp_path / "nowhere.nii.gz") == 2
    assert run(monkeypatch, tmp_path / "scan_0000.nii.gz", "--large", tmp_path / "nowhere.nii.gz") == 2
    assert run(monkeypatch, tmp_path / "scan_0000.nii.gz", "--image", "nobody") == 2
    assert capsys.readouterr().err == (f"{tmp_path / 'nowhere.nii.gz'}: no such file\n" * 2 + "nobody: no such image\n")
