import json
import re
import textwrap

import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.schema import parse
from app.system.definition import (
    SYSTEMS,
    WEIGHTS,
    Merge,
    Region,
    Stage,
    System,
    load_system,
    merged_names,
    system_names,
)
from app.system.rules import (
    CentreFirst,
    EveryWindow,
    Fallback,
    LabelRange,
    LargeParts,
    NearLabel,
    OrganBox,
    Overlay,
    UntilOrgan,
    Without,
)
from app.system.toml_file import read_toml
from tests.models import FINE, table_of
from training.recipe import CHALLENGE_LABELS

ABLATIONS = SYSTEMS / "ablations"
WHOLE = (SYSTEMS / "viscera.toml").read_text()


@pytest.mark.parametrize("name", system_names())
def test_every_system_here_loads_and_its_bundles_hold_what_it_asks_for(name):
    system = load_system(name)
    assert system.title
    for stage in system.stage.values():
        assert load_bundle(WEIGHTS / stage.bundle).engine_files(stage.engine)


@pytest.mark.parametrize("name", [*system_names(), *(f"ablations/{path.stem}" for path in ABLATIONS.glob("*.toml"))])
def test_every_system_here_is_well_formed_whatever_bundles_are_there(name):
    path = SYSTEMS / f"{name}.toml"
    system = parse(System, read_toml(path), path)
    rules = [stage.walk for stage in system.stage.values()]
    rules += [rule for stage in system.stage.values() for rule in stage.clean]
    rules += [entry.rule for entry in (*system.region.values(), *system.merge.values())]
    assert {label for rule in rules for label in rule.named} <= {*CHALLENGE_LABELS[1:], "tumour"}


