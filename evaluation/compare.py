"""Compare: `python -m evaluation.compare --image viscera --cases SCAN... --scored DIR`. Several ways to the same masks.

Contenders take turns on the same cases (A B A B ...), so that a noisy machine hits all alike: our image, run as the
organisers run it; our steps with one engine or another; the reference way in eager torch; nnunetv2's own predictor; a
public peer where its script is at hand. All but the image and the peer are handed what phase one kept of the scan, have
the image's fine network with its weights, and run as plain processes, without a container's start.

Writes the benchmark as Markdown with a CSV file of every run, and masks under build/compare. Nothing else may run
meanwhile: the load is looked at before each run. Contenders need an environment of their own, which
`sh scripts/contenders` makes.

Example: python -m evaluation.compare --image viscera --cases ../shared/cases/hcc_006_0000.nii.gz --out BENCHMARK.md
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np

from app.bundle import Bundle, load_bundle
from app.errors import SetupError, VisceraError
from app.system import WEIGHTS, load_system
from app.toml_file import read_toml
from evaluation.benchmark import Result, Timed, write_benchmark
from evaluation.containers import Engine
from evaluation.efficiency import DONE, Efficiency
from evaluation.entrants import Contender, contenders
from evaluation.machine import busy_percent
from evaluation.scoring import Score, score_folders
from evaluation.time_cases import PROJECT, mask_name, scan_paths

WORK = PROJECT / "build" / "compare"
ENVIRONMENT = PROJECT / ".contenders" / "bin" / "python"
PEER = PROJECT.parent / "shared" / "teacher" / "predict.py"
QUIET_PERCENT = 5.0  # of all CPUs; below it the machine counts as quiet
WATCHED_SECONDS = 0.5
PATIENCE_SECONDS = 30.0  # waited for quiet before a run is made all the same, and marked


@dataclass(frozen=True, slots=True)
class Case:
    """A scan, and a file with what phase one kept of it. box: start and stop per axis of the file, in voxels."""

    scan: Path
    boxed: Path
    box: tuple[tuple[int, int], ...]


def prepare_case(scan: Path, folder: Path) -> Case:
    """Runs phase one, through app and its report, and writes the box as a scan of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.jsonl"
    command = [sys.executable, "-m", "app", "--inputs", str(scan.resolve()), "--outputs", str(folder)]
    subprocess.run([*command, "--report", str(report)], cwd=PROJECT, check=True, capture_output=True)
    line = json.loads(report.read_text().splitlines()[-1])
    box = tuple((start, stop) for start, stop in line["box"] or [(0, size) for size in line["shape"]])
    image = cast(nib.Nifti1Image, nib.load(scan))
    boxed = folder / scan.name
    nib.save(image.slicer[tuple(slice(*sides) for sides in box)], boxed)
    return Case(scan, boxed, box)


def whole_mask(boxed: Path, case: Case, target: Path) -> None:
    """A mask of the box as one of the whole scan, for scoring."""
    image = cast(nib.Nifti1Image, nib.load(case.scan))
    labels = np.zeros(image.shape, np.uint8)
    labels[tuple(slice(*sides) for sides in case.box)] = np.asarray(cast(nib.Nifti1Image, nib.load(boxed)).dataobj)
    nib.save(nib.Nifti1Image(labels, image.affine), target)


def training_window(bundle: Bundle) -> list[int]:
    """Sides (z, y, x) of the last patches that the recipe of a bundle trains with, in voxels."""
    recipe = PROJECT / "training" / "recipes" / Path(bundle.training["recipe"]).with_suffix(".toml").name
    return [int(side) for side in read_toml(recipe)["stages"][-1]["shape"]]


def rounds(entrants: Sequence[Contender], cases: Sequence[Case], count: int, out: Path) -> Iterator[Timed]:
    """Every contender on every case, in turns, `count` times; once before, uncounted, so that files are in memory."""
    for number in range(-1, count):
        for case in cases:
            for contender in entrants:
                busy = wait_for_quiet()
                result = run_once(contender, case, out)
                if number >= 0:
                    yield Timed(contender.name, case.scan.name, number, result, busy, steps_of(out / contender.name))
                shown = "uncounted" if number < 0 else f"round {number + 1}"
                noise = f", other load {busy:.0f} %" if busy > QUIET_PERCENT else ""
                print(
                    f"{shown}: {contender.name}, {case.scan.name}: {result.run.seconds:.2f} s, {result.status}{noise}",
                    flush=True,
                )


