"""Mutation: `python -m tests.mutation`. Which faults in `app` the fast tests do not see.

Each mutant (`tests.mutants`) is put into a copy of the project, and a process of its own runs the fast tests there: the
file that mirrors the module and the module's doctests first, then the others that import it, up to the first failure. A
mutant is killed if a test fails or the time limit passes. All 1600 take about half an hour on an idle core; `--share`
takes a sample that is the same for the same seed. Results go into a CSV file as they come; a run that was stopped goes
on. Remove the file to begin anew.

Survivors that no test should hold are explained in docs/MUTATIONS.md. Exit status 1 if there are others.
"""

import argparse
import contextlib
import csv
import importlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.mutants import Mutant, mutants

PROJECT = Path(__file__).parent.parent
COPIED = ("app", "evaluation", "training", "tests", "systems", "weights", "pyproject.toml")
EXPLAINED = PROJECT / "docs" / "MUTATIONS.md"
LIMIT_SECONDS = 60  # all fast tests of app take ten
LIMIT_BYTES = 6 << 30  # a mutant may ask for any array
FIRST = ("pipeline", "command_line")  # they walk the whole way: what the mirror misses is seen here or nowhere
HEAVY = ("numpy", "nibabel", "SimpleITK", "cc3d", "isal.igzip", "openvino", "torch", "pytest")  # imported once
COLUMNS = ("name", "line", "result", "seconds")
KILLED, SURVIVED = "killed", "survived"


# paths from the project's folder, by the module's name, which no two rooms share
SOURCES = {path.stem: path.relative_to(PROJECT) for path in (PROJECT / "app").rglob("*.py") if path.stem[0] != "_"}
TESTS = {
    path.stem.removeprefix("test_"): path.relative_to(PROJECT)
    for path in sorted((PROJECT / "tests" / "app").rglob("test_*.py"))
}


def files_to_run(module: str) -> list[list[str]]:
    """What is run for a mutant of `module`, one list after the other: paths from the project's folder.

    A test file is run if the module that it mirrors imports the mutant's, directly or through others.
    """
    first = [SOURCES[module], *([TESTS[module]] if module in TESTS else [])]
    users = [name for name in TESTS if name != module and module in imported(name)]
    users.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    return [[str(path) for path in first], [str(TESTS[name]) for name in users]]


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of app that a module imports, and what those import; itself included."""
    if module not in SOURCES:  # a test of several
        return frozenset({module})
    text = (PROJECT / SOURCES[module]).read_text()
    names = re.findall(r"^ *from app(?:\.\w+)*\.(\w+) import", text, re.M)
    for line in re.findall(r"^ *from app(?:\.\w+)? import (.+)$", text, re.M):
        names += line.split(", ")
    return frozenset({module}).union(*(imported(name) for name in names if name in SOURCES))


def run_tests(copy: Path, stages: list[list[str]]) -> bool:
    """Whether a test fails (or is stopped) in the copy, in a process of its own; files of a stage run together."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        kill_group(child)  # what a test started and did not end
        return os.waitstatus_to_exitcode(status) != 0
    os.setsid()
    signal.alarm(LIMIT_SECONDS)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    os.chdir(copy)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(PROJECT)))]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    failed = True
    try:
        import pytest

        options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--basetemp", str(copy / "temporary")]
        failed = any(pytest.main([*options, *files]) not in (0, 5) for files in stages if files)
    finally:
        os._exit(failed)


def kill_group(leader: int) -> None:
    """Ends what is left of a process group."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def chosen(modules: Iterable[str], share: float, seed: int) -> list[tuple[str, Mutant]]:
    """The mutants of a run; which ones a share takes depends on each one's name alone, not on the others."""
    found = []
    for module in modules:
        for mutant in mutants(module, (PROJECT / SOURCES[module]).read_text()):
            if random.Random(f"{seed} {mutant.name}").random() < share:
                found.append((module, mutant))
    return found


def read_results(path: Path) -> dict[str, dict[str, str]]:
    """Rows of an earlier run by the mutant's name, the last one counts; none if there was no run."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def prepared(folder: Path) -> Path:
    """The copy that mutants are put into."""
    for name in COPIED:
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder


def run(todo: list[tuple[str, Mutant]], results: Path) -> None:
    """Runs the tests on each mutant, and adds its row to the file. SystemExit if they fail without one."""
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    results.parent.mkdir(parents=True, exist_ok=True)
    is_new = not results.exists()
    with tempfile.TemporaryDirectory() as folder, results.open("a", newline="") as file:
        copy = prepared(Path(folder))
        if todo and run_tests(copy, [["app", "tests/app"]]):
            sys.exit("the fast tests of app fail without a mutant: put that right first")
        # what was compiled in that run stays; a mutant's is not kept, for it might be taken for the next one's: a cache
        # is told by its source's second and size
        sys.dont_write_bytecode = True
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        for number, (module, mutant) in enumerate(todo, 1):
            target = copy / SOURCES[module]
            whole = target.read_text()
            start = time.perf_counter()
            target.write_text(mutant.source)
            result = KILLED if run_tests(copy, files_to_run(module)) else SURVIVED
            target.write_text(whole)
            seconds = f"{time.perf_counter() - start:.1f}"
            writer.writerow({"name": mutant.name, "line": mutant.line, "result": result, "seconds": seconds})
            file.flush()
            if result == SURVIVED:
                print(f"{number} of {len(todo)}, line {mutant.line}: {mutant.name}", flush=True)


def main() -> None:
    """Parses the arguments, runs, prints what survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="of app, by name, e.g. clean (default: all)")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, from 0 to 1 (default: all)")
    parser.add_argument("--seed", type=int, default=1, help="of the share (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="try those again that have survived an earlier run")
    parser.add_argument("--results", type=Path, default=PROJECT / "build" / "mutation.csv", help="default: %(default)s")
    arguments = parser.parse_args()
    names = arguments.modules or sorted(SOURCES)
    wanted = chosen(names, arguments.share, arguments.seed)
    known = read_results(arguments.results)
    retried = {name for name, row in known.items() if row["result"] == SURVIVED} if arguments.again else set()
    run([each for each in wanted if each[1].name in retried or each[1].name not in known], arguments.results)
    known = read_results(arguments.results)
    survivors = [mutant.name for _, mutant in wanted if known[mutant.name]["result"] == SURVIVED]
    explained = {line.strip() for line in EXPLAINED.read_text().splitlines()}
    unexplained = [name for name in survivors if name not in explained]
    killed = len(wanted) - len(survivors)
    print(f"{killed} of {len(wanted)} mutants killed, {killed / max(1, len(wanted)):.1%}; {len(survivors)} survive")
    print("\n".join(["not explained in docs/MUTATIONS.md:", *unexplained] if unexplained else ["all explained"]))
    parser.exit(bool(unexplained))


if __name__ == "__main__":
    main()
