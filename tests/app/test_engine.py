import sys
from dataclasses import replace
from hashlib import sha256

import numpy as np
import openvino
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
    # sums in another order: float32 rounds by the size of the scores, and how large those are is the model's own
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()
    assert (ours.argmax(0) == theirs.argmax(0)).mean() > 0.9999


def test_windows_of_another_shape_run_too(fine):
    for shape in ((64, 64, 64), (128, 112, 144)):
        assert run(fine, "openvino-int8", np.zeros(shape, np.float32)).shape == (14, *shape)


def test_torchscript_without_torch_says_what_to_do(fine, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SetupError, match="--with-torch"):
        load_engine(fine, "torchscript", "f32", 1, pinned=False)


@pytest.fixture
def compiled(monkeypatch):
    """Every model that OpenVINO compiles, as it stands after compiling."""
    models = []
    compile_model = openvino.Core.compile_model

    def spy(*arguments):
        models.append(compile_model(*arguments))
        return models[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    return models


def arithmetic(model):
    """What each convolution computes in, the end of its kernel's name: brgconv_avx512_f32, ..._bf16, ..._I8."""
    layers = (layer.get_rt_info() for layer in model.get_runtime_model().get_ops())
    return [info["primitiveType"].value.split("_")[-1] for info in layers if info["layerType"].value == "Convolution"]


def test_float32_stays_float32_where_the_cpu_has_bf16(fine, compiled):
    load_engine(fine, "openvino-float32", "f32", 1, pinned=False)
    assert compiled[0].get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert set(arithmetic(compiled[0])) == {"f32"}


def test_int8_layers_stay_int8(fine, compiled):
    load_engine(fine, "openvino-int8", "f32", 1, pinned=False)
    assert set(arithmetic(compiled[0])) == {"I8"}


def test_bf16_is_an_option(fine, compiled):
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bf16")
    load_engine(fine, "openvino-float32", "bf16", 1, pinned=False)
    assert set(arithmetic(compiled[0])) == {"bf16"}


def test_threads_are_what_was_asked_for(fine, compiled):
    load_engine(fine, "openvino-int8", "f32", 1, pinned=False)
    assert compiled[0].get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled[0].get_property("ENABLE_CPU_PINNING") is False


def test_a_damaged_network_is_named(fine, tmp_path):
    names, digest = ("model.xml", "model.bin"), sha256(b"<net>").hexdigest()
    for name in names:
        (tmp_path / name).write_text("<net>")
    broken = replace(
        fine,
        folder=tmp_path,
        files={"openvino-int8": dict.fromkeys(names, digest)},
    )
    with pytest.raises(SetupError, match=r"model\.xml: OpenVINO cannot"):
        load_engine(broken, "openvino-int8", "f32", 1, pinned=False)