def wait_for_quiet() -> float:
    """Percent of all CPUs busy with anything else now; where that is not little, it waits a while for it to end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (busy := busy_percent(WATCHED_SECONDS)) > QUIET_PERCENT and time.monotonic() < deadline:
        time.sleep(WATCHED_SECONDS)
    return busy


def run_once(contender: Contender, case: Case, out: Path) -> Efficiency:
    """One run; its mask, of the whole scan, is kept under `out`/NAME/masks."""
    workspace = out / contender.name
    result = contender.run(case.boxed if contender.boxed else case.scan, workspace)
    masks = workspace / "masks"
    masks.mkdir(exist_ok=True)
    made, target = workspace / "outputs" / mask_name(case.scan), masks / mask_name(case.scan)
    target.unlink(missing_ok=True)
    if result.status == DONE and contender.boxed:
        whole_mask(made, case, target)
    elif result.status == DONE:
        shutil.copy(made, target)
    return result


def steps_of(workspace: Path) -> dict[str, float]:
    """Seconds by step, where the contender's last line says them."""
    lines = (workspace / "log.txt").read_text(errors="replace").splitlines()
    try:
        return dict(json.loads(lines[-1])["seconds"])
    except (IndexError, KeyError, TypeError, ValueError):
        return {}


def scores_of(entrants: Sequence[Contender], cases: Sequence[Case], truth: Path, out: Path) -> dict[str, list[Score]]:
    """Every contender once on every scan of `truth`; a mask that is missing scores 0 and is named."""
    found = {}
    for contender in entrants:
        masks = out / contender.name / "masks"
        shutil.rmtree(masks, ignore_errors=True)
        for case in cases:
            result = run_once(contender, case, out)
            print(f"to be scored: {contender.name}, {case.scan.name}: {result.status}", flush=True)
        found[contender.name], warnings = score_folders(truth, masks)
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
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these contenders alone, and the image")
    parser.add_argument("--python", type=Path, default=ENVIRONMENT, help="of the contenders (default: %(default)s)")
    parser.add_argument("--peer", type=Path, default=PEER, help="the public peer's script (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("BENCHMARK.md"), help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        result = _compare(arguments)
    except (VisceraError, OSError) as error:
        parser.exit(2, f"{error}\n")
    except subprocess.CalledProcessError as error:
        parser.exit(
            2, f"{shlex.join(map(str, error.cmd))} failed: {(error.stderr or b'').decode(errors='replace')[-500:]}\n"
        )
    write_benchmark(result, arguments.out)
    print(f"written: {arguments.out}")


def _compare(arguments: argparse.Namespace) -> Result:
    if not arguments.python.exists():
        raise SetupError(f"{arguments.python}: not there; `sh scripts/contenders` makes the contenders' environment")
    scans = [scan for path in arguments.cases for scan in scan_paths(path)]
    system = load_system("viscera")
    bundle = load_bundle(WEIGHTS / system.segment.bundle, "fine")
    window = arguments.window or training_window(bundle)
    command = [str(arguments.python.absolute()), "-m", "evaluation.contenders.prepare", str(bundle.folder)]
    command += [str(WORK / "prepared"), "--window", *map(str, window)]
    prepared = json.loads(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True).stdout)
    with Engine() as engine:
        peer = arguments.peer if arguments.peer.exists() else None
        entrants = contenders(engine, arguments.image, arguments.python.absolute(), peer, WORK / "prepared", window)
        if arguments.only:
            entrants = [entrants[0], *(each for each in entrants[1:] if each.name in arguments.only)]
        for entrant in entrants:
            (WORK / entrant.name).mkdir(parents=True, exist_ok=True)
        timed = list(rounds(entrants, [prepare_case(scan, WORK / "boxes") for scan in scans], arguments.rounds, WORK))
        scores = {}
        if arguments.scored:
            cases = [prepare_case(scan, WORK / "scored") for scan in scan_paths(arguments.scored)]
            scores = scores_of(entrants, cases, arguments.scored, WORK)
        return Result(
            {each.name: each.what for each in entrants},
            timed,
            scores,
            parameters=prepared["parameters"],
            engine=engine.version(),
            python=arguments.python,
            command=shlex.join(["python", "-m", "evaluation.compare", *sys.argv[1:]]),
            quiet_percent=QUIET_PERCENT,
        )


if __name__ == "__main__":
    main()
