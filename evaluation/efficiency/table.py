"""Table: the organisers' row per case from what was measured, and its summary. MB are 2**20 bytes, as theirs."""

import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from evaluation.efficiency.machine import QUIET_PERCENT
from evaluation.efficiency.measure import Run
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.shared.protocol import EFFICIENCY_COLUMNS, MEGABYTE
from evaluation.shared.spread import spread

OWN_COLUMNS = ("Status", "Source", "CPU_Seconds", "MaxPageCache", "Harness_CPU_Seconds", "Other_Load", "Note")
COLUMNS = (*EFFICIENCY_COLUMNS, *OWN_COLUMNS)


def row(case: TimedCase) -> list[str]:
    """Under COLUMNS. No GPU is used: 0.

    The organisers' sampler reads the whole machine's CPU and memory, so that theirs hold their system too; these are
    the submission's own. Areas are integrals over the samples' own times, where theirs are sums times 0.1 s.
    """
    run = case.run
    percent = run.cpu_percent()
    area = 100 * run.cpu_seconds / (os.cpu_count() or 1)
    cache = max((sample.usage.page_cache for sample in run.samples), default=0)
    return [
        case.name,
        f"{run.seconds:.2f}",
        "0",
        "0",
        f"{max((value for _, value in percent), default=0):.2f}",
        f"{area:.2f}",
        f"{run.peak_memory / MEGABYTE:.2f}",
        f"{run.memory_area() / MEGABYTE:.0f}",
        case.status,
        case.source,
        f"{run.cpu_seconds:.2f}",
        f"{cache / MEGABYTE:.2f}",
        f"{run.own_cpu_seconds:.3f}",
        f"{case.other_load:.1f}",
        case.note,
    ]


def write_rows(cases: Iterable[TimedCase], path: Path) -> None:
    """A CSV file with a row a case."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(row(case) for case in cases)


def write_samples(run: Run, path: Path) -> None:
    """Every sample of a case: seconds, percent of all CPUs since the sample before, and memory in MB."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["seconds", "cpu_percent", "anonymous_mb", "shared_mb", "page_cache_mb"])
        for sample, (_, busy) in zip(run.samples, run.cpu_percent(), strict=True):
            memory = (sample.usage.anonymous, sample.usage.shared, sample.usage.page_cache)
            writer.writerow([f"{sample.seconds:.3f}", f"{busy:.1f}", *(f"{size / MEGABYTE:.1f}" for size in memory)])


def summary(cases: Sequence[TimedCase], delays: Sequence[float]) -> str:
    """For a person: times, memory and CPU over the cases that were done, and what was not. delays: `exit_delays`."""
    done = [case for case in cases if case.status == DONE]
    lines = [f"{len(done)} of {len(cases)} cases done"]
    lines += [f"{case.name}: {case.status}. {case.note}" for case in cases if case.status != DONE]
    if done:
        seconds = spread([case.run.seconds for case in done])
        megabytes = spread([case.run.peak_memory / MEGABYTE for case in done])
        busy = spread([case.run.cpu_seconds for case in done])
        for name, values, unit in (("time", seconds, "s"), ("peak memory", megabytes, "MB"), ("CPU time", busy, "s")):
            deviation = "-" if math.isnan(values.deviation) else f"{values.deviation:.2f}"
            lines.append(
                f"{name}: mean {values.mean:.2f} {unit}, median {values.median:.2f} "
                f"({values.q1:.2f}, {values.q3:.2f}), sd {deviation}"
            )
        slowest = max(done, key=lambda case: case.run.seconds)
        largest = max(done, key=lambda case: case.run.peak_memory)
        lines.append(f"slowest: {slowest.name}, {slowest.run.seconds:.2f} s")
        lines.append(f"largest: {largest.name}, {largest.run.peak_memory / MEGABYTE:.0f} MB")
        lines.append(f"samples: {', '.join(sorted({case.source for case in done}))}")
        own = sum(case.run.own_cpu_seconds for case in done) / (sum(case.run.cpu_seconds for case in done) or 1)
        lines.append(f"this program's own CPU time: {own:.1%} of the CPU time measured")
    if noisy := [case for case in cases if case.other_load > QUIET_PERCENT]:
        worst = max(case.other_load for case in noisy)
        lines.append(
            f"NOT QUIET: other programs used up to {worst:.0f} % of the CPUs before {len(noisy)} of {len(cases)} cases"
        )
    if delays:
        ordered = sorted(1000 * delay for delay in delays)
        lines.append(
            f"its share of each time: {ordered[len(ordered) // 2]:.1f} ms to see the end (median of {len(ordered)}, "
            f"at the most {ordered[-1]:.1f} ms)"
        )
    return "\n".join(lines)
