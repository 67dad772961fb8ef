"""System figures: what a system makes of scans with masks, each a process of its own, and the table of all systems."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from app.errors import SetupError
from app.files.cases import case_name
from app.system import definition
from app.system.catalogue import FILE_NAME, Entry, Measured, entries, json_table, read_measured, size_mb, weights_of
from app.system.definition import EVERY, Stage, load_system, mask_labels, read_system
from app.system.rules import LOCATING, MERGING, WALKING, Rule
from evaluation.efficiency.machine import QUIET_PERCENT, describe
from evaluation.efficiency.series import MASKS, time_all
from evaluation.efficiency.timing import DONE, local_timer, scan_paths
from evaluation.scores.scoring import score_folders
from evaluation.scores.summary import summarise
from evaluation.shared.protocol import MEGABYTE, ORGANS
from evaluation.shared.spread import spread

PAPERS = "papers.json"
ABLATIONS = "ablations"  # a folder beside the systems: what their tables compare, by title
TABLES = "tables.json"
BEGIN, END = "<!-- measured: python -m evaluation.systems writes from here -->", "<!-- measured: to here -->"
HEAD = ("system", "locates", "runs", "merges", "MB", "s", "peak MB", "DSC here", "NSD here", "its paper reports")
COMPARED = ("system", "", "MB", "s", "peak MB", "DSC here", "NSD here")
README = "README.md"
NOTHING, NOT_MEASURED, NOT_QUIET = "-", "not measured", "\\*"
IN_WORDS = {"openvino-int8": "INT8", "torchscript": "TorchScript"}
RULE_NAMES: dict[type[Rule], str] = {
    **{kind: name for name, kind in LOCATING.items()},
    **{kind: name for name, kind in WALKING.items()},
    **{kind: name for name, kind in MERGING.items()},
}


def measure_system(name: str, data: Path, out: Path, limit: float | None) -> tuple[Measured, list[str]]:
    """Figures of a system on the scans in `data`, scored on the 13 organs, and warnings; masks and times are in `out`.

    SetupError where it cannot be run, has other organs in other places, or does no scan at all.
    """
    system = load_system(name)
    if (labels := mask_labels(system)[1 : len(ORGANS) + 1]) != ORGANS:
        raise SetupError(f"{name}: labels 1 to {len(labels)} are not the challenge's organs, which alone are scored")
    found = time_all(scan_paths(data), local_timer(limit, "--system", name), out, f"{name}: ")
    done = [case for case in found if case.status == DONE]
    if not done:
        raise SetupError(f"{name}: no scan was done; the first one: {found[0].status}: {found[0].note}")
    scores, warnings = score_folders(data, out / MASKS)
    present = summarise(name, scores).present
    machine = describe()
    measured = Measured(
        mean_dice=_rounded(present.dsc.mean, 4),
        mean_nsd=_rounded(present.nsd.mean, 4),
        seconds=_rounded(spread([case.run.seconds for case in done]).median, 2),
        peak_memory_mb=_rounded(max(case.run.peak_memory for case in done) / MEGABYTE, 0),
        size_mb=_rounded(size_mb(system), 1),
        cases=tuple(case_name(Path(case.name)) for case in found),
        failed=tuple(case_name(Path(case.name)) for case in found if case.status != DONE),
        cpu=f"{machine['processor']}, {machine['instructions']}",
        other_load=_rounded(max(case.other_load for case in found), 1),
        weights=weights_of(system),
    )
    return measured, warnings


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def record(name: str, measured: Measured) -> None:
    """Into the file that `--list-systems` reads, in place of what it had of this system."""
    tables = {key: _known(entry) for key, entry in (read_measured() | {name: measured}).items()}
    path = definition.SYSTEMS / FILE_NAME
    path.write_text(json.dumps(tables, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _known(measured: Measured) -> dict[str, object]:
    return {name: value for name, value in asdict(measured).items() if value not in (None, (), "")}


def ablation_names() -> list[str]:
    """The systems that are there only to be compared with others, as `load_system` finds them."""
    return [f"{ABLATIONS}/{path.stem}" for path in sorted((definition.SYSTEMS / ABLATIONS).glob("*.toml"))]


def write_tables() -> None:
    """The table of all systems, and those of ablations where there are some, each into its folder's README.md."""
    write_table(definition.SYSTEMS / README, table())
    if ablation_names():
        write_table(definition.SYSTEMS / ABLATIONS / README, ablation_tables())


