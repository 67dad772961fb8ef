"""Compare: `python -m evaluation.compare --image viscera --cases SCAN... --scored DIR`. Several ways to the same masks.

Contenders take turns on the same cases (A B A B ...), so that a noisy machine hits all alike: our image, run as the
organisers run it; our steps with one engine or another; the reference way in torch with MONAI; nnunetv2's own
predictor; a public peer where its script is at hand. All but the image and the peer are handed what phase one kept of
the scan, have the image's fine network with its weights, and run as plain processes, without a container's start.

Writes the benchmark as Markdown with a CSV file of every run, and masks under build/compare. Nothing else may run
meanwhile: the load is looked at before each run. Contenders need an environment of their own, which
`sh scripts/contenders` makes. ONEDNN_MAX_CPU_ISA in the environment holds OpenVINO, in the image, too, to the
instructions of an older CPU, and others in part or not at all: leave these out then (--only).

Example: python -m evaluation.compare --image viscera --cases ../shared/cases/hcc_006_0000.nii.gz --rounds 3
"""

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from app.errors import SetupError, VisceraError
from app.models.bundle import load_bundle
from app.system.definition import ROOT, WEIGHTS, load_system
from evaluation.benchmark.boxes import box_scan
from evaluation.benchmark.prepared import prepare, training_window
from evaluation.benchmark.report import COLUMNS, MARK, Comparison, Turn, write_benchmark, write_turns
from evaluation.benchmark.roster import NAMES, contenders
from evaluation.benchmark.rounds import scores_of, turns
from evaluation.efficiency.containers import Engine
from evaluation.efficiency.machine import HELD_TO
from evaluation.efficiency.timing import DONE, scan_paths
from evaluation.shared.own_files import refuse_foreign

WORK = ROOT / "build" / "compare"
ENVIRONMENT = ROOT / ".contenders" / "bin" / "python"


def main() -> None:
    """Parses the arguments, prepares, runs, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", required=True, help="an archive team.tar.gz, or the name of an image")
    parser.add_argument("--cases", type=Path, nargs="+", required=True, help="scans that are timed")
    parser.add_argument("--scored", type=Path, help="folder of NAME_0000.nii.gz and NAME.nii.gz, for scores")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones (default: %(default)s)")
    parser.add_argument("--window", type=int, nargs=3, help="of the contenders (default: the patch of training)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=f"the image and these alone, of {', '.join(NAMES)}")
    parser.add_argument("--python", type=Path, default=ENVIRONMENT, help="of the contenders (default: %(default)s)")
    parser.add_argument("--peer", type=Path, help="a public peer's script, called with folders of scans and of masks")
    parser.add_argument("--remark", help="a sentence on the scores, e.g. whose labels they are against")
    parser.add_argument("--out", type=Path, default=WORK / "BENCHMARK.md", help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds takes 1 or more, not {arguments.rounds}")
    try:
        failed = _compare(arguments)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    except subprocess.CalledProcessError as error:
        words = (error.stderr or b"").decode(errors="replace").strip().splitlines()
        parser.exit(2, f"{shlex.join(map(str, error.cmd))} failed: {words[-1] if words else 'it said nothing'}\n")
    print(f"written: {arguments.out}")
    parser.exit(failed)


def _compare(arguments: argparse.Namespace) -> bool:
    """Writes what is known after every turn; whether any run failed."""
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    refuse_foreign(arguments.out, MARK)
    refuse_foreign(arguments.out.with_suffix(".csv"), ",".join(COLUMNS))
    scans = [scan for path in arguments.cases for scan in scan_paths(path)]
    if twice := {scan.name for scan in scans if [other.name for other in scans].count(scan.name) > 1}:
        raise SetupError(f"--cases: two scans are called {min(twice)}; give one of them, or rename it")
    if unknown := set(arguments.only or ()) - {*NAMES}:
        raise SetupError(f"--only {min(unknown)}: no such contender; there are {', '.join(NAMES)}")
    if arguments.peer and not arguments.peer.is_file():
        raise SetupError(f"--peer {arguments.peer}: no such file")
    if not arguments.python.exists():
        raise SetupError(f"{arguments.python}: not there; `sh scripts/contenders` makes the contenders' environment")
    system = load_system("viscera")
    bundle = load_bundle(WEIGHTS / system.stage[system.result.of].bundle)
    window = arguments.window or training_window(bundle)
    onnx = WORK / "fine.onnx"
    parameters = prepare(arguments.python, bundle, onnx)
    with Engine() as engine:
        image, python = engine.image(arguments.image), arguments.python.absolute()
        entrants = contenders(engine, image, python, arguments.peer, onnx, bundle, window)
        if arguments.only:
            entrants = [entrants[0], *(each for each in entrants[1:] if each.name in arguments.only)]
        done: list[Turn] = []
        for turn in turns(entrants, [box_scan(scan, WORK / "boxes") for scan in scans], arguments.rounds, WORK):
            done.append(turn)
            write_turns(done, arguments.out.with_suffix(".csv"))
        comparison = Comparison(
            {each.name: each.what for each in entrants},
            done,
            {},
            parameters=parameters,
            engine=engine.version(),
            image=engine.identity(image),
            python=python,
            command=_held_to() + shlex.join(["python", "-m", "evaluation.compare", *sys.argv[1:]]),
            remark=arguments.remark or "",
        )
        write_benchmark(comparison, arguments.out)
        if arguments.scored:
            cases = [box_scan(scan, WORK / "boxes_scored") for scan in scan_paths(arguments.scored)]
            scores = scores_of(entrants, cases, arguments.scored, WORK)
            write_benchmark(replace(comparison, scores=scores), arguments.out)
    return any(turn.timed.status != DONE for turn in done)


def _held_to() -> str:
    return f"{HELD_TO}={os.environ[HELD_TO]} " if HELD_TO in os.environ else ""


if __name__ == "__main__":
    main()
