"""Rounds: contenders take turns on the same cases, each run with its mask kept, or all of them scored."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from app.errors import VisceraError
from app.files.cases import mask_name
from evaluation.benchmark.boxes import BoxedScan, write_whole_mask
from evaluation.benchmark.report import Turn
from evaluation.benchmark.roster import Contender
from evaluation.efficiency.machine import QUIET_PERCENT, busy_percent
from evaluation.efficiency.timing import DONE, TimedCase, end_of, workspace
from evaluation.scores.scoring import Score, score_folders
from evaluation.shared.own_files import own_folder

WATCHED_SECONDS = 0.5
PATIENCE_SECONDS = 30.0  # waited for quiet before a run is made all the same, and marked


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
                ending = f"{timed.status} ({timed.note})" if timed.note else timed.status
                print(
                    f"{shown}: {contender.name}, {timed.name}: {timed.run.seconds:.2f} s, {ending}{noise}",
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
