import pytest

from app.errors import SetupError
from app.models.bundle import load_bundle
from app.system.definition import SYSTEMS, WEIGHTS, Clean, Locate, Segment, load_system, system_names

WHOLE = (SYSTEMS / "viscera.toml").read_text()


@pytest.mark.parametrize("name", system_names())
def test_every_system_here_loads_and_its_bundles_hold_what_it_asks_for(name):
    system = load_system(name)
    assert load_bundle(WEIGHTS / system.locate.bundle, "localiser").engine_files(system.locate.engine)
    assert load_bundle(WEIGHTS / system.segment.bundle, "fine").engine_files(system.segment.engine)


def test_a_system_that_extends_another_changes_only_what_it_says():
    base, other = load_system("viscera"), load_system("viscera-torchscript")
    assert other.segment.engine == "torchscript"
    assert other.segment.bundle == base.segment.bundle
    assert (other.locate, other.clean) == (base.locate, base.clean)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(WHOLE.replace("[clean]", "[clear]"), "unknown field clear", id="unknown table"),
        pytest.param(WHOLE.replace("margin_mm", "margin"), r"unknown field locate\.margin;", id="unknown field"),
        pytest.param(WHOLE.replace("[clean]\nmin_share", "[clean]\n#"), r"clean\.min_share is missing", id="missing"),
        pytest.param(WHOLE.replace("margin_mm = 20", "margin_mm = -1"), "locate: margin_mm must be", id="impossible"),
        pytest.param(
            WHOLE.replace("margin_mm = 20", "margin_mm = nan"), r"margin_mm must be a finite number", id="NaN"
        ),
        pytest.param(WHOLE.replace("min_share = 0.2", "min_share = 2"), "clean: min_share must be", id="share of 2"),
        pytest.param(WHOLE.replace('precision = "f32"', 'precision = "f16"', 1), "precision must be one of", id="f16"),
        pytest.param(WHOLE.replace("[segment]", "[segment]\nname = 3"), "unknown field segment.name", id="inside"),
        pytest.param(WHOLE.replace("openvino-int8", "cuda"), "locate: engine must be one of", id="no such engine"),
        pytest.param(WHOLE.replace("openvino-int8", "torchscript", 1), "locate: engine", id="localiser in torch"),
        pytest.param(
            WHOLE.replace(
                'engine = "openvino-int8"\nprecision = "f32" # of', 'engine = "torchscript"\nprecision = "bf16" # of'
            ),
            "segment: precision must be one of f32",
            id="bf16 in torch",
        ),
        pytest.param("[locate", "not TOML", id="half a file"),
        pytest.param('extends = "mine"', "goes round in a circle", id="itself"),
        pytest.param('extends = "nobody"', r"nobody\.toml: cannot be read", id="no base"),
        pytest.param('extends = "../viscera"', "extends must name a file", id="a path for a base"),
        pytest.param("extends = 3", "extends must name a file", id="a number for a base"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    (tmp_path / "viscera.toml").write_text(WHOLE)
    with pytest.raises(SetupError, match=message) as caught:
        load_system(str(path))
    assert str(caught.value).startswith(str(tmp_path))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SetupError, match=r"known systems are .*viscera-float32"):
        load_system("viscerra")


LOCATE = {"bundle": "b", "engine": "openvino-int8", "precision": "f32"}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_what_may_be_chosen(share):
    Locate(**LOCATE, min_component_ml=0.0, min_component_share=share, margin_mm=0.0)
    Clean(min_share=share, min_unlocated_ml=0.0)
    for precision in ("f32", "bf16"):
        Segment("b", "openvino-float32", precision)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_component_ml", -0.1), ("min_component_ml", float("inf")), ("min_component_share", -0.1),
        ("min_component_share", 1.1), ("margin_mm", -0.1), ("margin_mm", float("inf")), ("precision", "f16"),
        ("engine", "torchscript"),
    ],
)  # fmt: skip
def test_what_phase_one_may_not_be_told(name, value):
    usual = {**LOCATE, "min_component_ml": 1.0, "min_component_share": 0.5, "margin_mm": 1.0}
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Locate(**{**usual, name: value})


@pytest.mark.parametrize(("name", "value"), [("min_share", -0.1), ("min_share", 1.1), ("min_unlocated_ml", -0.1)])
def test_what_cleaning_may_not_be_told(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Clean(**{"min_share": 0.5, "min_unlocated_ml": 1.0, name: value})


def test_what_segmenting_may_not_be_told():
    with pytest.raises(ValueError, match=r"^engine must be one of openvino-float32, openvino-int8, torchscript"):
        Segment("b", "cuda", "f32")
    with pytest.raises(ValueError, match=r"^precision must be one of f32, bf16, found"):
        Segment("b", "openvino-int8", "f16")
    with pytest.raises(ValueError, match=r"^precision must be one of f32, found"):
        Segment("b", "torchscript", "bf16")
