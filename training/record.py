"""Record: `python -m training.record BUNDLE SCORES`. Puts measured accuracy into a bundle's card.

SCORES is what `evaluation.validate --json` wrote; it is a figure of the whole system that used the bundle.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from app.bundle import FILE_NAME
from app.labels import ORGANS


def accuracy(scores: dict[str, Any], system: str) -> dict[str, Any]:
    """Mean Dice over patients, of all organs and of each, and the cases it was measured on."""
    by_organ = {name: [case["dice"][name] for case in scores["cases"] if name in case["dice"]] for name in ORGANS}
    return {
        "system": system,
        "cases": [case["case"] for case in scores["cases"]],
        "mean_dice": round(scores["mean_dice"], 4),
        "mean_dice_of_organ": {name: round(float(np.mean(found)), 4) for name, found in by_organ.items() if found},
    }


def main() -> None:
    """Parses the arguments, rewrites `bundle.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--system", default="viscera")
    arguments = parser.parse_args()
    path = arguments.bundle / FILE_NAME
    card = json.loads(path.read_text())
    card["accuracy"] = accuracy(json.loads(arguments.scores.read_text()), arguments.system)
    path.write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