DOUBT = """
[doubt]
first = "locate"
min_agreement = 0.5
min_lead = 1
min_arrangement = 1
"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('first = "locate"', 'first = "segment"', "field doubt.first must name a stage above the result's"),
        ('first = "locate"', 'first = "elsewhere"', "field doubt.first must name a stage above the result's"),
        ("min_agreement = 0.5", "min_agreement = 2", "doubt: min_agreement must be from 0 to 1, found 2.0"),
        ("min_arrangement = 1", "min_arrangement = -1", "doubt: min_arrangement must be from 0 to 1"),
        ("min_lead = 1", "min_lead = 1\nwidth_mm = [5, 5]", "doubt: width_mm must be two lengths, the shorter first"),
        ("min_lead = 1", 'min_lead = 1\nbelow = [["liver", "tail"]]', "field doubt: no label 'tail' here"),
        ("min_lead = 1", 'min_lead = 1\nbelow = [["liver"]]', "field doubt.below[0] needs 2 values"),
        ("min_lead = 1\n", "", "field doubt.min_lead is missing"),
        ("min_lead = 1", "min_lead = 1\nless_per_mm = -1", "doubt: less_per_mm must be zero or more"),
    ],
)
def test_a_doubt_that_cannot_be_is_refused(tmp_path, before, after, said):
    path = tmp_path / "own.toml"
    kept = WHOLE[: WHOLE.index("[posture]")]
    path.write_text(kept + DOUBT)
    assert load_system(str(path)).doubt is not None
    path.write_text(kept + DOUBT.replace(before, after))
    with pytest.raises(SetupError, match=re.escape(said)):
        load_system(str(path))


def test_relations_are_pairs_of_ids_by_axis():
    doubt = load_system("viscera").doubt
    relations = doubt.relations(CHALLENGE_LABELS)
    assert (1, 3, 2) in relations  # liver right of spleen, x runs to the left
    assert (2, 1, 0) in relations  # right kidney below liver
    assert (11, 5, 1) in relations  # stomach before aorta, y runs to the back
    assert len(relations) == len(doubt.right_of) + len(doubt.below) + len(doubt.before)


def test_tables_of_ablations_name_systems_that_are_there():
    tables = json.loads((ABLATIONS / "tables.json").read_text())
    named = {name for names in tables.values() for name in names}
    assert {name for name in named if not (SYSTEMS / f"{name}.toml").exists()} == set()
    assert {f"ablations/{path.stem}" for path in ABLATIONS.glob("*.toml")} <= named


def test_the_default_system():
    system = load_system("viscera")
    assert list(system.stage) == ["locate", "segment"]
    assert (system.stage["locate"].sees, system.stage["segment"].sees) == ("scan", "abdomen")
    assert system.region["abdomen"].of == "locate"
    assert system.region["abdomen"].rule == OrganBox(20, 0.02, 10, 20)
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
    ("a setting too few", but("margin_mm = 10\n", ""), r"field region\.abdomen\.margin_mm is missing"),
    ("a negative margin", but("margin_mm = 10", "margin_mm = -1"), r"region\.abdomen: margin_mm must be zero or more"),
    (
        "a negative margin along z",
        but("margin_z_mm = 20", "margin_z_mm = -1"),
        r"region\.abdomen: margin_z_mm must be zero or more",
    ),
    ("a margin that is no number", but("margin_mm = 10", "margin_mm = nan"), r"margin_mm must be a finite number"),
    (
        "a negative length",
        but("margin_mm = 10", "margin_mm = 10\nat_least_mm = [1, -1, 1]"),
        r"at_least_mm must be zero",
    ),
    ("a margin in words", but("margin_mm = 10", 'margin_mm = "20"'), r"margin_mm must be a number"),
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
    ("a stage called as a step is", WHOLE + LATE.replace("late", "total"), "'total' cannot be the name"),
    ("a stage of odd letters", WHOLE + LATE.replace("stage.late", 'stage."a b"'), "'a b' cannot be the name"),
    (
        "one name for two things",
        WHOLE + LATE.replace("late", "abdomen"),
        "abdomen names two of a stage, a region and a merge",
    ),
    (
        "a bundle that is not there",
        but('bundle = "localiser"', 'bundle = "nowhere"'),
        r"field stage\.locate\.bundle: .*nowhere/bundle\.json: cannot be read",
    ),
    ("a bundle of two lines", but('bundle = "localiser"', 'bundle = "a\\nb"'), r"stage\.locate\.bundle: .*a b/bundle"),
    (
        "an engine that the bundle has not",
        but('engine = "openvino-int8"', 'engine = "torchscript"'),
        r"field stage\.locate\.engine: localiser has only openvino-int8",
    ),
    (
        "an endless margin",
        but("margin_mm = 10", "margin_mm = 1e308"),
        "margin_mm must be zero or more, 1000000 at most",
    ),
    ("no words for a title", re.sub("title = .*", 'title = ""', WHOLE), "field title must be one line"),
    ("a title of two lines", re.sub("title = .*", r'title = "a\\nb"', WHOLE), "field title must be one line"),
    ("a field of two lines", but("title =", '"a\\nb" = 1\ntitle ='), "unknown field a b"),
    ("too deep", "a = " + "[" * 100_000, "not TOML: maximum recursion"),
    ("half a file", "[stage", "not TOML"),
    ("itself", 'extends = "mine"', "goes round in a circle"),
    ("no base", 'extends = "nobody"', r"mine\.toml: field extends names .*nobody\.toml"),
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


def bundle_file(folder, name, **changes):
    """A bundle of three labels without its engine's files, which nobody reads here; its path, as TOML has it."""
    table = table_of(FINE) | {"name": name, "labels": ["background", "liver", "aorta"]} | changes
    path = folder / name
    path.mkdir(exist_ok=True)
    path.joinpath("bundle.json").write_text(json.dumps({k: v for k, v in table.items() if v is not None}))
    return str(path)


