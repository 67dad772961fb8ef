import re
import textwrap

import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.system.definition import SYSTEMS, WEIGHTS, Stage, load_system, system_names
from app.system.rules import LargeParts, OrganBox

WHOLE = (SYSTEMS / "viscera.toml").read_text()


@pytest.mark.parametrize("name", system_names())
def test_every_system_here_loads_and_its_bundles_hold_what_it_asks_for(name):
    system = load_system(name)
    assert system.title
    for stage in system.stage.values():
        assert load_bundle(WEIGHTS / stage.bundle).engine_files(stage.engine)


def test_the_default_system():
    system = load_system("viscera")
    assert list(system.stage) == ["locate", "segment"]
    assert (system.stage["locate"].sees, system.stage["segment"].sees) == ("scan", "abdomen")
    assert system.region["abdomen"].of == "locate"
    assert system.region["abdomen"].rule == OrganBox(20, 0.02, 20)
    assert system.stage["segment"].clean[0] == LargeParts(0.2)
    assert system.result.of == "segment"


def test_a_system_that_extends_another_changes_only_what_it_says():
    base, other = load_system("viscera"), load_system("viscera-torchscript")
    assert other.stage["segment"].engine == "torchscript"
    assert other.stage["segment"].bundle == base.stage["segment"].bundle
    assert other.stage["segment"].clean == base.stage["segment"].clean
    assert (other.stage["locate"], other.region) == (base.stage["locate"], base.region)
    assert other.title != base.title


def but(old, new):
    """The default system with one thing changed."""
    assert old in WHOLE
    return WHOLE.replace(old, new, 1)


