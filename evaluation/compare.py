"""Compare: `python -m evaluation.compare --image viscera --cases SCAN... --scored DIR`. Several ways to the same masks.

Contenders take turns on the same cases (A B A B ...), so that a noisy machine hits all alike: our image, run as the
organisers run it; our steps with one engine or another; the reference way in eager torch; nnunetv2's own predictor; a
public peer where its script is at hand. All but the image and the peer are handed what phase one kept of the scan, have
the image's fine network with its weights, and run as plain processes, without a container's start.

Writes the benchmark as Markdown with a CSV file of every run, and masks under build/compare. Nothing else may run
meanwhile: the load is looked at before each run. Contenders need an environment of their own, which
`sh scripts/contenders` makes.

Example: python -m evaluation.compare --image viscera --cases ../shared/cases/hcc_006_0000.nii.gz --rounds 3
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from app.errors import SetupError, VisceraError
from app.files.cases import mask_name
from app.models.bundle import FILE_NAME, Bundle, load_bundle
from app.system.definition import ROOT, WEIGHTS, load_system
from evaluation.benchmark.report import COLUMNS, MARK, Comparison, Turn, write_benchmark, write_turns
from evaluation.benchmark.roster import NAMES, Contender, contenders
from evaluation.efficiency.containers import Engine
from evaluation.efficiency.machine import QUIET_PERCENT, busy_percent
from evaluation.efficiency.timing import DONE, TimedCase, end_of, scan_paths, workspace
from evaluation.scores.scoring import Score, score_folders
from evaluation.shared.masks import open_mask, read_labels
from evaluation.shared.own_files import own_folder, refuse_foreign

WORK = ROOT / "build" / "compare"
ENVIRONMENT = ROOT / ".contenders" / "bin" / "python"
WATCHED_SECONDS = 0.5
PATIENCE_SECONDS = 30.0  # waited for quiet before a run is made all the same, and marked


@dataclass(frozen=True, slots=True)
class BoxedScan:
    """A scan, and a file with what phase one kept of it. box: start and stop per axis of the file, in voxels."""

    scan: Path
    boxed: Path
    box: tuple[tuple[int, int], ...]


def box_scan(scan: Path, folder: Path) -> BoxedScan:
    """Runs phase one, through app and its report, and writes the box as a scan of its own."""
    own_folder(folder)
    report = folder / "report.jsonl"
    command = [sys.executable, "-m", "app", "--inputs", str(scan.resolve()), "--outputs", str(folder)]
    subprocess.run([*command, "--report", str(report)], cwd=ROOT, check=True, capture_output=True)
    line = json.loads(report.read_text().splitlines()[-1])
    box = tuple((start, stop) for start, stop in line["box"] or [(0, size) for size in line["shape"]])
    image = cast(nib.Nifti1Image, nib.load(scan))
    boxed = folder / scan.name
    nib.save(image.slicer[tuple(slice(*sides) for sides in box)], boxed)
    return BoxedScan(scan, boxed, box)


def write_whole_mask(boxed: Path, case: BoxedScan, target: Path) -> None:
    """A mask of the box as one of the whole scan, for scoring."""
    image = cast(nib.Nifti1Image, nib.load(case.scan))
    labels = np.zeros(image.shape, np.uint8)
    mask = open_mask(boxed)
    if mask.shape != tuple(stop - start for start, stop in case.box):
        raise VisceraError(f"{boxed.name}: shape {mask.shape}, the box has {case.box}")
    labels[tuple(slice(*sides) for sides in case.box)] = read_labels(mask)
    nib.save(nib.Nifti1Image(labels, image.affine), target)


def training_window(bundle: Bundle) -> list[int]:
    """Sides (z, y, x) of the last patches that a bundle was trained on, in voxels. SetupError: it does not say."""
    patch = bundle.training.get("patch")
    if not isinstance(patch, list) or [type(side) for side in patch] != [int] * 3:
        raise SetupError(f"{bundle.folder / FILE_NAME}: training names no patch of three sides; say --window Z Y X")
    return patch


def turns(entrants: Sequence[Contender], cases: Sequence[BoxedScan], rounds: int, out: Path) -> Iterator[Turn]:
    """Every contender on every case in turn, `rounds` times; once before, uncounted, so that files are in memory."""
    for number in range(-1, rounds):
        for case in cases:
            for contender in entrants:
                busy = wait_for_quiet()
                timed, steps = run_once(contender, case, out)
                if number >= 0:
                    yield Turn(contender.name, number, timed, busy, steps)
                shown = "uncounted" if number < 0 else f"round {number + 1}"
                noise = f", other load {busy:.0f} %" if busy > QUIET_PERCENT else ""
                print(
                    f"{shown}: {contender.name}, {timed.name}: {timed.run.seconds:.2f} s, {timed.status}{noise}",
                    flush=True,
                )


def wait_for_quiet() -> float:
    """Percent of all CPUs busy with anything else now; where that is not little, it waits a while for it to end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (busy := busy_percent(WATCHED_SECONDS)) > QUIET_PERCENT and time.monotonic() < deadline:
        time.sleep(WATCHED_SECONDS)
    return busy