def write_table(document: Path, text: str, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """`text` into a document, between its two marks. SetupError where it has none."""
    first, last = marks
    before, begin, rest = document.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SetupError(f"{document}: has no lines {first} and {last}, between which the table goes")
    document.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}", encoding="utf-8")


def table() -> str:
    """All systems, those of the project first, then those of papers in the papers' order."""
    papers = json_table(definition.SYSTEMS / PAPERS)
    lines = [table_line(HEAD), table_line(("---",) * len(HEAD))]
    for entry in sorted(entries(), key=lambda entry: (papers.get(entry.name, ""), entry.name)):
        lines.append(table_line((f"`{entry.name}`", *_parts(entry), *_figures(entry), papers.get(entry.name, NOTHING))))
    return "\n".join(lines)


def ablation_tables() -> str:
    """A table for every title of `tables.json`, of the systems that it lists."""
    tables = json_table(definition.SYSTEMS / ABLATIONS / TABLES)
    return "\n\n".join(f"**{title}**\n\n{_compared(names)}" for title, names in tables.items())


def _compared(names: list[str]) -> str:
    lines, measured = [table_line(COMPARED), table_line(("---",) * len(COMPARED))], read_measured()
    for entry in entries(names):
        if entry.error and (known := measured.get(entry.name)):  # its bundle was there when it was measured
            entry = replace(entry, size_mb=known.size_mb, measured=known)
        lines.append(table_line((f"`{Path(entry.name).name}`", entry.title or NOTHING, *_figures(entry))))
    return "\n".join(lines)


def table_line(cells: Sequence[str]) -> str:
    """Of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def _parts(entry: Entry) -> tuple[str, str, str]:
    """What locates, what runs and what merges."""
    try:
        system = read_system(entry.name)
    except SetupError:
        return "cannot be read", NOTHING, NOTHING
    locating = [f"{_rule(region.rule)} of {region.of}" for region in system.region.values()]
    merging = [_rule(merge.rule) for merge in system.merge.values()]
    running = [_stage(stage) for stage in system.stage.values()]
    return ", ".join(locating) or NOTHING, ", ".join(running), ", ".join(merging) or NOTHING


def _stage(stage: Stage) -> str:
    arithmetic = IN_WORDS.get(stage.engine, "bf16" if stage.precision == "bf16" else "float32")
    walk = "" if stage.walk == EVERY else f", {_rule(stage.walk)}"
    return f"{' + '.join(stage.bundles)} ({arithmetic}{walk})"


def _rule(rule: Rule) -> str:
    return RULE_NAMES[type(rule)]


def _figures(entry: Entry) -> tuple[str, str, str, str, str]:
    """MB, seconds, peak memory, DSC, NSD."""
    size = NOTHING if entry.size_mb is None else f"{entry.size_mb:.1f}"
    if (measured := entry.measured) is None:
        return size, NOTHING, NOTHING, NOT_MEASURED, NOTHING
    busy = NOT_QUIET if (measured.other_load or 0) > QUIET_PERCENT else ""
    failed = f" ({len(measured.failed)} of {len(measured.cases)} failed)" if measured.failed else ""
    return (
        size,
        _figure(measured.seconds, ".1f") + busy,
        _figure(measured.peak_memory_mb, ".0f"),
        _figure(measured.mean_dice, ".3f") + failed,
        _figure(measured.mean_nsd, ".3f"),
    )


def _figure(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
