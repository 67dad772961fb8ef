"""Time cases: `python -m evaluation.time_cases --image team.tar.gz --inputs DIR --out DIR`. As the organisers time.

One case at a time in an empty folder, one fresh container for each by their command, the clock from before it until it
exits; every tenth of a second the container's own memory and CPU. OUT gets masks/, efficiency.csv with the organisers'
columns and ours, summary.txt, curves/ (PNG), samples/ and logs/. --local measures `python -m app` without a container.

Exit status: 0 all done, 1 some cases failed (each has its row), 2 nothing could be measured.

Example: python -m evaluation.time_cases --image viscera --inputs ../shared/cases --out build/times
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from app.errors import SetupError
from evaluation.containers import Engine, run_case
from evaluation.efficiency import DONE, Efficiency, summary, write_rows, write_samples
from evaluation.efficiency_plot import draw_curves
from evaluation.measure import MEGABYTE, Run, exit_delays, measure
from evaluation.processes import ProcessTree, kill_tree
from evaluation.protocol import MASK_SUFFIX, MEMORY, SCAN_SUFFIX

LOCAL = "local process, not the container"
DELAYS = 20  # readings of our own share of a time
PROJECT = Path(__file__).parents[1]


def scan_paths(inputs: Path) -> list[Path]:
    """Scans of a folder by name, or the one file. Where any is called NAME_0000.nii.gz, the others are no scans."""
    if inputs.is_file():
        return [inputs]
    files = sorted(path for path in inputs.glob(f"*{MASK_SUFFIX}") if not path.name.startswith("."))
    scans = [path for path in files if path.name.endswith(SCAN_SUFFIX)] or files
    if not scans:
        raise SetupError(f"{inputs}: no scans NAME{SCAN_SUFFIX} here")
    return scans


def mask_name(scan: Path) -> str:
    """What the organisers look for: `X_0000.nii.gz` gives `X.nii.gz`, and so does `X.nii.gz`."""
    return scan.name.removesuffix(SCAN_SUFFIX).removesuffix(MASK_SUFFIX) + MASK_SUFFIX


def container_case(
    engine: Engine,
    name: str,
    *,
    memory: str = MEMORY,
    network: bool = False,
    cpus: str | None = None,
    limit: float | None = None,
) -> Callable[[Path, Path], Efficiency]:
    """A function from scan and workspace to what a container of this image took for it."""
    image = engine.image(name)

    def case(scan: Path, workspace: Path) -> Efficiency:
        found = run_case(engine, image, scan, workspace, memory=memory, network=network, cpus=cpus, limit=limit)
        return judged(scan, found.run, workspace, found.source, out_of_memory=found.out_of_memory)

    return case


def local_case(limit: float | None) -> Callable[[Path, Path], Efficiency]:
    """The same through `python -m app`, in a fresh process."""

    def case(scan: Path, workspace: Path) -> Efficiency:
        outputs = workspace / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir(parents=True)
        command = [sys.executable, "-m", "app", "--inputs", str(scan.resolve()), "--outputs", str(outputs.resolve())]
        log = workspace / "log.txt"
        run = measure(command, lambda process: ProcessTree(process).usage, kill_tree, log, limit=limit, folder=PROJECT)
        return judged(scan, run, workspace, LOCAL, out_of_memory=False)

    return case


def judged(scan: Path, run: Run, workspace: Path, source: str, *, out_of_memory: bool) -> Efficiency:
    """What became of a case: done only if it ended by itself, without an error, and left the mask."""
    name = mask_name(scan)
    if run.timed_out:
        status = "time limit"
    elif out_of_memory:
        status = "out of memory"
    elif run.status:
        status = f"exit status {run.status}"
    elif not (workspace / "outputs" / name).is_file():
        status = "no mask"
    else:
        return Efficiency(scan.name, run, DONE, source)
    lines = (workspace / "log.txt").read_text(errors="replace").split("\n")
    note = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return Efficiency(scan.name, run, status, source, note)


def time_all(scans: list[Path], case: Callable[[Path, Path], Efficiency], out: Path, mark: str) -> list[Efficiency]:
    """Every scan in turn; what each leaves is kept in `out` at once, so that an interrupted run keeps what it has."""
    for name in ("masks", "curves", "samples", "logs"):
        (out / name).mkdir(parents=True, exist_ok=True)
    found: list[Efficiency] = []
    # beside what is kept: moved into it rather than copied. The container's user may own what it wrote
    with tempfile.TemporaryDirectory(dir=out, ignore_cleanup_errors=True) as folder:
        workspace = Path(folder)
        for scan in scans:
            result = case(scan, workspace)
            found.append(result)
            stem = mask_name(scan).removesuffix(MASK_SUFFIX)
            target = out / "masks" / mask_name(scan)
            target.unlink(missing_ok=True)  # of an earlier run: a scan that fails today has no mask
            if (mask := workspace / "outputs" / target.name).is_file():
                shutil.move(mask, target)
            shutil.move(workspace / "log.txt", out / "logs" / f"{stem}.txt")
            write_samples(result.run, out / "samples" / f"{stem}.csv")
            draw_curves(result, out / "curves" / f"{stem}.png")
            write_rows(found, out / "efficiency.csv")
            memory = result.run.peak_memory / MEGABYTE
            note = f" ({result.note})" if result.note else ""
            print(f"{mark}{scan.name}: {result.run.seconds:.2f} s, {memory:.0f} MB, {result.status}{note}", flush=True)
    return found


def main() -> None:
    """Parses the arguments, measures, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", help="an archive team.tar.gz, or the name of an image that the engine has")
    what.add_argument("--local", action="store_true", help="`python -m app` in place of a container")
    parser.add_argument("--inputs", type=Path, required=True, help="a folder of scans, or one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--memory", default=MEMORY, help="of a container (default: %(default)s)")
    parser.add_argument("--cpus", help="those a container may use, as --cpuset-cpus has them (default: all)")
    parser.add_argument("--with-network", action="store_true", help="leave out --network none")
    parser.add_argument("--time-limit", type=float, default=600, help="seconds a case may take (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        scans = scan_paths(arguments.inputs)
        limit = arguments.time_limit
        mark = f"[{LOCAL}] " if arguments.local else ""
        if arguments.local:
            found = time_all(scans, local_case(limit), arguments.out, mark)
        else:
            with Engine() as engine:
                case = container_case(
                    engine,
                    arguments.image,
                    memory=arguments.memory,
                    network=arguments.with_network,
                    cpus=arguments.cpus,
                    limit=limit,
                )
                found = time_all(scans, case, arguments.out, mark)
        with tempfile.NamedTemporaryFile() as log:
            delays = exit_delays(DELAYS, Path(log.name))
    except (SetupError, OSError) as error:
        parser.exit(2, f"{error}\n")
    lines = [mark + line for line in summary(found, delays).splitlines()]
    (arguments.out / "summary.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    parser.exit(any(case.status != DONE for case in found))


if __name__ == "__main__":
    main()