# as the papers' systems are built: a search, its range, two models in it, merges of merges
MANY = """
title = "all that there is"
[stage.search]
bundle = "FOLDER/one"
with_bundles = ["FOLDER/same"]
engine = "openvino-float32"
precision = "f32"
min_height_mm = 500
[stage.search.walk]
rule = "until-organ"
label = "liver"
min_ml = 160
[region.abdomen]
of = "search"
rule = "label-range"
label = "liver"
below_mm = 160
above_mm = 343
at_least_mm = 192
[stage.organs]
sees = "abdomen"
bundle = "FOLDER/one"
engine = "openvino-float32"
precision = "f32"
[stage.organs.walk]
rule = "centre-first"
min_ml = 5.76
tubes = ["aorta"]
face_voxels = 10
[[stage.organs.clean]]
rule = "near-label"
label = "liver"
max_mm = 130
[[stage.organs.clean]]
rule = "without"
labels = ["aorta"]
[stage.lesions]
sees = "abdomen"
bundle = "FOLDER/lesions"
engine = "openvino-float32"
precision = "f32"
[stage.whole]
bundle = "FOLDER/all-at-once"
engine = "openvino-float32"
precision = "f32"
[merge.first]
of = ["organs", "lesions"]
rule = "overlay"
labels = ["lesion"]
[merge.second]
of = ["first", "whole"]
rule = "fallback"
label = "aorta"
[result]
of = "second"
"""


@pytest.fixture
def many(tmp_path):
    """The file's text, with bundles that are there."""
    bundle_file(tmp_path, "one")
    bundle_file(tmp_path, "same", role="another", accuracy={"dice": 0.1})
    bundle_file(tmp_path, "lesions", labels=["background", "lesion", "liver"])
    bundle_file(tmp_path, "all-at-once", shape=[32, 32, 32], spacing_mm=None, window=None)
    return MANY.replace("FOLDER", str(tmp_path))


def test_all_that_a_system_may_have(tmp_path, many):
    (tmp_path / "many.toml").write_text(many)
    system = load_system(str(tmp_path / "many.toml"))
    search, organs = system.stage["search"], system.stage["organs"]
    assert search.bundles == (str(tmp_path / "one"), str(tmp_path / "same"))
    assert (search.walk, search.min_height_mm) == (UntilOrgan("liver", 160), 500)
    assert system.region["abdomen"] == Region("search", LabelRange("liver", 160, 343, 192))
    assert organs.walk == CentreFirst(5.76, ("aorta",), 10)
    assert organs.clean == (NearLabel("liver", 130), Without(("aorta",)))
    assert (organs.bundles, organs.min_height_mm) == ((str(tmp_path / "one"),), 0)
    assert system.stage["whole"].walk == EveryWindow()
    assert system.merge == {
        "first": Merge(("organs", "lesions"), Overlay(("lesion",))),
        "second": Merge(("first", "whole"), Fallback("aorta")),
    }
    assert system.mapped == {"organs", "lesions", "first", "whole"}
    assert system.result.of == "second"


def changed(old, new):
    """`MANY` with one thing changed."""
    return lambda text: text.replace(old, new, 1) if old in text else pytest.fail(f"{old} is not there")


def moved(first, second):
    """`MANY` with two of its tables in the other order."""

    def swap(text):
        tables = re.split(r"(?m)^(?=\[)", text)
        one, other = (next(i for i, table in enumerate(tables) if table.startswith(f"[{n}]")) for n in (first, second))
        tables[one], tables[other] = tables[other], tables[one]
        return "".join(tables)

    return swap


