"""Progress: a line a case for a person, and a bar below them on a terminal."""

import os
import sys
from collections import Counter
from typing import Any, TextIO

from app.notice import Verdict
from app.run.report import DONE, FAILED, Line

WORDS = {Verdict.CHECK: "{} to check", Verdict.UNUSABLE: "{} unusable"}  # of masks


class Progress:
    """Lines go to stdout, errors and warnings to stderr; the bar needs tqdm, imported only where it is seen."""

    def __init__(self, cases: int) -> None:
        self._counts: Counter[str] = Counter()
        self._doubted: Counter[Verdict] = Counter()
        self._bar: Any = None
        if sys.stderr.isatty() and cases > 1:
            from tqdm import tqdm

            self._bar = tqdm(total=cases, unit="scan", leave=False)

    def show(self, line: Line) -> None:
        """Prints what became of a case."""
        self._counts[line.status] += 1
        if line.verdict not in (None, Verdict.GOOD):
            self._doubted[line.verdict] += 1
        for warning in line.warnings:
            self._print(f"{line.case}: warning: {warning.text}", sys.stderr)
        if line.status == FAILED:
            self._print(f"{line.case}: failed: {line.error}", sys.stderr)
        else:
            self._print(f"{line.case}: {_summary(line)}", sys.stdout)
        if self._bar is not None:
            self._bar.update()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if (total := self._counts.total()) > 1:
            each = ", ".join(f"{count} {status}" for status, count in self._counts.items())
            doubted = "".join(f", {WORDS[verdict].format(count)}" for verdict, count in self._doubted.items())
            self._print(f"{total} scans: {each}{doubted}", sys.stdout)

    def _print(self, text: str, stream: TextIO) -> None:
        text = text.replace("\n", "\\n")  # a file's name may hold anything, a line is a line
        try:
            if self._bar is None:
                print(text, file=stream, flush=True)
            else:
                self._bar.write(text, file=stream)
        except OSError:  # nobody listens any more (`| head`), or the disk is full: the scans go on
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _summary(line: Line) -> str:
    if line.status != DONE or line.volume_ml is None or line.seconds is None:
        return f"{line.status}, {line.output}"
    found = sum(volume > 0 for volume in line.volume_ml.values())
    doubt = "" if line.verdict in (None, Verdict.GOOD) else f"{line.verdict}: "
    return f"{doubt}{found} of {len(line.volume_ml)} organs, {line.seconds['total']:.1f} s, {line.output}"
