"""Benchmark: the report of a comparison, as Markdown. Every number in it comes from the runs it is handed."""

import csv
import datetime
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.efficiency import DONE, Efficiency
from evaluation.machine import describe, versions
from evaluation.measure import MEGABYTE
from evaluation.scoring import NO_PREDICTION, Score
from evaluation.summary import CONFIDENCE, contrast, summarise

INTRODUCTION = """Written by the command below; no number in it is typed by hand. A ratio is a contender's figure over
our image's in the same round: above 1 ours is the faster, or the smaller. Median over rounds (least to largest)."""
STEPS = """Median seconds by step, as each says itself; the rest is the start of a process and what it imports."""
RUN = """All but the peer run one network of {:.2f} M parameters with the same weights. All but the image and the peer
are handed the box that phase one kept, as a scan of its own: they do less than the image, which finds it. They are
plain processes, spared a container's start; their memory is what the kernel counts as anonymous and shared of all their
processes, the image's is its cgroup's."""
SCORES = """{}: mean over the organs that a case's truth holds, then over cases, by `evaluation.score`; difference
to our image by case, with its {:.0%} bootstrap interval."""
PACKAGES = ("openvino", "onnxruntime", "torch", "monai", "nnunetv2", "numpy", "SimpleITK")


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of a contender in one round. busy: percent of all CPUs that something else used just before it.

    steps: seconds by step, as the contender says itself.
    """

    contender: str
    case: str
    round: int
    result: Efficiency
    busy: float
    steps: dict[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """All that is reported. contenders: by name what each is, ours first. scores: by name, empty where not scored."""

    contenders: dict[str, str]
    timed: Sequence[Timed]
    scores: dict[str, list[Score]]
    parameters: int
    engine: str
    python: Path
    command: str
    quiet_percent: float


def write_benchmark(result: Result, path: Path) -> None:
    """The report into `path`, every single run into a CSV file beside it with the same stem."""
    blocks = [
        "# Benchmark",
        INTRODUCTION,
        f"    {result.command}",
        _machine(result),
        *[_timing(result, case) for case in dict.fromkeys(run.case for run in result.timed)],
        _steps(result),
        _scores(result),
        _contenders(result),
    ]
    path.write_text("\n\n".join(block for block in blocks if block) + "\n")
    write_runs(result.timed, path.with_suffix(".csv"))


def write_runs(timed: Sequence[Timed], path: Path) -> None:
    """A line per run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["contender", "case", "round", "seconds", "peak_mb", "cpu_seconds", "status", "other_load_percent"]
        )
        for each in timed:
            run = each.result.run
            figures = (f"{run.seconds:.3f}", f"{run.peak_memory / MEGABYTE:.1f}", f"{run.cpu_seconds:.2f}")
            writer.writerow([each.contender, each.case, each.round, *figures, each.result.status, f"{each.busy:.1f}"])


def ratios(timed: Sequence[Timed], contender: str, ours: str, figure: Callable[[Timed], float]) -> list[float]:
    """Of one case's runs: `figure` of the contender over that of ours, for each round in which both were done."""
    by_round = {(run.contender, run.round): run for run in timed if run.result.status == DONE}
    pairs = [(by_round.get((contender, number)), by_round.get((ours, number))) for number in {r.round for r in timed}]
    return [figure(theirs) / figure(own) for theirs, own in pairs if theirs and own and figure(own)]


def _seconds(run: Timed) -> float:
    return run.result.run.seconds


def _peak(run: Timed) -> float:
    return run.result.run.peak_memory / MEGABYTE


def _machine(result: Result) -> str:
    facts = describe()
    packages = versions(PACKAGES, result.python)
    noisy = [run for run in result.timed if run.busy > result.quiet_percent]
    limit = f"{result.quiet_percent:g} % of the CPUs"
    quiet = f"none above {limit} before any of the {len(result.timed)} runs"
    if noisy:
        worst = max(run.busy for run in noisy)
        quiet = (
            f"**not quiet**: above {limit} before {len(noisy)} of {len(result.timed)} runs, at the worst {worst:.0f} %"
        )
    rows = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        **facts,
        "Docker": result.engine,
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "other load": quiet,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _timing(result: Result, case: str) -> str:
    ours, *_ = result.contenders
    timed = [run for run in result.timed if run.case == case]
    lines = [f"## {case}, {len({run.round for run in timed})} rounds", ""]
    lines += ["| | seconds | ratio | peak memory, MB | ratio |", "|---|---|---|---|---|"]
    for name in result.contenders:
        own = [run for run in timed if run.contender == name]
        done = [run for run in own if run.result.status == DONE]
        if not done:
            lines.append(f"| {name} | {own[-1].result.status}: {own[-1].result.note} | | | |")
            continue
        cells = [_spread([_seconds(run) for run in done], 2)]
        cells.append("" if name == ours else _spread(ratios(timed, name, ours, _seconds), 2))
        cells.append(_spread([_peak(run) for run in done], 0))
        cells.append("" if name == ours else _spread(ratios(timed, name, ours, _peak), 2))
        failed = f" ({len(own) - len(done)} of {len(own)} runs failed)" if len(done) < len(own) else ""
        lines.append(f"| {name}{failed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _steps(result: Result) -> str:
    """Median seconds by step over all runs of the first case."""
    case = result.timed[0].case
    table = {
        name: [run for run in result.timed if run.case == case and run.contender == name and run.steps]
        for name in result.contenders
    }
    names = list(dict.fromkeys(step for runs in table.values() for run in runs for step in run.steps))
    if not names:
        return ""
    lines = [f"## Where the time goes: {case}", "", STEPS, ""]
    lines += [f"| | {' | '.join(names)} | rest |", "|---" * (len(names) + 2) + "|"]
    for name, runs in table.items():
        if not runs:
            continue
        medians = {step: statistics.median(run.steps.get(step, math.nan) for run in runs) for step in names}
        rest = statistics.median(_seconds(run) - sum(run.steps.values()) for run in runs)
        cells = ["" if math.isnan(value) else f"{value:.2f}" for value in medians.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {rest:.2f} |")
    return "\n".join(lines)


def _scores(result: Result) -> str:
    if not result.scores:
        return ""
    ours, *_ = result.contenders
    cases = list(dict.fromkeys(score.case for score in result.scores[ours]))
    lines = [
        f"## Scores on {len(cases)} cases",
        "",
        SCORES.format(", ".join(cases), CONFIDENCE),
        "",
        "| | DSC | ratio | difference | NSD | ratio | difference |",
        "|---|---|---|---|---|---|---|",
    ]
    base = summarise(ours, result.scores[ours]).present
    for name, scores in result.scores.items():
        present = summarise(name, scores).present
        apart = contrast(result.scores[ours], scores)[-1]
        missing = sorted({score.case for score in scores if score.note == NO_PREDICTION})
        cells = []
        for measure in ("dsc", "nsd"):
            mean = getattr(present, measure).mean
            cells.append(f"{mean:.4f}")
            cells += (
                ["", ""]
                if name == ours
                else [f"{mean / getattr(base, measure).mean:.3f}", str(getattr(apart, measure))]
            )
        note = f" (no mask of {', '.join(missing)}: 0)" if missing else ""
        lines.append(f"| {name}{note} | {' | '.join(cell.strip() for cell in cells)} |")
    return "\n".join(lines)


def _contenders(result: Result) -> str:
    lines = [
        "## What was run",
        "",
        RUN.format(result.parameters / 1e6),
        "",
    ]
    return "\n".join([*lines, *(f"- **{name}**: {what}." for name, what in result.contenders.items())])