MERGED = 'of = ["organs", "lesions"]'
WRONG_TOO = [
    (
        "a merge of one map",
        changed(MERGED, 'of = ["organs"]'),
        r"field merge\.first\.of must name two or more different maps",
    ),
    ("a merge of none", changed(MERGED, "of = []"), r"field merge\.first\.of must name two or more different maps"),
    (
        "a merge of one map twice",
        changed(MERGED, 'of = ["organs", "organs"]'),
        r"merge\.first\.of must name two or more dif",
    ),
    (
        "a merge of a word",
        changed(MERGED, 'of = "organs"'),
        r"field merge\.first\.of must be a list of stages or merges",
    ),
    (
        "a merge of numbers",
        changed(MERGED, "of = [1, 2]"),
        r"field merge\.first\.of must be a list of stages or merges",
    ),
    ("a merge without of", changed(MERGED, ""), r"field merge\.first\.of must be a list"),
    (
        "a merge that is none",
        changed("[merge.first]", "[merge]\nthird = 3\n[merge.first]"),
        r"field merge\.third\.of must be",
    ),
    (
        "a fallback of three",
        changed('of = ["first", "whole"]', 'of = ["first", "whole", "lesions"]'),
        r"field merge\.second\.of must name 2 different maps, found \['first', 'whole', 'lesions'\]",
    ),
    (
        "a merge of no stage",
        changed(MERGED, 'of = ["organs", "lesion"]'),
        r"field merge\.first\.of names no stage and no merge above: 'lesion'",
    ),
    ("a merge of a region", changed(MERGED, 'of = ["organs", "abdomen"]'), r"no merge above: 'abdomen'"),
    ("a merge of a later one", moved("merge.first", "merge.second"), r"merge\.second\.of names no .* above: 'first'"),
    ("a merge of itself", changed(MERGED, 'of = ["organs", "first"]'), r"merge\.first\.of names no .* above: 'first'"),
    (
        "merges in a circle",
        changed(MERGED, 'of = ["organs", "second"]'),
        r"merge\.first\.of names no .* above: 'second'",
    ),
    ("a merge that nobody uses", changed('of = "second"', 'of = "first"'), "second is used by nothing"),
    (
        "a merge called as a stage is",
        changed("[merge.second]", "[merge.whole]"),
        "whole names two of a stage, a region",
    ),
    ("a merge called scan", changed("[merge.second]", "[merge.scan]"), "'scan' cannot be the name"),
    (
        "no such rule of a merge",
        changed('"overlay"', '"union"'),
        r"field merge\.first\.rule must be one of overlay, fall",
    ),
    (
        "a merge without a rule",
        changed('rule = "overlay"', ""),
        r"field merge\.first\.rule must be one of .* found None",
    ),
    (
        "a setting of a merge that is none",
        changed('labels = ["lesion"]', 'label = "lesion"'),
        r"unknown field merge\.first\.label",
    ),
    (
        "labels of a merge in a word",
        changed('labels = ["lesion"]', 'labels = "lesion"'),
        r"merge\.first\.labels must be a list",
    ),
    (
        "a label that a merge has not",
        changed('labels = ["lesion"]', 'labels = ["tumour"]'),
        r"field merge\.first: no label 'tumour' here; there are liver, aorta, lesion$",
    ),
    (
        "background over a map",
        changed('labels = ["lesion"]', 'labels = ["background"]'),
        r"merge\.first: no label 'background'",
    ),
    (
        "a label that a stage has not, in a walk",
        changed('label = "liver"\nmin_ml', 'label = "lesion"\nmin_ml'),
        r"field stage\.search\.walk: no label 'lesion' here; there are liver, aorta$",
    ),
    (
        "a tube that a stage has not",
        changed('tubes = ["aorta"]', 'tubes = ["vein"]'),
        r"stage\.organs\.walk: no label 'vein'",
    ),
    (
        "a label that a stage has not, in cleaning",
        changed('labels = ["aorta"]', 'labels = ["vein"]'),
        r"field stage\.organs\.clean\[1\]: no label 'vein' here",
    ),
    (
        "a label that a stage has not, in a region",
        changed('label = "liver"\nbelow', 'label = "vein"\nbelow'),
        r"field region\.abdomen: no label 'vein' here",
    ),
    (
        "a walk without windows",
        lambda text: text.replace(
            "[merge.first]",
            '[stage.whole.walk]\nrule = "centre-first"\nmin_ml = 1\ntubes = []\nface_voxels = 1\n[merge.first]',
            1,
        ),
        r"field stage\.whole\.walk: .*all-at-once sees all at once and has no windows",
    ),
    (
        "no such walk",
        changed('"until-organ"', '"until-liver"'),
        r"field stage\.search\.walk\.rule must be one of every-window",
    ),
    (
        "a walk in a word",
        changed("[stage.whole]", '[stage.whole]\nwalk = "every-window"'),
        r"field stage\.whole\.walk must be a table",
    ),
    ("a walk that says too little", changed("min_ml = 160\n", ""), r"field stage\.search\.walk\.min_ml is missing"),
    (
        "a walk of less than nothing",
        changed("min_ml = 160", "min_ml = -1"),
        r"stage\.search\.walk: min_ml must be zero or more",
    ),
    (
        "voxels of a face in parts",
        changed("face_voxels = 10", "face_voxels = 0.5"),
        r"walk\.face_voxels must be a whole number",
    ),
    (
        "voxels of a face below none",
        changed("face_voxels = 10", "face_voxels = -1"),
        r"organs\.walk: face_voxels must be zero",
    ),
    ("tubes in a word", changed('tubes = ["aorta"]', 'tubes = "aorta"'), r"stage\.organs\.walk\.tubes must be a list"),
    (
        "a range below nothing",
        changed("below_mm = 160", "below_mm = -1"),
        r"region\.abdomen: below_mm must be zero or more",
    ),
    (
        "a range above all",
        changed("above_mm = 343", "above_mm = 1e9"),
        r"abdomen: above_mm must be zero or more, 1000000 at",
    ),
    ("a range of words", changed("at_least_mm = 192", 'at_least_mm = "192"'), r"abdomen\.at_least_mm must be a number"),
    ("a label that is a number", changed('label = "liver"\nbelow', "label = 1\nbelow"), r"abdomen\.label must be text"),
    ("too near", changed("max_mm = 130", "max_mm = -130"), r"stage\.organs\.clean\[0\]: max_mm must be zero or more"),
    (
        "a tilt of nothing",
        changed("[result]", "[posture]\nmax_tilt_degrees = 0\n[result]"),
        r"posture: max_tilt_degrees must be above 0",
    ),
    (
        "a slab made lower",
        changed("[result]", "[posture]\nmin_height_mm = 9\n[result]"),
        r"posture: min_height_mm must be from 0 to filled_to_mm",
    ),
    (
        "doubt about a merge",
        changed(
            "[result]", '[doubt]\nfirst = "search"\nmin_agreement = 1\nmin_lead = 1\nmin_arrangement = 1\n[result]'
        ),
        r"field doubt goes with a result that is of a stage",
    ),
    ("a negative height", changed("= 500", "= -1"), r"stage\.search: min_height_mm must be zero or more, found -1"),
    ("a height of words", changed("= 500", '= "tall"'), r"field stage\.search\.min_height_mm must be a number"),
    (
        "a height of a stage that must run",
        changed("[stage.lesions]", "[stage.lesions]\nmin_height_mm = 5"),
        r"field stage\.lesions\.min_height_mm: its labels are in the result, so it must run",
    ),
    (
        "other bundles in a word",
        changed('["FOLDER/same"]', '"same"'),
        r"field stage\.search\.with_bundles must be a list",
    ),
    (
        "a bundle that is averaged with itself",
        changed("/same", "/one"),
        r"stage\.search: with_bundles must name others than bundle, each once, found",
    ),
    (
        "another bundle that is not there",
        changed("/same", "/nowhere"),
        r"field stage\.search\.with_bundles: .*nowhere/bundle\.json: cannot be read",
    ),
    (
        "an engine that another bundle has not",
        changed("/same", "/other-engine"),
        r"field stage\.search\.with_bundles: .*/other-engine has only torchscript",
    ),
    (
        "an engine that a bundle has not, in a folder of that name",
        changed("/one", "/other-engine"),
        r"/my\.toml: field stage\.search\.engine: .*/bundle/other-engine has only torchscript",
    ),
    (
        "another bundle that is fed and read otherwise",
        changed("/same", "/otherwise"),
        r"with_bundles: .*/otherwise has another labels, intensity, resampling, window than .*/one$",
    ),
    (
        "another bundle that sees all at once",
        changed("/same", "/all-at-once"),
        r"with_bundles: .*/all-at-once has another shape, spacing_mm, window than",
    ),
    (
        "more labels than a mask can hold",
        changed("/lesions", "/parcels"),
        r"field merge\.first\.of: 256 labels in all, 255 at most",
    ),
]


