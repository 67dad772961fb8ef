"""Report: one JSON line a case, every key always there, null where unknown."""

import contextlib
import json
import math
from collections.abc import Sequence
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

    spacing_mm: as the header says. spacing_used_mm: what the voxels were taken for. verdict: whether the mask may be
    used, of a case that is done. evidence: what a system that doubts compared (`app.steps.doubt.Evidence`), of the mask
    that was written; null of an empty one. Its agreement is null where the first stage located nothing.
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
    evidence: dict[str, float | None] | None = None
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
        if outcome.evidence is not None:
            told = asdict(outcome.evidence)
            self.evidence = {name: None if value is None else round(value, 4) for name, value in told.items()}
        if (scan := outcome.scan) is None:
            return
        self.spacing_used_mm = [round(mm, 6) for mm in scan.orientation.spacing_in_file(scan.grid)]
        if outcome.box is not None:
            self.box = scan.orientation.box_in_file(outcome.box, scan.grid)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A line of an earlier report, as it stands there."""

    case: str
    status: str
    text: str


class Report:
    """Lines as JSON; a report that cannot be written to any more must not stop the scans.

    kept: what stays of an earlier one. It is written first, so that it is there whenever the run is stopped.
    """

    def __init__(self, file: TextIO, kept: Sequence[Earlier] = ()) -> None:
        self._file = file
        self._kept = {line.case for line in kept}
        self.error: str | None = None
        if kept:
            self._write("".join(f"{line.text}\n" for line in kept))

    def write(self, line: Line) -> None:
        """Adds a line, unless that has failed before; `error` says why. That a case was skipped says less than a line
        that was kept of it."""
        if self.error is None and not (line.status == SKIPPED and line.case in self._kept):
            self._write(line.json() + "\n")

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
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
        return _parsed(file.readline(LONGEST_LINE)) is not None


def earlier_lines(path: Path) -> list[Earlier]:
    """What an earlier report says, without what is no line of ours: its last one may be cut. None if it is no file."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [line for line in map(_parsed, file) if line is not None]


def _parsed(data: bytes) -> Earlier | None:
    try:
        text = data.decode("utf-8")
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not {"case", "input", "output", "status"} <= {*line}:  # in every version
        return None
    return Earlier(str(line["case"]), str(line["status"]), text.strip())


def finite(value: Any) -> Any:
    """The same dicts and lists with None for every number that is none, since JSON has no word for it."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
