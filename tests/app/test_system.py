import pytest

from app.bundle import load_bundle
from app.errors import SetupError
from app.system import SYSTEMS, WEIGHTS, load_system, system_names

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
