"""Summary plot: one box per organ, of DSC and of NSD, of one submission or of two side by side."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from evaluation.scores.scoring import Score
from evaluation.scores.summary import cases_of, structures_of

COLOURS = ("#4c78a8", "#f58518")


def draw_boxes(submissions: Mapping[str, Sequence[Score]], path: Path) -> None:
    """Writes a PNG: quartiles, median, whiskers of 1.5 interquartile ranges, and every case as a point."""
    scores = next(iter(submissions.values()))
    structures = structures_of(scores)
    figure = Figure(figsize=(max(6.0, 0.8 * len(structures) + 2), 8), layout="constrained")
    figure.suptitle(f"{len(cases_of(scores))} cases; a box holds the middle half, a point is a case")
    width = 0.8 / len(submissions)
    for axes, measure in zip(figure.subplots(2, 1, sharex=True), ("dsc", "nsd"), strict=True):
        for index, (colour, own) in enumerate(zip(COLOURS, submissions.values(), strict=False)):
            groups = [[getattr(s, measure) for s in own if s.structure == each] for each in structures]
            known = [[value for value in group if not math.isnan(value)] for group in groups]
            places = [place + (index - (len(submissions) - 1) / 2) * width for place in range(len(structures))]
            boxes = axes.boxplot(known, positions=places, widths=0.8 * width, showfliers=False, patch_artist=True)
            for box in boxes["boxes"]:
                box.set(facecolor=colour, alpha=0.4)
            for line in boxes["medians"]:
                line.set(color="black")
            points = [(place, value) for place, group in zip(places, known, strict=True) for value in group]
            if points:
                axes.scatter(*zip(*points, strict=True), s=8, color=colour, zorder=3)
        axes.set(ylabel=measure.upper(), ylim=(-0.02, 1.02))
        axes.grid(axis="y", alpha=0.3)
    names = [each.name.replace("_", " ") for each in structures]
    axes.set_xticks(range(len(structures)), names, rotation=45, ha="right")
    if len(submissions) > 1:
        marks = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in COLOURS]
        axes.legend(marks, [name.replace("$", r"\$") for name in submissions])  # $ would begin a formula
    figure.savefig(path, dpi=120)
