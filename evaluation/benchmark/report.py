"""Report: a comparison as Markdown. Every number in it comes from the runs it is handed."""

import csv
import datetime
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.efficiency.machine import QUIET_PERCENT, describe, versions
from evaluation.efficiency.timing import DONE, TimedCase
from evaluation.scores.scoring import Score
from evaluation.scores.summary import contrast, summarise
from evaluation.shared.protocol import MEGABYTE
from evaluation.shared.spread import CONFIDENCE

MARK = "Written by the command below; no number in it is typed by hand."
INTRODUCTION = f"""{MARK} A ratio is a contender's figure over
our image's in the same round: above 1 ours is the faster, or the smaller. Median over rounds (least to largest)."""
STEPS = """Median seconds by step, as each says itself; the rest is the start and end of its process, imports
included."""
RATIOS = """A ratio holds more than the engine: the reference way and nnunetv2 run more windows (half overlap), weigh
them, bring all scores to full resolution and import torch; the image finds the box first. The table above tells how
much each of these is."""
RUN = """All but the peer run one network of {:.2f} M parameters with the same weights, INT8 or float32. All but the
image and the peer are handed the box that phase one kept, as a scan of its own: they do less than the image, which
finds it. They are plain processes, spared a container's start; their memory is what the kernel counts as anonymous and
shared of all their processes, the image's is its cgroup's; both are read every tenth of a second. Masks of the
reference way, of nnunetv2 and of the peer are not cleaned of small parts."""
SCORES = """{}: mean over the organs that a case's truth holds, then over cases, by `evaluation.score`; difference
to our image by case, with its {:.0%} bootstrap interval."""
COLUMNS = ("contender", "case", "round", "seconds", "peak_mb", "cpu_seconds", "status", "other_load_percent")
PACKAGES = ("openvino", "onnxruntime", "torch", "monai", "nnunetv2", "numpy", "SimpleITK")


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of a contender in one round. busy: percent of all CPUs that something else used just before it.

    steps: seconds by step, as the contender says itself.
    """

    contender: str
    round: int
    timed: TimedCase
    busy: float
    steps: dict[str, float]

    @property
    def seconds(self) -> float:
        return self.timed.run.seconds

    @property
    def peak_mb(self) -> float:
        return self.timed.run.peak_memory / MEGABYTE

    @property
    def done(self) -> bool:
        return self.timed.status == DONE


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that is reported. contenders: by name what each is, our image first. scores: by name, empty if not scored.

    parameters: of the network. engine: version of Docker. image: its id. python: of the contenders' environment.
    remark: on the scores, from whoever had them made.
    """

    contenders: dict[str, str]
    turns: Sequence[Turn]
    scores: dict[str, list[Score]]
    parameters: int
    engine: str
    image: str
    python: Path
    command: str
    remark: str = ""


def write_benchmark(result: Comparison, path: Path) -> None:
    """The report into `path`, every single run into a CSV file beside it with the same stem."""
    blocks = [
        "# Benchmark",
        INTRODUCTION,
        f"    {result.command}",
        _machine(result),
        *[_timing(result, case) for case in dict.fromkeys(turn.timed.name for turn in result.turns)],
        _steps(result),
        _scores(result),
        _contenders(result),
    ]
    path.write_text("\n\n".join(block for block in blocks if block) + "\n")
    write_turns(result.turns, path.with_suffix(".csv"))


def write_turns(turns: Sequence[Turn], path: Path) -> None:
    """A line per run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for turn in turns:
            run = turn.timed.run
            figures = (f"{run.seconds:.3f}", f"{turn.peak_mb:.1f}", f"{run.cpu_seconds:.2f}")
            writer.writerow(
                [turn.contender, turn.timed.name, turn.round, *figures, turn.timed.status, f"{turn.busy:.1f}"]
            )


def ratios(turns: Sequence[Turn], contender: str, ours: str, figure: Callable[[Turn], float]) -> list[float]:
    """Of one case's turns: `figure` of the contender over that of ours, for each round in which both were done."""
    done = {(turn.contender, turn.round): turn for turn in turns if turn.done}
    pairs = [(done.get((contender, number)), done.get((ours, number))) for number in {turn.round for turn in turns}]
    return [figure(other) / figure(own) for other, own in pairs if other and own and figure(own)]


