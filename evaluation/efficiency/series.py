"""Series: scans timed one after the other; what each leaves is kept at once, what an earlier run left is removed."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

from app.errors import SetupError
from app.files.cases import ENDINGS, case_name, identity, mask_name
from evaluation.efficiency.curves import draw_curves
from evaluation.efficiency.machine import busy_percent
from evaluation.efficiency.table import COLUMNS, write_rows, write_samples
from evaluation.efficiency.timing import DONE, CaseTimer, TimedCase, workspace
from evaluation.shared.own_files import refuse_foreign
from evaluation.shared.protocol import MEGABYTE

WATCHED_SECONDS = 0.2  # for what else is running, before each case
TABLE, SUMMARY = "efficiency.csv", "summary.txt"
MASKS = "masks"
FOLDERS = (MASKS, "curves", "samples", "logs")


def time_all(scans: list[Path], timer: CaseTimer, out: Path, mark: str) -> list[TimedCase]:
    """Every scan in turn; what each leaves is kept in `out` at once, so that an interrupted run keeps what it has.

    What an earlier run left is removed. SetupError where anything else is in the way.
    """
    _clear(out, scans)
    for name in FOLDERS:
        (out / name).mkdir(parents=True, exist_ok=True)
    found: list[TimedCase] = []
    for scan in scans:
        kept = out / MASKS / mask_name(scan)
        busy = busy_percent(WATCHED_SECONDS)
        with workspace(out) as place:
            case = replace(timer(scan, place), other_load=busy)
            found.append(case)
            write_rows(found, out / TABLE)  # first: what it names is ours to remove
            if case.status == DONE:
                shutil.move(place.outputs / kept.name, kept)
            shutil.move(place.log, out / "logs" / f"{case_name(scan)}.txt")
        write_samples(case.run, out / "samples" / f"{case_name(scan)}.csv")
        draw_curves(case, out / "curves" / f"{case_name(scan)}.png")
        memory = case.run.peak_memory / MEGABYTE
        note = f" ({case.note})" if case.note else ""
        print(f"{mark}{scan.name}: {case.run.seconds:.2f} s, {memory:.0f} MB, {case.status}{note}", flush=True)
    return found


def _clear(out: Path, scans: list[Path]) -> None:
    """Removes what an earlier run left, which would be scored along with ours: what its table names, and no other file.

    SetupError, before anything is removed, where something else is there: a mask that was changed since, or is to be
    timed, too.
    """
    refuse_foreign(out / TABLE, ",".join(COLUMNS), out / SUMMARY)
    left = {path for name in _earlier_cases(out / TABLE) for path in _files(out, name)}
    for name in FOLDERS:
        folder = out / name
        inside = [path for path in folder.glob("*") if path not in left or path.is_dir()]
        if others := [folder] if folder.is_symlink() or folder.is_file() else inside:
            raise SetupError(f"{others[0]}: exists and is not of an earlier run; choose another --out, or move it away")
    inputs = {identity(scan) for scan in scans} - {None}
    for path in sorted(left):
        if identity(path) in inputs:
            raise SetupError(f"{path}: is to be timed, and of an earlier run, which is removed; choose another --out")
        if path.parent.name == MASKS and path.exists() and path.stat().st_mtime > (out / TABLE).stat().st_mtime:
            raise SetupError(f"{path}: was changed since the earlier run; choose another --out, or move it away")
    for path in (*left, out / SUMMARY, out / TABLE):
        path.unlink(missing_ok=True)


def _earlier_cases(table: Path) -> list[Path]:
    if not table.exists():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        names = [Path(row["Name"]).name for row in csv.DictReader(file)]
    return [Path(name) for name in names if name.lower().endswith(ENDINGS)]


def _files(out: Path, scan: Path) -> list[Path]:
    """What a case leaves, by the name of its scan."""
    endings = {"curves": ".png", "samples": ".csv", "logs": ".txt"}
    others = [out / folder / f"{case_name(scan)}{ending}" for folder, ending in endings.items()]
    return [out / MASKS / mask_name(scan), *others]
