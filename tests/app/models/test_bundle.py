import hashlib
import json
import math
from dataclasses import replace

import pytest

from app.errors import SetupError
from app.models.bundle import Window, load_bundle
from tests import models
from training.recipe import CHALLENGE_LABELS

SHA256 = hashlib.sha256(b"<net/>").hexdigest()
FINE = {
    "name": "small",
    "role": "fine",
    "axes": "zyx",
    "labels": list(CHALLENGE_LABELS),
    "intensity": {"low": -160, "high": 240, "mean": 40.0, "deviation": 100},
    "spacing_mm": [2.5, 2, 1.5],
    "window": {"largest": [64, 64, 64], "smallest": [32, 32, 32], "multiple": 16, "step": 0.75},
    "files": {"openvino-int8": {"model.xml": SHA256, "model.bin": SHA256}},
    "training": {"scans": ["a", "b"]},
    "accuracy": {},
}
LOCALISER = {k: v for k, v in FINE.items() if k not in ("spacing_mm", "window")} | {
    "role": "localiser",
    "shape": [128, 128, 128],
}


def saved(folder, table):
    for name in ("model.xml", "model.bin"):
        (folder / name).write_text("<net/>")
    (folder / "bundle.json").write_text(table if isinstance(table, str) else json.dumps(table))
    return folder


def test_a_fine_model(tmp_path):
    bundle = load_bundle(saved(tmp_path, FINE))
    assert bundle.spacing_mm == (2.5, 2.0, 1.5)
    assert bundle.intensity.low == -160.0
    assert bundle.window.largest == (64, 64, 64)
    assert bundle.engine_files("openvino-int8") == [tmp_path / "model.xml", tmp_path / "model.bin"]


def test_labels_are_the_bundles_own(tmp_path):
    for names in (["background", "lesion"], ["background", *map(str, range(254))]):
        assert load_bundle(saved(tmp_path, FINE | {"labels": names, "role": "parcels"})).labels == tuple(names)


def test_a_localiser(tmp_path):
    assert load_bundle(saved(tmp_path, LOCALISER)).shape == (128, 128, 128)


EITHER = "a model has either a shape, or spacing_mm and window"


def without(field):
    return without_from(FINE, field)


def without_from(table, field):
    return {name: value for name, value in table.items() if name != field}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("{", "not JSON", id="half a file"),
        pytest.param("[" * 100_000, "not JSON", id="too deep"),
        pytest.param("[]", "must be a table", id="a list"),
        pytest.param("3", "must be a table", id="a number"),
        pytest.param(without("intensity"), "a model has either intensity or scan_intensity", id="missing"),
        pytest.param(FINE | {"colour": 1}, "unknown field colour", id="unknown"),
        pytest.param(FINE | {"folder": "/"}, "unknown field folder", id="not for the file to say"),
        pytest.param(FINE | {"axes": "xyz"}, "axes must be 'zyx'", id="other axes"),
        pytest.param(without("window"), EITHER, id="no window"),
        pytest.param(without("spacing_mm"), EITHER, id="no spacing"),
        pytest.param(FINE | {"shape": [128, 128, 128]}, EITHER, id="a shape, too"),
        pytest.param(without_from(LOCALISER, "shape"), EITHER, id="no shape"),
        pytest.param(LOCALISER | {"spacing_mm": [1, 1, 1]}, EITHER, id="a spacing beside a shape"),
        pytest.param(LOCALISER | {"window": FINE["window"]}, EITHER, id="a window beside a shape"),
        pytest.param(LOCALISER | {"shape": [128, 0, 128]}, "shape must be above zero", id="nothing along an axis"),
        pytest.param(FINE | {"spacing_mm": [1, 0, 1]}, "spacing_mm must be above zero", id="no spacing along an axis"),
        pytest.param(FINE | {"labels": ["background"]}, "labels must be background and 1 to 254", id="no organ"),
        pytest.param(FINE | {"labels": ["liver", "background"]}, "labels must be background and", id="background last"),
        pytest.param(FINE | {"labels": ["background", "a", "a"]}, "labels must be different", id="one name twice"),
        pytest.param(FINE | {"labels": ["background", *map(str, range(255))]}, "labels must be", id="255 organs"),
        pytest.param(FINE | {"name": 3}, "field name must be text", id="a number for text"),
        pytest.param(FINE | {"spacing_mm": [1, 1]}, "spacing_mm needs 3 values", id="two of three"),
        pytest.param(FINE | {"spacing_mm": [1, "1", 1]}, r"spacing_mm\[1\] must be a number", id="text for a number"),
        pytest.param(FINE | {"spacing_mm": [1, True, 1]}, r"spacing_mm\[1\] must be a number", id="true for a number"),
        pytest.param(FINE | {"spacing_mm": [1, -1, 1]}, "spacing_mm must be above zero", id="impossible"),
        pytest.param(FINE | {"intensity": 3}, "intensity must be a table", id="a number for a table"),
        pytest.param(
            FINE | {"intensity": FINE["intensity"] | {"deviation": 0}}, "intensity: needs", id="division by 0"
        ),
        pytest.param(
            FINE | {"intensity": FINE["intensity"] | {"deviation": 1e-50}}, "intensity: needs", id="0 in float32"
        ),
        pytest.param(FINE | {"intensity": FINE["intensity"] | {"mean": 1e39}}, "intensity: needs", id="inf in float32"),
        pytest.param(
            FINE | {"intensity": FINE["intensity"] | {"gain": 1}}, "field intensity.gain", id="unknown inside"
        ),
        pytest.param(FINE | {"window": FINE["window"] | {"step": 2}}, "window: .*step", id="impossible inside"),
        pytest.param(
            FINE | {"window": FINE["window"] | {"multiple": 1.5}}, "window.multiple must be a whole", id="1.5"
        ),
        pytest.param(FINE | {"files": {"cuda": {}}}, "files must name engines", id="no such engine"),
        pytest.param(FINE | {"files": {"openvino-int8": {}}}, "files.openvino-int8 must name", id="no files"),
        pytest.param(FINE | {"files": {"torchscript": {"a.bin": "0"}}}, "files.torchscript must name", id="odd file"),
        pytest.param(FINE | {"files": {}}, "files must name engines", id="no engine"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, table, message):
    with pytest.raises(SetupError, match=message) as caught:
        load_bundle(saved(tmp_path, table))
    assert str(caught.value).startswith(str(tmp_path / "bundle.json"))


