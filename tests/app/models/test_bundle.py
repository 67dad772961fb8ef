import hashlib
import json
import math
from dataclasses import replace

import pytest

from app.errors import SetupError
from app.models.bundle import Resampling, ScanIntensity, Window, load_bundle
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


def test_scores_are_quantised_in_int8_where_the_bundle_says_their_step(tmp_path):
    bundle = load_bundle(saved(tmp_path, FINE | {"score_step": 0.08}))
    assert bundle.is_quantised("openvino-int8")
    assert not bundle.is_quantised("openvino-float32")
    assert not load_bundle(saved(tmp_path, FINE)).is_quantised("openvino-int8")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(FINE | {"score_step": -0.1}, "score_step must be zero, or above it", id="below zero"),
        pytest.param(FINE | {"score_step": math.inf}, "score_step", id="infinite"),
        pytest.param(FINE | {"score_step": 1e-46}, "score_step must be zero", id="nothing in float32"),
        pytest.param(FINE | {"score_step": 1e38}, "score_step must be zero", id="more than float32 holds"),
        pytest.param(LOCALISER | {"score_step": 0.1}, "where there are windows", id="seen at once"),
        pytest.param(FINE | {"score_step": 0.1, "regions": [1, 2]}, "quantised scores have no zero", id="regions"),
        pytest.param(
            FINE | {"score_step": 0.1, "window": FINE["window"] | {"step": 0.45}},
            "window.step of 0.5 or more",
            id="windows that lie close",
        ),
    ],
)
def test_a_step_of_scores_that_cannot_be(tmp_path, table, message):
    with pytest.raises(SetupError, match=message):
        load_bundle(saved(tmp_path, table))


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


SCAN = {"low_percentile": 5, "high_percentile": 95, "keeps_zeros": True}
BY_SCAN = {"scan_intensity": SCAN}
OWN = without("intensity")  # a model by its scan's own figures, once it has them


def by_scan(**changes):
    return {"scan_intensity": SCAN | changes}


def how(**changes):
    return {"resampling": changes}


def windows(**changes):
    return {"window": FINE["window"] | changes}


def test_what_is_not_said_is_as_this_projects_own_models_have_it(tmp_path):
    bundle = load_bundle(saved(tmp_path, FINE))
    assert bundle.resampling == Resampling("resample-normalise", "linear", True, "half-pixel", False)
    assert bundle.window == Window((64, 64, 64), (32, 32, 32), 16, 0.75, "uniform", "scores", "air", False)
    assert (bundle.scan_intensity, bundle.licence) == (None, "")


def test_a_model_by_its_scans_own_figures(tmp_path):
    """As paper 001's: percentiles, the first voxel held fast, zeros after normalising at the end."""
    table = OWN | BY_SCAN | {"licence": "CC BY 4.0"}
    table |= how(order="clip-resample-normalise", averages=False, alignment="first-voxel")
    bundle = load_bundle(saved(tmp_path, table | windows(fill="zero")))
    assert bundle.scan_intensity == ScanIntensity(5.0, 95.0, True)
    assert bundle.intensity is None
    assert bundle.resampling == Resampling("clip-resample-normalise", "linear", False, "first-voxel", False)
    assert bundle.licence == "CC BY 4.0"
    with pytest.raises(SetupError, match="has scan_intensity, and intensity is needed here") as caught:
        bundle.fixed_intensity  # noqa: B018
    assert str(caught.value).startswith(str(tmp_path / "bundle.json"))


def test_models_of_the_other_papers(tmp_path):
    """000: rounded down; 002: Gaussian probabilities; 003: corners; 004: clipped first."""
    for resampling, window in (
        ({"averages": False, "rounds_down": True}, {"weights": "gaussian", "fill": "zero", "centred": True}),
        ({"averages": False}, {"weights": "gaussian", "adds": "probabilities", "fill": "zero", "centred": True}),
        ({"order": "normalise-resample", "averages": False, "alignment": "corners"}, {"adds": "probabilities"}),
        ({"order": "clip-resample-normalise", "averages": False, "interpolation": "cubic"}, {"weights": "gaussian"}),
    ):
        bundle = load_bundle(saved(tmp_path, FINE | {"resampling": resampling} | windows(**window)))
        assert {name: getattr(bundle.resampling, name) for name in resampling} == resampling
        assert {name: getattr(bundle.window, name) for name in window} == window
        assert bundle.fixed_intensity is bundle.intensity
    localiser = LOCALISER | how(averages=False, alignment="corners")
    assert load_bundle(saved(tmp_path, localiser)).resampling.alignment == "corners"


