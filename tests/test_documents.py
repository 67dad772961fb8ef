"""What the documents promise is held against the sources: options, warnings, fields, links, commands, examples."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.models.bundle import Bundle, Intensity, Resampling, ScanIntensity, Window
from app.run import command_line, pipeline
from app.system.definition import SYSTEMS, Stage, load_system, mask_labels, system_names
from app.system.rules import CLEANING, LOCATING, MERGING, WALKING
from app.system.toml_file import read_toml
from evaluation.maintenance.system_figures import BEGIN, END
from evaluation.maintenance.system_figures import table as system_table
from tests.files import body_phantom, lps_affine, save_nifti
from tests.models import known_models

PROJECT = Path(__file__).parent.parent
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("[a-z]*/*.md")])
OPERATION = PROJECT / "docs" / "operation.md"
OWN_MODEL = PROJECT / "docs" / "own_model.md"
SYSTEMS_README = PROJECT / "systems" / "README.md"
EVALUATION = PROJECT / "evaluation"


def rows(document, head):
    """The lines of the table that begins with this line."""
    _, _, after = document.read_text().partition(f"\n{head}\n")
    assert after, f"{document.name} has no table {head}"
    return after.split("\n\n")[0].splitlines()[1:]


def table(document, head):
    """What stands in code letters in the first cells of a table, row by row."""
    return [re.findall("`([^`]+)`", row.split(" | ")[0]) for row in rows(document, head)]


def test_the_options_are_those_of_the_program(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--help"])
    known = re.findall(r"^  (?:-h, )?(--[\w-]+(?: [A-Z]+)?)", capsys.readouterr().out, re.MULTILINE)
    written = [option for row in table(PROJECT / "README.md", "| option | |") for option in row]
    assert sorted(written) == sorted(known)


def test_the_labels_are_those_of_the_default_system():
    """`0 background` to `13 left kidney`, between bars, in this order."""
    text = (PROJECT / "README.md").read_text()
    labels = mask_labels(load_system("viscera"))
    start = text.index("0 background")
    listed = re.findall(r"(\d+) ([a-z]+(?: [a-z]+)*)", text[start : text.index("left kidney", start) + 11])
    assert [(int(number), name.replace(" ", "_")) for number, name in listed] == list(enumerate(labels))


def warnings_of(path):
    """(code, pattern of the text) of every notice in a module; a text may be in a variable of that name, set before."""
    nodes = sorted(
        (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assign | ast.Call)),
        key=lambda node: node.lineno,
    )
    text = None
    for node in nodes:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "text":
            text = node.value
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Notice":
            code, said = node.args[:2]
            said = text if isinstance(said, ast.Name) else said
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            yield (
                code.value,
                "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in parts),
            )


def test_the_warnings_are_those_that_the_program_can_print():
    known = [warning for path in (PROJECT / "app").rglob("*.py") for warning in warnings_of(path)]
    known += [("", re.escape(text)) for text in re.findall('"warning: (.*)"', (PROJECT / "predict.sh").read_text())]
    written = [
        [(re.findall("`([^`]+)`", cell) or [""])[0] for cell in row.split("|")[1:3]]
        for row in rows(OPERATION, "| code | warning | verdict | what it means | what to do |")
    ]
    assert len(known) == len(written)
    for code, pattern in known:
        assert len([text for word, text in written if word == code and re.fullmatch(pattern, text)]) == 1, pattern


def test_the_fields_of_a_bundle_are_those_that_are_read():
    nested = {"intensity": Intensity, "scan_intensity": ScanIntensity, "resampling": Resampling, "window": Window}
    known = {field.name for field in fields(Bundle)} - {"folder", *nested}  # the folder is where it lies, no field
    known |= {f"{name}.{field.name}" for name, kind in nested.items() for field in fields(kind)}
    written = [field for row in table(OWN_MODEL, "| field | |") for field in row]
    assert sorted(written) == sorted(known)


@pytest.mark.parametrize(
    ("head", "known"),
    [
        ("| rule of a region | its settings | |", LOCATING),
        ("| rule of `clean` | its settings | |", CLEANING),
        ("| rule of `walk` | its settings | |", WALKING),
        ("| rule of a merge | its settings | |", MERGING),
    ],
)
def test_the_rules_are_those_that_a_system_may_name(head, known):
    cells = [line.split("|")[1:3] for line in rows(SYSTEMS_README, head)]
    written = {name.strip(" `"): re.findall(r"`(\w+)`", settings) for name, settings in cells}
    assert written == {name: [field.name for field in fields(rule)] for name, rule in known.items()}


def test_the_systems_are_those_that_are_there():
    titles = {name: read_toml(SYSTEMS / f"{name}.toml").get("title", "") for name in system_names()}
    # a team's may lie beside them
    ours = [name for name in titles if name.startswith("viscera") or titles[name].startswith("paper ")]
    assert sorted(name for row in table(SYSTEMS_README, "| system | |") for name in row) == ours


def test_the_table_of_systems_is_of_what_is_measured():
    """`python -m evaluation.systems` writes it anew; a team's systems may lie beside those in it."""
    text = SYSTEMS_README.read_text()
    written = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].split("\n")
    assert set(written) - {""} <= set(system_table().splitlines())


