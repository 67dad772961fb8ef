"""Pictures: `python -m training.pictures RUN`. A run's curves, and the slices of its evaluations. Needs matplotlib."""

import argparse
import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from training.run_files import CURVES, EVALUATIONS, METRICS, SLICES, is_table

WINDOW = (-160, 240)  # HU
COLOURS = "tab20"


def draw(run: Path) -> None:
    """`curves.png` and, for the latest evaluation, its slices; those of earlier ones are there already."""
    draw_curves(run)
    for slices in sorted(path for path in (run / SLICES).glob("*.npz") if not path.name.endswith(".partial.npz")):
        target = slices.with_suffix(".png")
        if not target.exists():
            draw_slices(slices, target)


def draw_curves(run: Path) -> None:
    """Loss and the fold's Dice over minutes of training, into `curves.png`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for path, axes, column in ((run / METRICS, left, "loss"), (run / EVALUATIONS, right, "mean_dice")):
        rows = _rows(path)
        for stage in dict.fromkeys(row["stage"] for row in rows):
            chosen = [row for row in rows if row["stage"] == stage]
            minutes = [float(row["seconds"]) / 60 for row in chosen]
            values = [float(row[column]) for row in chosen]
            axes.plot(minutes, values, ".-" if column == "mean_dice" else "-", label=chosen[0]["name"])
        axes.set_xlabel("minutes")
        axes.grid(alpha=0.3)
        if rows:
            axes.legend(title="stage")
    left.set_ylabel("loss")
    right.set_ylabel("mean Dice of the fold")
    figure.savefig(run / CURVES, dpi=90)
    plt.close(figure)


def draw_slices(slices: Path, target: Path) -> None:
    """Per volume a column: the reference above, the prediction below, over a coronal slice."""
    arrays = np.load(slices)
    names = [key.removesuffix(".image") for key in arrays if key.endswith(".image")]
    figure, axes = plt.subplots(2, len(names), figsize=(2.6 * len(names), 6), layout="constrained", squeeze=False)
    for column, name in enumerate(names):
        for row, kind in enumerate(("reference", "prediction")):
            labels = arrays[f"{name}.{kind}"][::-1]  # z grows to the head, rows grow downwards
            image = arrays[f"{name}.image"][::-1]
            place = axes[row, column]
            place.imshow(image, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], aspect="auto")
            shown = np.ma.masked_equal(labels, 0)
            place.imshow(shown, cmap=COLOURS, vmin=0, vmax=20, alpha=0.5, interpolation="nearest", aspect="auto")
            place.set_axis_off()
            place.set_title(f"{name}\n{kind}" if row == 0 else kind, fontsize=8)
    figure.savefig(target, dpi=90)
    plt.close(figure)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Parses the arguments, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder that training.train writes")
    run = parser.parse_args().run
    metrics = run / METRICS
    if not metrics.exists() or not metrics.stat().st_size or not is_table(metrics):  # its curves would be replaced
        parser.exit(2, f"{run}: no {METRICS} of training.train here, so no run of it\n")
    draw(run)


if __name__ == "__main__":
    main()
