import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from app.bundle import load_bundle
from app.engine import load_engine
from app.errors import SetupError
from app.system import WEIGHTS


@pytest.fixture(scope="module")
def fine():
    return load_bundle(WEIGHTS / "fine", "fine")


@pytest.fixture(scope="module")
def volume():
    """Smooth noise of an odd orientation in memory: engines must not depend on contiguity."""
    coarse = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    return np.kron(coarse, np.ones((8, 8, 10), np.float32))[:, ::-1, :]


def run(fine, engine, volume):
    return load_engine(fine, engine, "f32", 2, pinned=False)(volume)


def test_float32_and_int8_answer_alike(fine, volume):
    exact, quantised = (run(fine, engine, volume).copy() for engine in ("openvino-float32", "openvino-int8"))
    assert exact.shape == (14, *volume.shape)
    assert exact.dtype == quantised.dtype == np.float32
    assert (exact.argmax(0) == quantised.argmax(0)).mean() > 0.9


def test_torchscript_gives_the_scores_of_openvino(fine, volume):
    pytest.importorskip("torch")
    ours, theirs = run(fine, "torchscript", volume), run(fine, "openvino-float32", volume)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


def test_windows_of_another_shape_run_too(fine):
    for shape in ((64, 64, 64), (128, 112, 144)):
        assert run(fine, "openvino-int8", np.zeros(shape, np.float32)).shape == (14, *shape)


def test_torchscript_without_torch_says_what_to_do(fine, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SetupError, match="--with-torch"):
        load_engine(fine, "torchscript", "f32", 1, pinned=False)


def test_the_precision_is_what_was_asked_for(fine):
    """OpenVINO by itself turns to bf16 where the CPU has it; f32 must stay f32."""
    import openvino

    core = openvino.Core()
    model = core.read_model(next(path for path in fine.engine_files("openvino-float32") if path.suffix == ".xml"))
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32


def test_a_damaged_network_is_named(fine, tmp_path):
    (tmp_path / "model.xml").write_text("<net>")
    broken = replace(fine, folder=tmp_path, files={"openvino-int8": {"model.xml": sha256(b"<net>").hexdigest()}})
    with pytest.raises(SetupError, match=r"model\.xml: OpenVINO cannot"):
        load_engine(broken, "openvino-int8", "f32", 1, pinned=False)