def run_once(contender: Contender, case: BoxedScan, out: Path) -> tuple[TimedCase, dict[str, float]]:
    """One run, and its seconds by step; its mask, of the whole scan, is kept under `out`/NAME."""
    masks = out / contender.name
    own_folder(masks)
    kept = masks / mask_name(case.scan)
    kept.unlink(missing_ok=True)
    with workspace(out) as place:
        timed = contender.timer(case.boxed if contender.boxed else case.scan, place)
        steps = steps_of(place.log)
        if timed.status == DONE:
            try:
                _keep(place.outputs / kept.name, case, kept, boxed=contender.boxed)
            except (VisceraError, ValueError, OSError) as error:
                timed = replace(timed, status="unusable mask", note=str(error))
    return timed, steps


def _keep(made: Path, case: BoxedScan, kept: Path, *, boxed: bool) -> None:
    if boxed:
        write_whole_mask(made, case, kept)
    else:
        shutil.copy(made, kept)


def steps_of(log: Path) -> dict[str, float]:
    """Seconds by step, where the contender's last line says them."""
    lines = end_of(log)[0].splitlines()
    try:
        return dict(json.loads(lines[-1])["seconds"])
    except (IndexError, KeyError, TypeError, ValueError):
        return {}


def scores_of(
    entrants: Sequence[Contender], cases: Sequence[BoxedScan], truth: Path, out: Path
) -> dict[str, list[Score]]:
    """Every contender once on every scan of `truth`; a mask that is missing scores 0 and is named."""
    found = {}
    for contender in entrants:
        own_folder(out / contender.name)
        shutil.rmtree(out / contender.name)
        for case in cases:
            timed, _ = run_once(contender, case, out)
            print(f"to be scored: {contender.name}, {timed.name}: {timed.status}", flush=True)
        found[contender.name], warnings = score_folders(truth, out / contender.name)
        for warning in warnings:
            print(f"{contender.name}: {warning}", flush=True)
    return found


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
    parameters = _prepare(arguments.python, bundle, window)
    with Engine() as engine:
        image, python, prepared = engine.image(arguments.image), arguments.python.absolute(), WORK / "prepared"
        entrants = contenders(engine, image, python, arguments.peer, prepared, bundle, window)
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
            command=shlex.join(["python", "-m", "evaluation.compare", *sys.argv[1:]]),
            remark=arguments.remark or "",
        )
        write_benchmark(comparison, arguments.out)
        if arguments.scored:
            cases = [box_scan(scan, WORK / "boxes_scored") for scan in scan_paths(arguments.scored)]
            scores = scores_of(entrants, cases, arguments.scored, WORK)
            write_benchmark(replace(comparison, scores=scores), arguments.out)
    return any(turn.timed.status != DONE for turn in done)


def _prepare(python: Path, bundle: Bundle, window: Sequence[int]) -> int:
    """What contenders run, made in their environment; the network's parameters."""
    command = [str(python.absolute()), "-m", "evaluation.contenders.prepare", str(bundle.folder)]
    command += [str(WORK / "prepared"), "--window", *map(str, window)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    return int(json.loads(printed)["parameters"])


if __name__ == "__main__":
    main()