def test_air_is_known_where_zeros_are_kept_and_where_it_is_not_zero_will_do(tmp_path):
    load_bundle(saved(tmp_path, OWN | BY_SCAN))
    load_bundle(saved(tmp_path, OWN | by_scan(keeps_zeros=False) | windows(fill="zero")))
    load_bundle(saved(tmp_path, without_from(LOCALISER, "intensity") | by_scan(keeps_zeros=False)))


def test_the_ends_of_percentiles():
    ScanIntensity(0, 100, True)
    ScanIntensity(99.9, 100, False)


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
        pytest.param(FINE | {"licence": 3}, "field licence must be text", id="a number for a licence"),
        pytest.param(FINE | BY_SCAN, "a model has either intensity or scan_intensity", id="both intensities"),
        pytest.param(OWN | {"scan_intensity": 3}, "scan_intensity must be a table", id="a number for a scan's figures"),
        pytest.param(OWN | by_scan(keeps_zeros=1), "keeps_zeros must be true or false", id="one for true"),
        pytest.param(OWN | by_scan(low_percentile=-1), "scan_intensity: needs 0 <= low", id="a negative percentile"),
        pytest.param(OWN | by_scan(low_percentile=95), "scan_intensity: needs 0 <= low", id="percentiles that are one"),
        pytest.param(OWN | by_scan(high_percentile=101), "scan_intensity: needs 0 <= low", id="percentile 101"),
        pytest.param(
            OWN | by_scan(high_percentile="95"), "high_percentile must be a number", id="text for a percentile"
        ),
        pytest.param(OWN | by_scan(mean=0), "unknown field scan_intensity.mean", id="a scan's figure that is none"),
        pytest.param(
            OWN | {"scan_intensity": without_from(SCAN, "keeps_zeros")}, "keeps_zeros is missing", id="zeros or not"
        ),
        pytest.param(
            OWN | by_scan(keeps_zeros=False), "window.fill must be 'zero' where", id="air that differs by scan"
        ),
        pytest.param(FINE | how(order="normalise"), "resampling: order must be one of", id="no such order"),
        pytest.param(FINE | how(order=True), "resampling.order must be text", id="true for an order"),
        pytest.param(FINE | how(interpolation="spline"), "interpolation must be one of linear, cubic", id="a spline"),
        pytest.param(FINE | how(alignment="centre"), "alignment must be one of half-pixel, corners", id="no alignment"),
        pytest.param(FINE | how(averages="no"), "averages must be true or false", id="text for averages"),
        pytest.param(FINE | how(rounds_down=0), "rounds_down must be true or false", id="zero for false"),
        pytest.param(FINE | how(colour=1), "unknown field resampling.colour", id="unknown of resampling"),
        pytest.param(FINE | {"resampling": []}, "resampling must be a table", id="a list for resampling"),
        pytest.param(
            FINE | how(alignment="corners"), "averages and rounds_down go with alignment 'half-pixel'", id="averages"
        ),
        pytest.param(
            FINE | how(alignment="first-voxel", averages=False, rounds_down=True),
            "rounds_down go with",
            id="rounds down",
        ),
        pytest.param(
            LOCALISER | how(alignment="first-voxel", averages=False),
            "resampling.alignment 'first-voxel' holds a spacing, and a model with a shape has none",
            id="first voxel of a shape",
        ),
        pytest.param(FINE | windows(weights="hann"), "weights must be one of uniform, linear", id="no such weights"),
        pytest.param(FINE | windows(adds="labels"), "adds must be one of scores, probabilities", id="labels added"),
        pytest.param(FINE | windows(fill="bone"), "window: fill must be one of air, zero", id="filled up with bone"),
        pytest.param(FINE | windows(fill=0), "field window.fill must be text", id="zero for a fill"),
        pytest.param(
            FINE | windows(centred="yes"), "field window.centred must be true or false", id="text for centred"
        ),
    ],
)
def test_a_wrong_field_is_named_with_its_file(tmp_path, table, message):
    with pytest.raises(SetupError, match=message) as caught:
        load_bundle(saved(tmp_path, table))
    assert str(caught.value).startswith(str(tmp_path / "bundle.json"))
    assert "\n" not in str(caught.value)


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