def _machine(result: Comparison) -> str:
    facts = describe()
    packages = versions(PACKAGES, result.python)
    noisy = [run for run in result.turns if run.busy > QUIET_PERCENT]
    limit = f"{QUIET_PERCENT:g} % of the CPUs"
    quiet = f"none above {limit} before any of the {len(result.turns)} runs"
    if noisy:
        worst = max(run.busy for run in noisy)
        quiet = (
            f"**not quiet**: above {limit} before {len(noisy)} of {len(result.turns)} runs, at the worst {worst:.0f} %"
        )
    rows = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        **facts,
        "Docker, image": f"{result.engine}, {result.image}",
        "packages of the contenders": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "other load": quiet,
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _timing(result: Comparison, case: str) -> str:
    ours, *_ = result.contenders
    turns = [turn for turn in result.turns if turn.timed.name == case]
    rounds = len({turn.round for turn in turns})
    lines = [f"## {case}, {rounds} round{'s' if rounds > 1 else ''}", ""]
    lines += ["| | seconds | ratio | peak memory, MB | ratio |", "|---|---|---|---|---|"]
    for name in result.contenders:
        own = [turn for turn in turns if turn.contender == name]
        done = [turn for turn in own if turn.done]
        if not done:
            why = f"{own[-1].timed.status}: {own[-1].timed.note}" if own else "not run"
            lines.append(f"| {name} | {why.replace('|', '/')} | | | |")
            continue
        cells = [as_spread([turn.seconds for turn in done], 2)]
        cells.append("" if name == ours else as_spread(ratios(turns, name, ours, lambda turn: turn.seconds), 2))
        cells.append(as_spread([turn.peak_mb for turn in done], 0))
        cells.append("" if name == ours else as_spread(ratios(turns, name, ours, lambda turn: turn.peak_mb), 2))
        failed = f" ({len(own) - len(done)} of {len(own)} runs failed)" if len(done) < len(own) else ""
        lines.append(f"| {name}{failed} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_spread(values: Sequence[float], digits: int) -> str:
    """Median (least to largest).

    >>> as_spread([3.0, 1.0, 2.0], 1)
    '2.0 (1.0 to 3.0)'
    """
    if not values:
        return "-"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _steps(result: Comparison) -> str:
    case = result.turns[0].timed.name
    table = {
        name: [turn for turn in result.turns if turn.timed.name == case and turn.contender == name and turn.steps]
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
        rest = statistics.median(run.seconds - sum(run.steps.values()) for run in runs)
        cells = ["" if math.isnan(value) else f"{value:.2f}" for value in medians.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {rest:.2f} |")
    return "\n".join(lines)


def _scores(result: Comparison) -> str:
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
        summary = summarise(name, scores)
        apart = contrast(result.scores[ours], scores)[-1]
        cells = []
        for measure in ("dsc", "nsd"):
            mean = getattr(summary.present, measure).mean
            ratio, difference = _ratio(mean, getattr(base, measure).mean), str(getattr(apart, measure)).strip()
            cells += [f"{mean:.4f}", "", ""] if name == ours else [f"{mean:.4f}", ratio, difference]
        note = f" (no mask of {', '.join(summary.missing)}: 0)" if summary.missing else ""
        lines.append(f"| {name}{note} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", result.remark]).rstrip()


def _ratio(mean: float, base: float) -> str:
    return f"{mean / base:.3f}" if base else "-"


def _contenders(result: Comparison) -> str:
    lines = [
        "## What was run",
        "",
        RUN.format(result.parameters / 1e6),
        "",
        RATIOS,
        "",
    ]
    return "\n".join([*lines, *(f"- **{name}**: {what}." for name, what in result.contenders.items())])
