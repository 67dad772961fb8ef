"""Command line: parses arguments, walks the cases, prints and reports. No step of a case is done here."""

import argparse
import contextlib
import difflib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app import __version__
from app.errors import CaseError, SetupError
from app.files.cases import Case, find_cases, identity, passed_over
from app.files.read import read_header
from app.files.write import can_rename
from app.notice import Verdict
from app.run import resources
from app.run.listing import as_json, as_text, label_text
from app.run.outcome import Outcome
from app.run.pipeline import Models, load_models, run_case
from app.run.progress import Progress
from app.run.report import DONE, FAILED, SKIPPED, Earlier, Line, Report, earlier_lines, is_report
from app.system.catalogue import entries
from app.system.definition import System, load_system, mask_labels, system_names

ALL_DONE, SOME_FAILED, UNUSABLE, SOME_DOUBTED = 0, 1, 2, 3
MOST_THREADS = 4096

USAGE = """\
{program} --inputs DIR --outputs DIR [option ...]
       {program} --list-systems [--json]"""
EPILOG = """\
examples:
  {program} --inputs scans --outputs masks
  {program} --inputs scan_0000.nii.gz --outputs scan_mask.nii.gz --report report.jsonl

A scan X_0000.nii.gz, X.nii.gz or X.nii gives X.nii.gz, a mask of the same shape and position.{labels}

exit status: 0 all done, 1 some scans failed (each has its line), 2 unusable arguments or folders, 3 all done, and with
--strict, some masks are not to be used without a look at them.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What one run of the program was asked for."""

    system: System
    threads: int
    memory_limit: int | None
    skip_existing: bool
    overwrite: bool
    renames: bool
    strict: bool
    traceback: bool


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; returns its exit status. Wrong options end it with status 2 (argparse)."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(parser.unrecognized(unknown))
    _check_options(options, parser)
    signal.signal(signal.SIGTERM, _stop)  # so that nothing half-written stays when a container is stopped
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nor when a terminal is closed; nohup would have it ignored
        signal.signal(signal.SIGHUP, _stop)
    try:
        return _list(options) if options.list_systems else _run(options)
    except SetupError as error:
        print(f"viscera: {error}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print("viscera: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


class _Parser(argparse.ArgumentParser):
    """Its help names the labels of the default system, which is read for nothing else; an option that it does not know
    may be a mistyped one."""

    def format_help(self) -> str:
        self.epilog = EPILOG.format(program=self.prog, labels=_labels(self.get_default("system")))
        return super().format_help()

    def unrecognized(self, words: list[str]) -> str:
        """Names the options among them and the nearest that are known; what followed a mistyped one is left out."""
        names = [word.split("=")[0] for word in words if word.startswith("-")]
        near = [match for name in names for match in difflib.get_close_matches(name, self._option_string_actions, n=1)]
        meant = f"; did you mean {', '.join(dict.fromkeys(near))}?" if near else ""
        return f"unrecognized arguments: {' '.join(names or words)}{meant}"


def _labels(name: str) -> str:
    try:
        return f" By system {name}:\n{label_text(mask_labels(load_system(name)))}."
    except SetupError as error:
        return f"\nThe default system cannot be run: {error}"


def _parser() -> _Parser:
    program = "viscera" if Path(sys.argv[0]).name == "viscera" else "python -m app"  # as it was called
    parser = _Parser(
        prog=program,
        usage=USAGE.format(program=program),
        description="Segments abdominal organs in CT scans, on a CPU and without network.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--inputs", type=_path, metavar="DIR", help="folder of .nii and .nii.gz scans, or one such file")
    add(
        "--outputs",
        type=_path,
        metavar="DIR",
        help="folder for the masks; made if it is not there; or, of one scan, the mask's own path, ending in .nii.gz",
    )
    add(
        "--system",
        default=os.environ.get("VISCERA_SYSTEM", "viscera"),
        metavar="NAME",
        help=f"{', '.join(system_names())}, or the path of a .toml file (default: %(default)s)",
    )
    add("--threads", type=_threads, metavar="N", help="default: what the container's CPU quota and affinity allow")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite",
        action="store_true",
        help="replace masks that something else wrote, too (default: only those that Viscera wrote); never an input",
    )
    existing.add_argument("--skip-existing", action="store_true", help="leave scans alone whose mask exists")
    add(
        "--report",
        type=_path,
        metavar="FILE",
        help="write one JSON line a case into this file, which is new or an earlier report",
    )
    add("--strict", action="store_true", help="exit status 3 where a mask of this run has another verdict than good")
    add("--traceback", action="store_true", help="for a report of a bug: print where a scan failed on stderr, too")
    add("--list-systems", action="store_true", help="what --system may name, with what was measured; runs nothing")
    add("--json", action="store_true", help="with --list-systems: as one JSON list")
    add("--version", action="version", version=f"viscera {__version__}")
    return parser