@pytest.mark.parametrize(("change", "message"), [pytest.param(text, said, id=name) for name, text, said in WRONG_TOO])
def test_what_stages_and_merges_may_not_be_told(tmp_path, change, message):
    folder = tmp_path / "bundle"  # a word that messages have, too
    folder.mkdir()
    for name in ("one", "same"):
        bundle_file(folder, name)
    bundle_file(folder, "lesions", labels=["background", "lesion", "liver"])
    bundle_file(folder, "parcels", labels=["background", "liver", "lesion", *map(str, range(252))])
    bundle_file(folder, "all-at-once", shape=[32, 32, 32], spacing_mm=None, window=None)
    bundle_file(folder, "other-engine", files={"torchscript": {"a.pt": "0"}})
    bundle_file(
        folder,
        "otherwise",
        labels=["background", "aorta", "liver"],
        intensity={"low": -1, "high": 1, "mean": 0, "deviation": 1},
        resampling={"averages": False},
        window=table_of(FINE)["window"] | {"adds": "probabilities"},
    )
    path = tmp_path / "my.toml"
    path.write_text(change(MANY).replace("FOLDER", str(folder)))
    with pytest.raises(SetupError, match=message) as caught:
        load_system(str(path))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_merge_of_as_many_labels_as_a_mask_can_hold(tmp_path, many):
    """253 of the parcels, `aorta` besides, and background."""
    bundle_file(tmp_path, "lesions", labels=["background", "lesion", "liver", *map(str, range(251))])
    (tmp_path / "many.toml").write_text(many)
    load_system(str(tmp_path / "many.toml"))
    bundle_file(tmp_path, "lesions", labels=["background", "lesion", "liver", *map(str, range(252))])
    with pytest.raises(SetupError, match="256 labels in all"):
        load_system(str(tmp_path / "many.toml"))


