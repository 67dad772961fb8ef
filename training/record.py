"""Record: `python -m training.record BUNDLE SCORES`. Puts measured accuracy into a bundle's card.

SCORES is the `scores.json` that `evaluation.validate` wrote, of the whole system that used the bundle; of a localiser,
what `evaluation.localiser --json` wrote.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

from app.errors import SetupError
from app.models.bundle import FILE_NAME
from app.system.definition import load_system
from training.recipe import CHALLENGE_LABELS


def accuracy(scores: dict[str, Any]) -> dict[str, Any]:
    """Means over patients of DSC and NSD; with which system and on which cases.

    `mean_dice` and those by organ are of the organs that a patient has, `mean_dice_all_organs` as the organisers count:
    1 for an organ in neither mask, 0 for one in the prediction alone.
    """
    if len(scores["submissions"]) != 1:
        raise ValueError("scores of two predictions, a card has those of one; score the folder alone")
    (submission,) = scores["submissions"]
    by_case: dict[str, dict[str, float]] = {case: {} for case in submission["cases"]}
    for score in submission["scores"]:
        if score["in_truth"] and score["dsc"] is not None:
            by_case[score["case"]][score["structure"]["name"]] = score["dsc"]
    return {
        "system": scores["system"],
        "cases": submission["cases"],
        "mean_dice": round(submission["present"]["dsc"]["mean"], 4),
        "mean_nsd": round(submission["present"]["nsd"]["mean"], 4),
        "mean_dice_all_organs": round(submission["overall"]["dsc"]["mean"], 4),
        "mean_nsd_all_organs": round(submission["overall"]["nsd"]["mean"], 4),
        "mean_dice_of_organ": _by_organ([*by_case.values()]),
    }


def localiser_accuracy(figures: list[dict[str, Any]], engine: str) -> dict[str, Any]:
    """What the box keeps at the least, how large it is as a rule, and the mean Dice over patients."""
    least = ("recall", "worst_slab_recall", "padded_recall", "stitched_recall")
    return {
        "engine": engine,
        "cases": [row["case"] for row in figures],
        **{f"least_{name}": round(min(row[name] for row in figures), 4) for name in least},
        "median_box_ratio": round(statistics.median(row["box_ratio"] for row in figures), 3),
        "mean_dice": round(statistics.mean(statistics.mean(row["dice"].values()) for row in figures), 4),
        "mean_dice_of_organ": _by_organ([row["dice"] for row in figures]),
    }


def _by_organ(dice: list[dict[str, float]]) -> dict[str, float]:
    found = {name: [case[name] for case in dice if name in case] for name in CHALLENGE_LABELS[1:]}
    return {name: round(statistics.mean(values), 4) for name, values in found.items() if values}


def _role(card: Any, path: Path) -> str:
    if not isinstance(card, dict) or not isinstance(card.get("role"), str):
        raise SetupError(f"{path}: names no role; give a bundle's folder")
    return str(card["role"])


def _check_system(system: str, bundle: str) -> None:
    """ValueError where the scores are of a system that runs another bundle."""
    found = load_system(system)
    name = found.result.of
    while name in found.merge:  # what others are laid over
        name = found.merge[name].of[0]
    used = Path(found.stage[name].bundle).name
    if used != bundle:
        raise ValueError(f"of system {system}, which runs {used} and not {bundle}; validate with --system of its own")


def main() -> None:
    """Parses the arguments, rewrites `bundle.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--engine", default="openvino-int8", help="of a localiser's scores (default: %(default)s)")
    arguments = parser.parse_args()
    path = arguments.bundle / FILE_NAME
    try:
        card, scores = json.loads(path.read_text()), json.loads(arguments.scores.read_text())
        role = _role(card, path)
        if role == "localiser":
            measured = localiser_accuracy(scores[arguments.engine], arguments.engine)
        else:
            _check_system(scores["system"], card["name"])
            measured = accuracy(scores)
        card["accuracy"] = card.get("accuracy", {}) | measured  # an import's proof stays
    except SetupError as error:
        parser.exit(2, f"{error}\n")
    except (OSError, ValueError) as error:
        parser.exit(2, f"{arguments.scores}: {error}\n")
    except KeyError as error:
        parser.exit(2, f"{arguments.scores}: no {error} in it; it is not of a {role}\n")
    except (TypeError, AttributeError):
        parser.exit(2, f"{arguments.scores}: holds no scores, or none of a {role}\n")
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(card, indent=1) + "\n")
    os.replace(partial, path)


if __name__ == "__main__":
    main()