def _check_options(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """What argparse cannot say; ends the program with status 2."""
    missing = [name for name in ("inputs", "outputs") if getattr(options, name) is None]
    if missing and not options.list_systems:
        parser.error(f"the following arguments are required: {', '.join(f'--{name}' for name in missing)}")
    if options.json and not options.list_systems:
        parser.error("--json goes with --list-systems")


def _list(options: argparse.Namespace) -> int:
    text = (as_json if options.json else as_text)(entries(), options.system)
    try:
        print(text, flush=True)
    except OSError:  # nobody listens any more (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ALL_DONE


def _run(options: argparse.Namespace) -> int:
    cases, others = find_cases(options.inputs, options.outputs)
    settings = Settings(
        load_system(options.system),
        options.threads or resources.thread_count(),
        resources.usable_memory(),
        options.skip_existing,
        options.overwrite,
        _check_writable(cases[0].target.parent),
        options.strict,
        options.traceback,
    )
    if others:
        with contextlib.suppress(OSError):  # nobody listens any more
            print(f"passed over: {passed_over(others)}", file=sys.stderr, flush=True)
    with _open_report(options.report, cases, carry_on=settings.skip_existing) as report, ThreadPoolExecutor(1) as pool:
        # models are loaded beside the reading of the first scan: that uses the disk and zlib, they the compiler
        loading = pool.submit(_load, settings)
        failed = doubted = False
        with Progress(len(cases)) as progress:
            for case in cases:
                line = _one_case(case, settings, loading.result)
                failed = failed or line.status == FAILED
                doubted = doubted or line.verdict not in (None, Verdict.GOOD)
                report.write(line)
                progress.show(line)
        if isinstance(broken := loading.exception(), SetupError):  # said even where no scan came as far as that
            raise broken
    if report.error is not None:
        raise SetupError(f"{options.report}: the report is not whole: {report.error}; the masks are")
    if failed:
        return SOME_FAILED
    return SOME_DOUBTED if doubted and settings.strict else ALL_DONE


def _load(settings: Settings) -> Models:
    quota = resources.cpu_quota()
    pinned = quota is None or quota >= resources.available_cpus()
    return load_models(settings.system, threads=settings.threads, pinned=pinned)


def _one_case(case: Case, settings: Settings, models: Callable[[], Models]) -> Line:
    """The case's line; whatever goes wrong with the scan becomes its error. SetupError, which ends the run, passes."""
    line = Line(case.name, str(case.source), None, FAILED)
    outcome = Outcome()
    own_peak = resources.reset_peak_memory()
    start = time.perf_counter()
    try:
        if case.clash is not None:
            raise CaseError(case.clash)
        if settings.skip_existing and _has_content(case.target):
            line.status = SKIPPED
        elif case.label is not None:
            raise CaseError(case.label)
        else:
            _segment(case, settings, models, outcome)
            line.status = DONE
        line.output = str(case.target)
    except SetupError:
        raise
    except Exception as error:
        line.error = " ".join(_said(error, case.source).split())  # one line, whatever a library had to say
        if settings.traceback:
            with contextlib.suppress(OSError):  # nobody listens any more
                traceback.print_exception(error)
    if outcome.seconds:
        outcome.seconds["total"] = time.perf_counter() - start
        line.peak_memory_mb = resources.peak_memory_mb() if own_peak else None
    line.add(outcome)
    _add_header(line, case.source, outcome)
    return line


def _segment(case: Case, settings: Settings, models: Callable[[], Models], outcome: Outcome) -> None:
    run_case(
        case.source,
        case.target,
        settings.system,
        models,
        outcome,
        threads=settings.threads,
        memory_limit=settings.memory_limit,
        overwrite=settings.overwrite,
        renames=settings.renames,
    )


def _said(error: Exception, source: Path) -> str:
    """What is wrong with a case; of an error that nobody foresaw also where in app it arose."""
    if isinstance(error, CaseError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{source.name}: not enough memory; raise the container's limit"
    name, what = source.name, str(error)
    if isinstance(error, OSError):
        name = Path(error.filename).name if isinstance(error.filename, str) else name
        what = error.strerror or what
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_ours(frame.f_globals)]
    frame, number = frames[-1]
    place = f"{frame.f_globals['__name__']}.{frame.f_code.co_name} line {number}"
    return f"{name}: {type(error).__name__} in {place}: {what}"


def _is_ours(module: dict[str, object]) -> bool:
    return str(module.get("__name__")).startswith("app.")


def _has_content(path: Path) -> bool:
    """Whether a mask is there; a name too long to exist is none, which writing will say."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _add_header(line: Line, source: Path, outcome: Outcome) -> None:
    """Shape and spacing as in the file, also of one that could not be read, as far as it has a header at all."""
    try:
        header = read_header(source) if outcome.scan is None else outcome.scan.header
        rank = min(7, max(0, int(header["dim"][0])))
        line.shape = [int(n) for n in header["dim"][1 : rank + 1]]
        line.spacing_mm = [round(float(s), 6) for s in header["pixdim"][1 : rank + 1]]
    except CaseError:
        return


def _check_writable(folder: Path) -> bool:
    """Whether a mask can be renamed into its place there. SetupError where none can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return can_rename(folder)
    except OSError as error:
        raise SetupError(f"{folder}: cannot be written to: {error.strerror}") from error


def _open_report(path: Path | None, cases: list[Case], *, carry_on: bool) -> Report:
    """carry_on: an earlier report keeps what stays true."""
    try:
        kept = []
        if path is not None:
            _check_report(path, cases)
            kept = _kept(path, cases) if carry_on else []
        return Report(Path(path or os.devnull).open("w", encoding="utf-8"), kept)
    except OSError as error:
        raise SetupError(f"{path}: the report cannot be written: {error.strerror}") from error


def _kept(path: Path, cases: list[Case]) -> list[Earlier]:
    """Lines of an earlier report that stay: of cases that are not in this run, and of masks that are there."""
    here = {case.name: case for case in cases}
    there = {name for name, case in here.items() if case.clash is None and _has_content(case.target)}
    return [
        line for line in earlier_lines(path) if line.case not in here or (line.case in there and line.status == DONE)
    ]


def _check_report(path: Path, cases: list[Case]) -> None:
    """SetupError where a report must not go; OSError where it cannot."""
    if os.path.realpath(path) in {os.path.realpath(case.target) for case in cases} or _is_a_source(path, cases):
        raise SetupError(f"{path}: the report would overwrite a scan or a mask; choose another file")
    if path.is_file() and path.stat().st_size and not is_report(path):
        raise SetupError(f"{path}: exists and is no report of viscera; choose another file for the report")


def _is_a_source(path: Path, cases: list[Case]) -> bool:
    there = identity(path)
    return there is not None and there in {identity(case.source) for case in cases}


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {MOST_THREADS}, found {text!r}")
    return int(text)


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def _stop(number: int, _frame: object) -> None:
    sys.exit(128 + number)