def test_the_fields_of_a_stage_are_those_that_are_read():
    section = SYSTEMS_README.read_text().partition("**`[stage.NAME]`**")[2].partition("**`[region.NAME]`**")[0]
    assert sorted(re.findall(r"(?m)^\| `(\w+)` \|", section)) == sorted(field.name for field in fields(Stage))


def test_the_rooms_of_evaluation_are_those_that_are_there():
    """Each with its modules, but for the contenders; a command may be named beside them."""
    cells = [line.split(" | ")[:2] for line in rows(EVALUATION / "README.md", "| room | its modules | uses |")]
    written = {room.strip("| `/"): set(re.findall(r"`(\w+)`", modules)) for room, modules in cells}
    modules = [path for path in EVALUATION.glob("*/*.py") if path.stem != "__init__"]
    known = {room: {path.stem for path in modules if path.parent.name == room} for room in written}
    assert written.keys() == {path.parent.name for path in modules}
    commands = {path.stem for path in EVALUATION.glob("*.py")}
    assert {room: names - commands for room, names in written.items()} == known | {"contenders": set()}


def slug(heading):
    """As GitHub makes an anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document):
    links = re.findall(r"\]\(([^)]+)\)", document.read_text())
    for name, _, anchor in (link.partition("#") for link in links if "://" not in link):
        target = document.parent / name if name else document
        assert target.exists(), name
        if anchor:
            assert anchor in map(slug, re.findall("^#+ (.*)$", target.read_text(), re.MULTILINE)), f"{name}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_commands_are_there(document):
    text = document.read_text()
    for name in re.findall(r"python -m ((?:app|evaluation|training|tests)\b[\w.]*)", text):
        place = PROJECT / name.replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name
    for name in re.findall(r"\bsh (?!-)(scripts/\w+|\w+\.sh)", text):
        assert (PROJECT / name).exists(), name


@pytest.mark.parametrize("number", [0, 1])
def test_the_examples_in_python_run(number, tmp_path, monkeypatch, capsys):
    for module in (command_line, pipeline):
        monkeypatch.setattr(module, "load_models", lambda _, *, threads, pinned: known_models())  # noqa: ARG005
    monkeypatch.chdir(tmp_path)
    for folder in ("inputs", "outputs"):
        Path(folder).mkdir()
    save_nifti(Path("inputs/a_0000.nii.gz"), body_phantom((40, 60, 30)), lps_affine((6, 4, 4)))
    examples = re.findall("```python\n(.*?)```", OPERATION.read_text(), re.DOTALL)
    assert len(examples) == 2
    exec(examples[number], {})
    printed, errors = capsys.readouterr()
    assert Path("outputs/a.nii.gz").stat().st_size
    assert re.search(["a done good {'liver': [1-9].* \\[\\] None", r"^[1-9][\d.]+ \[\]$"][number], printed)
    assert errors == ""