def test_the_smallest_of_everything():
    Window((1, 2, 3), (1, 1, 1), 1, 1.0)
    replace(models.LOCALISER, shape=(1, 1, 1))


@pytest.mark.parametrize(
    ("largest", "smallest", "multiple", "step", "message"),
    [
        pytest.param((32, 32, 32), (16, 16, 16), 0, 0.5, "multiple must be >= 1", id="multiples of nothing"),
        pytest.param((32, 32, 32), (16, 16, 16), 16, 0.0, "step in", id="windows that never move on"),
        pytest.param((32, 32, 32), (16, 16, 16), 16, 1.01, "step in", id="gaps between windows"),
        pytest.param((32, 32, 32), (16, 0, 16), 16, 0.5, "must be multiples of 16", id="no voxel"),
        pytest.param((32, 16, 32), (16, 32, 16), 16, 0.5, "must be multiples of 16", id="smallest above largest"),
        pytest.param((32, 40, 32), (16, 16, 16), 16, 0.5, "must be multiples of 16", id="largest is no multiple"),
        pytest.param((32, 32, 32), (16, 16, 8), 16, 0.5, "must be multiples of 16", id="smallest is no multiple"),
    ],
)
def test_windows_that_cannot_be(largest, smallest, multiple, step, message):
    with pytest.raises(ValueError, match=message):
        Window(largest, smallest, multiple, step)


def test_an_endless_spacing_is_refused():
    with pytest.raises(ValueError, match="spacing_mm must be above zero"):
        replace(models.FINE, spacing_mm=(1.0, math.inf, 1.0))


@pytest.mark.parametrize(
    ("change", "engine", "message"),
    [
        pytest.param(lambda f: (f / "model.xml").unlink(), "openvino-int8", "cannot be read", id="missing"),
        pytest.param(lambda f: (f / "model.xml").write_text("<x/>"), "openvino-int8", "SHA-256", id="changed"),
        pytest.param(lambda _: None, "torchscript", "no engine 'torchscript'", id="not in the bundle"),
    ],
)
def test_engine_files_are_checked(tmp_path, change, engine, message):
    bundle = load_bundle(saved(tmp_path, FINE))
    change(tmp_path)
    with pytest.raises(SetupError, match=message):
        bundle.engine_files(engine)


def test_files_outside_the_bundle_are_refused(tmp_path):
    table = FINE | {"files": {"openvino-int8": {"../model.xml": "0", "model.bin": "0"}}}
    with pytest.raises(SetupError, match="outside the bundle"):
        load_bundle(saved(tmp_path, table)).engine_files("openvino-int8")


def test_no_bundle_at_all(tmp_path):
    with pytest.raises(SetupError, match=r"bundle\.json: cannot be read"):
        load_bundle(tmp_path / "nothing")
