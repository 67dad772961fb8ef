"""Curves: memory and CPU of one case over its time."""

from pathlib import Path

from matplotlib.figure import Figure

from evaluation.efficiency.timing import TimedCase
from evaluation.shared.protocol import MEGABYTE


def draw_curves(case: TimedCase, path: Path) -> None:
    """Writes a PNG: anonymous and shared memory filled, page cache as a line; CPU in percent of all CPUs."""
    samples = case.run.samples
    seconds = [sample.seconds for sample in samples]
    figure = Figure(figsize=(8, 6), layout="constrained")
    memory, cpu = figure.subplots(2, 1, sharex=True)
    stacked = [[getattr(sample.usage, name) / MEGABYTE for sample in samples] for name in ("anonymous", "shared")]
    memory.stackplot(seconds, *stacked, labels=["anonymous", "shared"], alpha=0.6)
    cache = [sample.usage.page_cache / MEGABYTE for sample in samples]
    memory.plot(seconds, cache, color="grey", linewidth=1, label="page cache (apart)")
    memory.set(ylabel="MB", ylim=(0, None))
    title = f"{case.name}: {case.run.seconds:.2f} s, {case.status}\n{case.source}"
    memory.set_title(title.replace("$", r"\$"))  # $ would begin a formula
    memory.legend(loc="upper left")
    percent = case.run.cpu_percent()
    cpu.plot([second for second, _ in percent], [value for _, value in percent])
    cpu.set(xlabel="s", ylabel="CPU, % of all", xlim=(0, case.run.seconds), ylim=(0, 105))
    for axes in (memory, cpu):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