NNUNET = {
    "order": "normalise-resample",
    "interpolation": "cubic",
    "averages": False,
    "by_ratio": True,
    "separates_axis_above": 3,
    "keeps_range": True,
}


def test_a_model_that_is_fed_and_read_as_nnunet_does_it(tmp_path):
    table = FINE | {"labels": ["background", "organ", "lesion"], "regions": [2, 1], "resampling": NNUNET}
    bundle = load_bundle(saved(tmp_path, table | {"orientation": "file", "crops_to_nonzero": True}))
    assert (bundle.regions, bundle.channels) == ((2, 1), 2)
    assert (bundle.orientation, bundle.crops_to_nonzero) == ("file", True)
    how = bundle.resampling
    assert (how.by_ratio, how.separates_axis_above, how.keeps_range) == (True, 3.0, True)
    plain = load_bundle(saved(tmp_path, FINE))
    assert (plain.regions, plain.channels) == ((), 14)
    assert (plain.orientation, plain.crops_to_nonzero) == ("patient", False)


def nnunet(**changes):
    return FINE | {"resampling": NNUNET | changes}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param(FINE | {"orientation": "lps"}, "orientation must be one of patient, file, ras", id="no such axes"),
        pytest.param(FINE | {"orientation": None}, "field orientation must be text", id="no word"),
        pytest.param(FINE | {"crops_to_nonzero": 1}, "crops_to_nonzero must be true or false", id="one for true"),
        pytest.param(FINE | {"regions": [1, 2, 1]}, "regions must be different ids, 1 to 13, found", id="one id twice"),
        pytest.param(FINE | {"regions": [0, 1]}, "regions must be different ids", id="background"),
        pytest.param(FINE | {"regions": [1, 14]}, "regions must be different ids", id="an id that is no label's"),
        pytest.param(FINE | {"regions": ["liver"]}, r"regions\[0\] must be a whole number", id="a name for an id"),
        pytest.param(
            FINE | {"regions": [1, 2]} | windows(adds="probabilities"), "window.adds 'probabilities' are", id="softmax"
        ),
        pytest.param(nnunet(separates_axis_above=0.9), "separates_axis_above must be 1 or more", id="below one"),
        pytest.param(nnunet(separates_axis_above=True), "separates_axis_above must be a number", id="true for three"),
        pytest.param(nnunet(averages=True), "separates_axis_above goes with alignment 'half-pixel' and", id="averaged"),
        pytest.param(
            nnunet(alignment="corners", by_ratio=False), "separates_axis_above goes with", id="apart, by corners"
        ),
        pytest.param(
            nnunet(alignment="corners", separates_axis_above=99), "by_ratio goes with", id="by ratio, by corners"
        ),
        pytest.param(nnunet(rounds_down=True), "by_ratio goes with .* without rounds_down", id="two ways to round"),
        pytest.param(nnunet(interpolation="linear"), "keeps_range goes with interpolation 'cubic'", id="no overshoot"),
        pytest.param(nnunet(keeps_range="no"), "keeps_range must be true or false", id="text for false"),
        pytest.param(
            LOCALISER | {"resampling": NNUNET | {"by_ratio": False}}, "ask for spacing_mm, and a shape", id="a shape"
        ),
        pytest.param(LOCALISER | how(by_ratio=True), "by_ratio ask for spacing_mm", id="the ratio of no spacing"),
    ],
)
def test_what_cannot_be_as_nnunet_does_it(tmp_path, table, message):
    with pytest.raises(SetupError, match=message) as caught:
        load_bundle(saved(tmp_path, table))
    assert str(caught.value).startswith(str(tmp_path / "bundle.json"))
    assert "\n" not in str(caught.value)
