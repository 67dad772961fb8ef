"""`python -m app`: the command line."""

import os
import sys
from pathlib import Path

from app.run import command_line


def main() -> int:
    """The program as a process of its own; returns its exit status."""
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that the terminal's encoding lacks
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    return command_line.main()


def _open_what_is_closed() -> None:
    """Streams that were closed by the caller (`>&-`) lead nowhere, so that what is printed has a place.

    Their numbers are taken, too: else a mask would have one, and whatever a library prints would go into it.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # as long as the program


if __name__ == "__main__":
    sys.exit(main())
