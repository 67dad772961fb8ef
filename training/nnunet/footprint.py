"""Footprint: the memory that a process needs for a bundle's largest window, so that a case is refused, not killed.

Measured in a process of its own: what this one has let go of would hide what the network takes.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from app.errors import SetupError
from app.models.bundle import Bundle, load_bundle
from app.models.engine import load_engine
from app.run.resources import peak_memory_mb
from training.nnunet.checkpoint import PROJECT

ENGINE = "openvino-float32"  # not training.export's: torch, which comes along, would be counted


def holds_mb(bundle: Bundle, threads: int) -> int:
    """Peak of a process that compiles the bundle's float32 network and shows it its largest window, in MB.

    SetupError where it does not come to its end.
    """
    done = subprocess.run(
        [sys.executable, "-m", "training.nnunet.footprint", str(bundle.folder.resolve()), str(threads)],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return int(done.stdout)
    if done.returncode < 0:
        raise SetupError(f"{bundle.name}: its window needs more memory than there is here; use a larger machine")
    raise SetupError(f"{bundle.name}: cannot be tried: {(done.stderr.strip().splitlines() or ['no reason'])[-1][:200]}")


def main() -> None:
    """A bundle's folder and the threads to use; prints MB."""
    folder, threads = sys.argv[1:]
    bundle = load_bundle(Path(folder))
    if bundle.window is None:
        raise SetupError(f"{folder}: has no window")
    load_engine(bundle, ENGINE, "f32", int(threads), pinned=False)(np.zeros(bundle.window.largest, np.float32))
    print(round(peak_memory_mb() or 0))


if __name__ == "__main__":
    main()
