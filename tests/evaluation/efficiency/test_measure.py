import sys
import threading

import pytest

from evaluation.efficiency.measure import Run, Sample, Usage, measure
from evaluation.efficiency.processes import ProcessTree, kill_tree


def nothing(_):
    return lambda: None


def python(script):
    return [sys.executable, "-c", script]


def samples(*rows):
    return tuple(Sample(seconds, Usage(cpu, anonymous, shared, 0)) for seconds, cpu, anonymous, shared in rows)


RUN = Run(0.0, 1.0, 0, False, samples((0.5, 0.5, 300, 50), (1.0, 1.5, 200, 50)), 0.01)


def test_figures_of_a_run():
    assert RUN.peak_memory == 350
    assert RUN.cpu_seconds == 1.5
    assert RUN.cpu_percent(cpus=2) == [(0.5, 50), (1.0, 100)]
    assert RUN.memory_area() == 0.5 * (0 + 350) / 2 + 0.5 * (350 + 250) / 2


def test_a_run_without_samples():
    run = Run(0.0, 1.0, 0)
    assert (run.peak_memory, run.cpu_seconds, run.cpu_percent(), run.memory_area()) == (0, 0, [], 0)


def test_a_child_that_ended_between_samples_is_no_negative_percentage():
    run = Run(0.0, 1.0, 0, False, samples((1.0, 1.0, 0, 0), (1.5, 0.6, 0, 0)), 0.0)
    assert run.cpu_percent(cpus=1) == [(1.0, 100), (1.5, 0)]
    assert run.cpu_seconds == 1.0


def test_status_output_and_time(tmp_path):
    log = tmp_path / "log"
    run = measure(
        python("import sys, time; time.sleep(0.3); print('said', flush=True); sys.exit(3)"), nothing, nothing, log
    )
    assert (run.status, run.timed_out, run.samples) == (3, False, ())
    assert log.read_text() == "said\n"
    assert 0.3 <= run.seconds < 3


def test_a_limit_ends_it(tmp_path):
    run = measure(python("import time; time.sleep(60)"), nothing, kill_tree, tmp_path / "log", limit=0.3)
    assert (run.timed_out, run.status) == (True, -9)
    assert 0.3 <= run.seconds < 10


def test_a_run_that_ends_in_time_is_not_ended(tmp_path):
    def kill(_):
        raise AssertionError

    assert not measure(python(""), nothing, kill, tmp_path / "log", limit=60).timed_out


def test_an_interrupted_measuring_leaves_no_process(tmp_path, monkeypatch):
    killed = []
    real = threading.Thread.start

    def interrupted(thread):
        real(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        measure(
            python("import time; time.sleep(60)"),
            nothing,
            lambda pid: (killed.append(pid), kill_tree(pid)),
            tmp_path / "log",
        )
    assert len(killed) == 1


def test_samples_every_tenth_of_a_second_of_all_processes(tmp_path):
    # 60 MB in the process, then 80 more in a child of it that counts for a second; made at once, for a sample would see
    # a second copy
    child = "import time; held = bytearray(b'x') * 80_000_000; end = time.time() + 1.5\nwhile time.time() < end: pass"
    parent = "import subprocess, sys; held = bytearray(b'x') * 60_000_000; "
    parent += f"subprocess.run([sys.executable, '-c', {child!r}])"
    run = measure(python(parent), lambda process: ProcessTree(process).usage, kill_tree, tmp_path / "log")
    assert run.status == 0
    apart = [after.seconds - before.seconds for before, after in zip(run.samples, run.samples[1:], strict=False)]
    assert sorted(apart)[len(apart) // 2] == pytest.approx(0.1, abs=0.03)
    assert 140e6 < run.peak_memory < 220e6
    assert run.cpu_seconds > 0.3  # of 1.5 s, on a machine that may be busy


def test_measuring_costs_a_fiftieth_of_a_core(tmp_path):
    busy = "import time; end = time.time() + 2\nwhile time.time() < end: pass"
    run = measure(python(busy), lambda process: ProcessTree(process).usage, kill_tree, tmp_path / "log")
    assert run.cpu_seconds > 0.3  # of 2 s, on a machine that may be busy
    assert run.own_cpu_seconds < 0.02 * run.seconds


def test_what_cannot_be_read_any_more_is_said(tmp_path):
    usages = iter([Usage(0.1, 1, 0, 0)])

    def probe():
        return next(usages)

    run = measure(python("import time; time.sleep(0.4)"), lambda _: probe, kill_tree, tmp_path / "log")
    assert (run.status, len(run.samples), run.sampling_error) == (0, 1, "StopIteration: ")
