"""Sheet: `python -m training.sheet RECIPE --data DATA --out SHEET.png`. Augmented samples, to look at before training.

One coronal slice of each sample through its middle, with its labels. Needs matplotlib.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from app.errors import VisceraError
from training.pictures import COLOURS, WINDOW
from training.recipe import load_recipe
from training.sample import Sampler
from training.train import volumes_of

MARK = "viscera training.sheet"  # in the picture's own text, says who drew it


def draw_sheet(sampler: Sampler, count: int, seed: int, target: Path) -> None:
    """`count` samples, ten a row."""
    rows = -(-count // 10)
    figure, axes = plt.subplots(rows, 10, figsize=(20, 2.2 * rows), layout="constrained", squeeze=False)
    for number, place in enumerate(axes.flat):
        place.set_axis_off()
        if number >= count:
            continue
        image, labels = sampler.draw(np.random.default_rng([seed, number]))
        coronal = image[:, image.shape[1] // 2].numpy()[::-1]  # z grows to the head, rows grow downwards
        painted = labels[:, labels.shape[1] // 2].numpy()[::-1]
        extent = (0.0, 1.0, 0.0, 1.0)
        place.imshow(coronal, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], extent=extent, aspect="auto")
        shown = np.ma.masked_equal(painted, 0)
        place.imshow(
            shown, cmap=COLOURS, vmin=0, vmax=20, alpha=0.45, interpolation="nearest", extent=extent, aspect="auto"
        )
    figure.savefig(target, dpi=80, metadata={"Software": MARK})
    plt.close(figure)


def _check_target(path: Path) -> None:
    """ValueError where another file than a sheet would be replaced."""
    if path.suffix != ".png":
        raise ValueError(f"{path}: must end in .png")
    if path.exists():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(4096):
                raise ValueError(f"{path}: exists and is no sheet; choose another name, or move it away")


def main() -> None:
    """Parses the arguments, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder of scans and labels, or a pack")
    parser.add_argument("--out", type=Path, required=True, help="PNG")
    parser.add_argument("--stage", type=int, default=-1, help="of the recipe, from 0 (default: the last)")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        _check_target(arguments.out)
        recipe = load_recipe(arguments.recipe)
        stage = recipe.stages[arguments.stage]
        volumes = volumes_of(arguments.data)(recipe, stage, False)
        draw_sheet(Sampler(volumes, recipe, stage), max(1, arguments.count), arguments.seed, arguments.out)
    except IndexError:
        parser.exit(2, f"{arguments.recipe}: has {len(recipe.stages)} stages, counted from 0\n")
    except (VisceraError, OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
