"""`python -m app`: the command line."""

import sys

from app.run.command_line import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that the terminal's encoding lacks
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