WORD = re.sub(r"\[\[stage.segment.clean\]\].*(?=\[result\])", "", WHOLE, flags=re.DOTALL)
WORD = WORD.replace('sees = "abdomen"', 'sees = "abdomen"\nclean = ["large-parts"]')
LATE = '[stage.late]\nbundle = "fine"\nengine = "openvino-int8"\nprecision = "f32"\n'
WRONG = [
    ("no title", but("title =", "titel ="), "unknown field titel"),
    ("no stage", but("[stage.locate]", "[stages.locate]"), "unknown field stages"),
    ("no result", but('[result]\nof = "segment"\n', ""), "field result is missing"),
    ("no bundle", but('bundle = "localiser"\n', ""), r"field stage\.locate\.bundle is missing"),
    ("a misspelt field of a stage", but("sees =", "see ="), r"unknown field stage\.segment\.see"),
    ("no such engine", but("openvino-int8", "cuda"), r"stage\.locate: engine must be one of"),
    ("no such precision", but('"f32"', '"f16"'), r"stage\.locate: precision must be one of f32, bf16"),
    (
        "bf16 in torch",
        but('engine = "openvino-int8"\nprecision = "f32" #', 'engine = "torchscript"\nprecision = "bf16" #'),
        r"stage\.locate: precision must be one of f32, found 'bf16'",
    ),
    (
        "a stage that sees nothing known",
        but('sees = "abdomen"', 'sees = "chest"'),
        r"stage\.segment\.sees names no region",
    ),
    (
        "a stage that sees what comes later",
        but('of = "locate"', 'of = "segment"'),
        r"stage\.segment\.sees: region abdomen",
    ),
    ("a region of no stage", but('of = "locate"', 'of = "look"'), r"region\.abdomen\.of names no stage: 'look'"),
    ("a region of a number", but('of = "locate"', "of = 3"), r"field region\.abdomen\.of must name a stage"),
    (
        "a region that is none",
        but("[region.abdomen]", "[region]\nabdomen = 3\n[region.other]"),
        r"region\.abdomen\.of must",
    ),
    ("no such rule of a region", but('"organ-box"', '"liver-box"'), r"region\.abdomen\.rule must be one of organ-box"),
    ("a region without a rule", but('rule = "organ-box"\n', ""), r"region\.abdomen\.rule must be one of .* found None"),
    ("a misspelt setting", but("margin_mm", "margin"), r"unknown field region\.abdomen\.margin"),
    ("a setting too few", but("margin_mm = 20\n", ""), r"field region\.abdomen\.margin_mm is missing"),
    ("a negative margin", but("margin_mm = 20", "margin_mm = -1"), r"region\.abdomen: margin_mm must be zero or more"),
    ("a margin that is no number", but("margin_mm = 20", "margin_mm = nan"), r"margin_mm must be a finite number"),
    ("a margin in words", but("margin_mm = 20", 'margin_mm = "20"'), r"margin_mm must be a number"),
    ("a share above one", but("min_share = 0.2", "min_share = 2"), r"stage\.segment\.clean\[0\]: min_share must be"),
    (
        "a share of true",
        but("min_share = 0.2", "min_share = true"),
        r"clean\[0\]\.min_share must be a number, found True",
    ),
    (
        "no such rule of cleaning",
        but('"large-parts"', '"largest"'),
        r"stage\.segment\.clean\[0\]\.rule must be one of large",
    ),
    ("cleaning by a word", WORD, r"stage\.segment\.clean\[0\] must be a table"),
    (
        "a result of no stage",
        but('[result]\nof = "segment"', '[result]\nof = "fine"'),
        r"result\.of names no stage and no merge: 'fine'",
    ),
    ("a misspelt field of the result", but("[result]\nof =", "[result]\nfrom ="), r"unknown field result\.from"),
    ("a stage that nobody uses", WHOLE + LATE, "late is used by nothing"),
    (
        "a region that nobody sees",
        WHOLE + '[region.idle]\nof = "segment"\nrule = "organ-box"\nmin_component_ml = 1\n'
        "min_component_share = 1\nmargin_mm = 1\n",
        "idle is used by nothing",
    ),
    ("a stage called scan", WHOLE + LATE.replace("late", "scan"), "'scan' cannot be the name"),
    ("a stage of odd letters", WHOLE + LATE.replace("stage.late", 'stage."a b"'), "'a b' cannot be the name"),
    ("one name for two things", WHOLE + LATE.replace("late", "abdomen"), "abdomen names two of a stage, a region and"),
    (
        "a bundle that is not there",
        but('bundle = "localiser"', 'bundle = "nowhere"'),
        r"field stage\.locate\.bundle: .*nowhere/bundle\.json: cannot be read",
    ),
    ("a bundle of two lines", but('bundle = "localiser"', 'bundle = "a\\nb"'), r"stage\.locate\.bundle: .*a b/bundle"),
    (
        "an engine that the bundle has not",
        but('engine = "openvino-int8"', 'engine = "torchscript"'),
        r"field stage\.locate\.engine: localiser has only openvino-float32, openvino-int8",
    ),
    (
        "an endless margin",
        but("margin_mm = 20", "margin_mm = 1e308"),
        "margin_mm must be zero or more, 1000000 at most",
    ),
    ("no words for a title", re.sub("title = .*", 'title = ""', WHOLE), "field title must be one line"),
    ("a title of two lines", re.sub("title = .*", r'title = "a\\nb"', WHOLE), "field title must be one line"),
    ("a field of two lines", but("title =", '"a\\nb" = 1\ntitle ='), "unknown field a b"),
    ("too deep", "a = " + "[" * 100_000, "not TOML: maximum recursion"),
    ("half a file", "[stage", "not TOML"),
    ("itself", 'extends = "mine"', "goes round in a circle"),
    ("no base", 'extends = "nobody"', r"nobody\.toml: cannot be read"),
    ("a path for a base", 'extends = "papers/viscera"', "extends must name a file"),
    ("a number for a base", "extends = 3", "extends must name a file"),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(text, said, id=name) for name, text, said in WRONG])
def test_a_wrong_field_is_named_with_its_file(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    (tmp_path / "viscera.toml").write_text(WHOLE)
    with pytest.raises(SetupError, match=message) as caught:
        load_system(str(path))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SetupError, match=r"known systems are .*viscera-float32"):
        load_system("viscerra")


def test_the_ends_of_what_may_be_chosen():
    for precision in ("f32", "bf16"):
        assert Stage("b", "openvino-float32", precision).sees == "scan"
    assert Stage("b", "torchscript", "f32").clean == ()


def test_one_stage_that_sees_the_scan_is_a_system(tmp_path):
    """As `systems/README.md` has it, with a bundle that is there."""
    example = re.search(r"\n    title = .*?(?=\n\n## )", (SYSTEMS / "README.md").read_text(), re.DOTALL)[0]
    path = tmp_path / "one.toml"
    path.write_text(textwrap.dedent(example).replace('"team"', '"fine"'))
    system = load_system(str(path))
    assert (list(system.stage), system.region, system.result.of) == (["segment"], {}, "segment")
