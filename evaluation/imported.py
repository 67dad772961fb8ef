"""Imported: `python -m evaluation.imported MODEL SCAN --systems NAME ...`. nnU-Net's prediction beside ours.

MODEL is a trainer's folder that nnU-Net v2 left, NAME a system that `training.import_nnunet` made of it.
`nnUNetv2_predict_from_modelfolder -device cpu --disable_tta` and `python -m app` take turns on the scan, whole
processes each, after one round that is not counted. Prints a table: seconds and memory (median over rounds, least to
largest), ratios of the same round, and how far the masks are the same, by label. Nothing else may run meanwhile.

nnunetv2 is that of the contenders' environment (`sh scripts/contenders`).
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.errors import SetupError, VisceraError
from app.files.cases import CHANNEL, mask_name
from app.models.bundle import Bundle, load_bundle
from app.system.definition import ROOT, WEIGHTS, load_system
from evaluation.benchmark.boxes import BoxedScan
from evaluation.benchmark.report import Turn, as_spread, ratios
from evaluation.benchmark.roster import PROCESS, Contender
from evaluation.benchmark.rounds import turns
from evaluation.efficiency.timing import DONE, CaseTimer, Workspace, local_timer, process_timer
from evaluation.maintenance.system_figures import table_line
from evaluation.scores.overlap import dice
from evaluation.shared.masks import open_mask, read_labels

WORK = ROOT / "build" / "imported"
ENVIRONMENT = ROOT / ".contenders" / "bin"
PREDICT = "nnUNetv2_predict_from_modelfolder"
NNUNET = "nnU-Net"
LIMIT_SECONDS = 3600.0


def main() -> None:
    """Parses the arguments, runs, prints the table; exit status 1 where a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a trainer's folder, with plans.json")
    parser.add_argument("scan", type=Path, help=f"NAME{CHANNEL}.nii.gz")
    parser.add_argument("--systems", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="counted ones (default: %(default)s)")
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="of nnunetv2 (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds takes 1 or more, not {arguments.rounds}")
    try:
        text, failed = _compare(arguments)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    print(text)
    parser.exit(int(failed))


def _compare(arguments: argparse.Namespace) -> tuple[str, bool]:
    predict = arguments.environment.absolute() / PREDICT
    if not predict.exists():
        raise SetupError(f"{predict}: not there; `sh scripts/contenders` makes its environment")
    if not arguments.scan.is_file():
        raise SetupError(f"{arguments.scan}: no such file")
    bundles = _bundles(arguments.systems[0])
    names = bundles[0].labels
    entrants = [
        Contender(NNUNET, PREDICT, False, nnunet_timer(predict, arguments.model.resolve(), bundles)),
        *(
            Contender(name, "", False, local_timer(LIMIT_SECONDS, "--system", name, "--overwrite"))
            for name in arguments.systems
        ),
    ]
    WORK.mkdir(parents=True, exist_ok=True)
    case = BoxedScan(arguments.scan, arguments.scan, ())
    done = list(turns(entrants, [case], arguments.rounds, WORK))
    made = {each.name: WORK / each.name / mask_name(arguments.scan) for each in entrants}
    masks = {name: read_labels(open_mask(path)) for name, path in made.items() if path.exists()}
    return table(done, masks, names), any(turn.timed.status != DONE for turn in done)


def nnunet_timer(predict: Path, model: Path, bundles: Sequence[Bundle]) -> CaseTimer:
    """nnU-Net's command for one scan: without mirroring, on the CPU, with the folds that the bundles were made of."""
    folds = [str(bundle.training["fold"]) for bundle in bundles]
    checkpoint = str(bundles[0].training["checkpoint"])
    options: list[str | Path] = [
        "-m",
        model,
        "-f",
        *folds,
        "-chk",
        checkpoint,
        "-device",
        "cpu",
        "--disable_tta",
        "--disable_progress_bar",
    ]

    def command(scan: Path, place: Workspace) -> Sequence[str | Path]:
        shutil.copy(scan, place.inputs)
        return [predict, "-i", place.inputs, "-o", place.outputs, *options]

    return process_timer(command, PROCESS, limit=LIMIT_SECONDS)


def table(done: Sequence[Turn], masks: dict[str, np.ndarray], names: Sequence[str]) -> str:
    """As Markdown. masks: labels of each contender that made some. names: of the labels, background first."""
    head = ("", "seconds", "times as fast", "peak memory, MB", "of the memory", "same label", *names[1:])
    lines = [table_line(head), table_line(["---"] * len(head))]
    first = masks.get(NNUNET)
    for name in dict.fromkeys(turn.contender for turn in done):
        own = [turn for turn in done if turn.contender == name and turn.done]
        figures = [as_spread([turn.seconds for turn in own], 2), "", as_spread([turn.peak_mb for turn in own], 0), ""]
        agreement = [""] * len(names)
        if name != NNUNET:
            figures[1] = as_spread(ratios(done, NNUNET, name, lambda turn: turn.seconds), 2)
            figures[3] = as_spread(ratios(done, name, NNUNET, lambda turn: turn.peak_mb), 2)
            mask = masks.get(name)
            if first is not None and mask is not None:
                agreement = [f"{np.mean(mask == first):.3%}", *_dice_by_label(first, mask, names)]
        lines.append(table_line([name, *figures, *agreement]))
    return "\n".join(lines)


def _dice_by_label(first: np.ndarray, second: np.ndarray, names: Sequence[str]) -> list[str]:
    labels = range(1, len(names))
    return [f"{dice(first == n, second == n):.4f}" if ((first == n) | (second == n)).any() else "-" for n in labels]


def _bundles(system: str) -> list[Bundle]:
    """Those whose scores are averaged. SetupError where one does not say of which fold it was made."""
    found = load_system(system)
    bundles = [load_bundle(WEIGHTS / name) for name in found.stage[found.result.of].bundles]
    for bundle in bundles:
        if not {"fold", "checkpoint"} <= bundle.training.keys():
            raise SetupError(f"{bundle.folder}: was not made by training.import_nnunet; name a system that was")
    return bundles


if __name__ == "__main__":
    main()