def test_a_stage_may_be_merged_with_what_it_was_merged_into(tmp_path, many):
    (tmp_path / "many.toml").write_text(many.replace('of = ["first", "whole"]', 'of = ["whole", "first"]'))
    assert load_system(str(tmp_path / "many.toml")).merge["second"].of == ("whole", "first")


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ([("background", "a")], ("background", "a")),
        ([("background", "a", "b"), ("background", "b", "c", "a"), ("background", "d")], ("background", *"abcd")),
    ],
)
def test_names_of_a_merge(maps, expected):
    assert merged_names(maps) == expected


ONE_STAGE = """
title = "one stage"
[result]
of = "segment"
[stage.segment]
bundle = "fine"
engine = "openvino-float32"
precision = "f32"
"""
ENGINE = 'engine = "openvino-float32"\nprecision = "f32"'
WALK = '[stage.segment.walk]\nrule = "until-organ"\nlabel = "liver"\nmin_ml = 1\n'
CLEAN = '[[stage.segment.clean]]\nrule = "large-parts"\nmin_share = 1\n'


@pytest.mark.parametrize(
    ("posture", "said"),
    [
        ("as_it_is = true", None),
        ("as_it_is = true\nupright_mm = 2", "posture: as_it_is goes with no other choice"),
        ("as_it_is = true\nmin_height_mm = 1\nfilled_to_mm = 2", "posture: as_it_is goes with no other choice"),
        ("as_it_is = false\nupright_mm = 2", None),
        ("as_it_is = 1", "field posture.as_it_is must be true or false"),
    ],
)
def test_a_scan_may_be_taken_as_it_is(tmp_path, posture, said):
    path = tmp_path / "own.toml"
    path.write_text(WHOLE[: WHOLE.index("[posture]")] + f"[posture]\n{posture}\n")
    if said is None:
        assert load_system(str(path)).posture.as_it_is == ("true" in posture)
        return
    with pytest.raises(SetupError, match=re.escape(said)):
        load_system(str(path))


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ('["z", "y", "x"]', None),
        ('["x"]', None),
        ("[]", None),
        ('["x", "x"]', "stage.segment: mirror_axes must be of z, y and x, each once, found ['x', 'x']"),
        ('["c"]', "stage.segment: mirror_axes must be of z, y and x"),
        ('"zyx"', "field stage.segment.mirror_axes must be a list"),
        ("[0, 1]", "field stage.segment.mirror_axes[0] must be text"),
    ],
)
def test_axes_that_may_be_mirrored(tmp_path, axes, said):
    path = tmp_path / "own.toml"
    path.write_text(ONE_STAGE + f"mirror_axes = {axes}\n")
    if said is None:
        assert load_system(str(path)).stage["segment"].mirror_axes == tuple(re.findall(r"\w", axes))
        return
    with pytest.raises(SetupError, match=re.escape(said)):
        load_system(str(path))


