"""Report: one JSON line a case, every key always there, null where unknown."""

import contextlib
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from app.notice import Notice, Verdict, heaviest
from app.run.outcome import Outcome

DONE, FAILED, SKIPPED = "done", "failed", "skipped"
LONGEST_LINE = 1 << 20  # bytes read of a file that may be a report


@dataclass(slots=True)
class Line:
    """One case. shape, spacing and box are in the input file's own axis order; box is [[start, stop], ...].

    spacing_mm: as the header says. spacing_used_mm: what the voxels were taken for.
    verdict: whether the mask may be used, of a case that is done.
    """

    case: str
    input: str
    output: str | None
    status: str
    shape: list[int] | None = None
    spacing_mm: list[float] | None = None
    spacing_used_mm: list[float] | None = None
    box: list[list[int]] | None = None
    seconds: dict[str, float] | None = None
    peak_memory_mb: float | None = None
    volume_ml: dict[str, float] | None = None
    verdict: Verdict | None = None
    warnings: list[Notice] = field(default_factory=list)
    error: str | None = None

    def json(self) -> str:
        """The line itself. What JSON has no word for (a spacing that is NaN) is null."""
        return json.dumps(finite(asdict(self)))

    def add(self, outcome: Outcome) -> None:
        """What became known on the way of the case."""
        if outcome.seconds:
            self.seconds = {step: round(seconds, 3) for step, seconds in outcome.seconds.items()}
        self.warnings = outcome.warnings
        self.verdict = heaviest(self.warnings) if self.status == DONE else None
        if outcome.volume_ml is not None:
            self.volume_ml = {name: round(ml, 3) for name, ml in outcome.volume_ml.items()}
        if (scan := outcome.scan) is None:
            return
        self.spacing_used_mm = [round(mm, 6) for mm in scan.orientation.spacing_in_file(scan.grid)]
        if outcome.box is not None:
            self.box = scan.orientation.box_in_file(outcome.box, scan.grid)


class Report:
    """Lines as JSON; a report that cannot be written to any more must not stop the scans."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.error: str | None = None

    def write(self, line: Line) -> None:
        """Adds a line, unless that has failed before; `error` says why."""
        if self.error is not None:
            return
        try:
            self._file.write(line.json() + "\n")
            self._file.flush()
        except OSError as error:
            self.error = error.strerror or str(error)

    def __enter__(self) -> "Report":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def is_report(path: Path) -> bool:
    """Whether the file begins with a line of ours. OSError where it cannot be read."""
    with path.open("rb") as file:
        first = file.readline(LONGEST_LINE)
    try:
        line = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(line, dict) and {"case", "input", "output", "status"} <= {*line}  # in every version


def finite(value: Any) -> Any:
    """The same dicts and lists with None for every number that is none, since JSON has no word for it."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
