"""Score: `python -m evaluation.score --truth DIR --prediction DIR --out scores.csv`. DSC and NSD as the organisers do.

Writes scores.csv, a line per case and label, and beside it the summary as scores.txt, scores.json and scores.png.
A second folder after --prediction is scored too and compared pair by pair. The rules: evaluation/scores/scoring.py.

Example: python -m evaluation.score --truth val --prediction masks --out build/scores.csv
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from app.errors import VisceraError
from evaluation.scores.score_files import refuse_others, write_all
from evaluation.scores.scoring import score_folders
from evaluation.shared.protocol import LESION, STRUCTURES, Structure

SUBMISSIONS = 2


def choose_structures(labels: str | None, *, lesion: bool) -> list[Structure]:
    """Those of `labels` ("1,2,5"), by default all; the lesion only if asked for. VisceraError: an unknown label."""
    known = {each.label: each for each in (*STRUCTURES, *([LESION] if lesion else []))}
    if labels is None:
        return list(known.values())
    try:
        chosen = {int(label) for label in labels.split(",")}
    except ValueError as error:
        raise VisceraError(f"--labels {labels}: not numbers with commas between") from error
    if unknown := chosen - known.keys():
        hint = "; --lesion adds 14" if LESION.label in unknown else ""
        raise VisceraError(f"--labels {labels}: {min(unknown)} is none of {', '.join(map(str, known))}{hint}")
    return [each for label, each in known.items() if label in chosen]


def main() -> None:
    """Parses the arguments, scores, writes and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, help="folder of NAME.nii.gz; scans in it are left alone")
    parser.add_argument("--prediction", type=Path, required=True, nargs="+", help="one or two folders of NAME.nii.gz")
    parser.add_argument("--out", type=Path, required=True, help="scores.csv; the summary is written beside it")
    parser.add_argument("--labels", help="score only these, e.g. 1,2,13: where the truth does not mark the others")
    parser.add_argument("--lesion", action="store_true", help="label 14 too, as in FLARE 2023")
    parser.add_argument("--with-last-slice", action="store_true", help="score the slice that the organisers leave out")
    arguments = parser.parse_args()
    if len(arguments.prediction) > SUBMISSIONS:
        parser.error(f"--prediction takes one or two folders, not {len(arguments.prediction)}")
    if len({folder.resolve() for folder in arguments.prediction}) < len(arguments.prediction):
        parser.error("--prediction names the same folder twice")
    if arguments.out.suffix != ".csv":
        parser.error(f"--out {arguments.out}: must end in .csv; the summary is written beside it under other endings")
    try:
        # before the work: a place that cannot be written is said now
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        refuse_others(arguments.out)
        structures = choose_structures(arguments.labels, lesion=arguments.lesion)
        submissions, remarks = {}, _remarks(structures, lesion=arguments.lesion, last_slice=arguments.with_last_slice)
        for folder in arguments.prediction:
            scores, warnings = score_folders(arguments.truth, folder, structures, last_slice=arguments.with_last_slice)
            submissions[str(folder)] = scores
            remarks += [f"warning: {warning}" for warning in warnings]
        settings = {"truth": str(arguments.truth), "last_slice": arguments.with_last_slice}
        print(write_all(submissions, arguments.out, remarks, **settings))
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")


def _remarks(structures: Sequence[Structure], *, lesion: bool, last_slice: bool) -> list[str]:
    """What a reader of the figures must know of how they came about."""
    remarks = []
    known = (*STRUCTURES, *([LESION] if lesion else []))
    if left_out := [each.name for each in known if each not in structures]:
        remarks.append(f"not scored: {', '.join(left_out)}")
    if last_slice and any(each.labelled_slices for each in structures):
        remarks.append("not the organisers' way: the last slice of aorta, inferior vena cava and esophagus is scored")
    return remarks


if __name__ == "__main__":
    main()