@pytest.mark.parametrize(
    ("changes", "more", "said"),
    [
        ({"regions": [1, 2]}, "", None),
        ({"orientation": "ras", "crops_to_nonzero": True}, "", None),
        ({"orientation": "ras"}, WALK, "stage.segment.walk: walks go along the patient's axes"),
        ({"regions": [1, 2]}, WALK, "field stage.segment: own has regions, which no rule of walk or clean knows"),
        ({"regions": [1, 2]}, CLEAN, "field stage.segment: own has regions, which no rule of walk or clean knows"),
        ({"orientation": "file", "crops_to_nonzero": True}, CLEAN, None),
    ],
)
def test_what_rules_know_of_a_bundle(tmp_path, changes, more, said):
    own = bundle_file(tmp_path, "own", **changes)
    path = tmp_path / "own.toml"
    path.write_text(ONE_STAGE.replace('"fine"', f'"{own}"') + more)
    if said is None:
        load_system(str(path))
        return
    with pytest.raises(SetupError, match=re.escape(said.replace(": own has", f": {own} has"))):
        load_system(str(path))


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        ({}, {"crops_to_nonzero": True, "orientation": "file"}, None),
        ({"orientation": "ras"}, {}, None),
        ({"crops_to_nonzero": True}, {}, "field doubt.first: first crops_to_nonzero, and it must see the whole scan"),
        ({"regions": [1, 2]}, {}, "field doubt: first has regions, of which none leads the others"),
        ({}, {"regions": [1, 2]}, "field doubt: then has regions, of which none leads the others"),
    ],
)
def test_what_may_be_doubted(tmp_path, first, then, said):
    bundles = [bundle_file(tmp_path, "first", **first), bundle_file(tmp_path, "then", **then)]
    path = tmp_path / "own.toml"
    text = ONE_STAGE.replace('"fine"', f'"{bundles[1]}"').replace(
        "[stage.segment]", f'[stage.search]\nbundle = "{bundles[0]}"\n{ENGINE}\n[stage.segment]\nsees = "box"'
    )
    region = '[region.box]\nof = "search"\nrule = "margin-box"\nmargin_mm = 5\n'
    path.write_text(text + region + DOUBT.replace('"locate"', '"search"'))
    if said is None:
        load_system(str(path))
        return
    with pytest.raises(SetupError, match=re.escape(said)):
        load_system(str(path))


@pytest.mark.parametrize(
    "change", [{"orientation": "ras"}, {"crops_to_nonzero": True}, {"regions": [2, 1]}, {"score_step": 0.1}]
)
def test_bundles_that_are_averaged_are_fed_and_read_alike_in_every_way(tmp_path, change):
    one, other = bundle_file(tmp_path, "one"), bundle_file(tmp_path, "other", **change)
    path = tmp_path / "own.toml"
    path.write_text(ONE_STAGE.replace('"fine"', f'"{one}"') + f'with_bundles = ["{other}"]\n')
    with pytest.raises(SetupError, match=f"has another {next(iter(change))} than"):
        load_system(str(path))
