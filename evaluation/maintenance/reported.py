"""Reported: scans of a folder through the whole pipeline, as its report has them."""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

from app.run.command_line import main as segment

Line: TypeAlias = dict[str, Any]
"""Of a report (`app.run.report.Line`), one case."""


def reported(inputs: Path, outputs: Path, system: str) -> list[Line]:
    """A line for each scan of `inputs`, whose masks go into `outputs`; one that failed has its line, too.

    Where nothing could be segmented, or the user stopped it, that has been said: the program ends with app's status.
    """
    report = outputs.with_suffix(".jsonl")
    status = segment(["--inputs", str(inputs), "--outputs", str(outputs), "--report", str(report), "--system", system])
    if status not in (0, 1):
        sys.exit(status)
    return [json.loads(line) for line in report.read_text().splitlines()]


def codes(line: Line) -> str:
    """Of its warnings, in a row."""
    return ", ".join(warning["code"] for warning in line["warnings"])
