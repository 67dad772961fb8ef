import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import numpy as np
import openvino
import pytest
from openvino import opset13

from app.errors import SetupError
from app.models.bundle import Window, load_bundle
from app.models.engine import _Unfold, load_engine
from app.system.definition import WEIGHTS
from tests.models import FINE, LOCALISER


@pytest.fixture(scope="module")
def fine():
    return load_bundle(WEIGHTS / "fine")


@pytest.fixture(scope="module")
def volume():
    """Smooth noise of an odd orientation in memory: engines must not depend on contiguity."""
    coarse = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    return np.kron(coarse, np.ones((8, 8, 10), np.float32))[:, ::-1, :]


def run(fine, engine, volume):
    return load_engine(fine, engine, "f32", 2, pinned=False)(volume)


def test_float32_and_int8_answer_alike(fine, volume):
    exact, quantised = (run(fine, engine, volume).copy() for engine in ("openvino-float32", "openvino-int8"))
    assert exact.shape == quantised.shape == (14, *volume.shape)
    assert (exact.dtype, quantised.dtype) == (np.float32, np.int8)
    assert (exact.argmax(0) == quantised.argmax(0)).mean() > 0.9


def test_torchscript_gives_the_scores_of_openvino(fine, volume):
    pytest.importorskip("torch")
    ours, theirs = run(fine, "torchscript", volume), run(fine, "openvino-float32", volume)
    assert ours.dtype == np.float32
    # weights of both are float16, 11 bits, but OpenVINO's with the norms that are part of them, TorchScript's without;
    # by how much that moves scores depends on their size, and how large those are is the model's own
    assert np.abs(ours - theirs).max() < 2**-11 * np.abs(theirs).max()
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
    """What each convolution computes in, the end of its kernel's name: brgconv_avx512_f32, ..._bf16, ..._I8.

    In small letters: with AMX one of them ends in i8.
    """
    layers = (layer.get_rt_info() for layer in model.get_runtime_model().get_ops())
    kernels = [info["primitiveType"].value for info in layers if info["layerType"].value == "Convolution"]
    return [kernel.split("_")[-1].lower() for kernel in kernels]


def test_float32_stays_float32_where_the_cpu_has_bf16(fine, compiled):
    load_engine(fine, "openvino-float32", "f32", 1, pinned=False)
    assert compiled[0].get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert set(arithmetic(compiled[0])) == {"f32"}


def test_int8_layers_stay_int8_and_those_of_float32_that(fine, compiled):
    """In float32 are three depthwise convolutions and that of the scores."""
    load_engine(fine, "openvino-int8", "f32", 1, pinned=False)
    assert Counter(arithmetic(compiled[0])) == {"i8": 14, "f32": 4}


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


def network(classes=14, stride=1, volume=(-1, -1, -1), inputs=1, outputs=1, squeezed=False):
    """A convolution of one voxel, kernel 1, with that stride: the smallest thing that gives scores."""
    given = [opset13.parameter([1, 1, *volume], np.float32, name=f"volume{i}") for i in range(inputs)]
    kernel = opset13.constant(np.arange(1, classes + 1, dtype=np.float32).reshape(classes, 1, 1, 1, 1))
    total = given[0] if inputs == 1 else opset13.add(*given)
    scores = opset13.convolution(total, kernel, [stride] * 3, [0] * 3, [0] * 3, [1] * 3)
    if squeezed:
        scores = opset13.squeeze(scores, opset13.constant([0]))
    return openvino.Model([scores] * outputs, given, "tiny")


def unpooled(classes=14, factor=2):
    """Down and up again beside its input, as U-Nets do: sides must be multiples of `factor`."""
    volume = opset13.parameter([1, 1, -1, -1, -1], np.float32, name="volume")
    whole = np.ones((classes, 1, 1, 1, 1), np.float32)
    down = opset13.convolution(
        volume, opset13.constant(whole), [factor] * 3, [0] * 3, [0] * 3, [1] * 3, auto_pad="SAME_UPPER"
    )
    wide = np.ones((classes, classes, *[factor] * 3), np.float32)
    up = opset13.convolution_backprop_data(down, opset13.constant(wide), [factor] * 3)
    beside = opset13.convolution(volume, opset13.constant(whole), [1] * 3, [0] * 3, [0] * 3, [1] * 3)
    return openvino.Model([opset13.add(up, beside, auto_broadcast="NONE")], [volume], "tiny")


def answered(kind):
    """Its scores in another type of number."""
    model = network()
    scores = opset13.convert(model.get_results()[0].input_value(0), kind)
    return openvino.Model([scores], model.get_parameters(), "tiny")


def given(kind):
    """Takes its volume in another type of number."""
    volume = opset13.parameter([1, 1, -1, -1, -1], kind, name="volume")
    kernel = opset13.constant(np.ones((14, 1, 1, 1, 1), np.float32))
    scores = opset13.convolution(opset13.convert(volume, "f32"), kernel, [1] * 3, [0] * 3, [0] * 3, [1] * 3)
    return openvino.Model([scores], [volume], "tiny")


def saved(bundle, folder, model):
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)
    digests = {name: sha256((folder / name).read_bytes()).hexdigest() for name in ("model.bin", "model.xml")}
    return replace(bundle, folder=folder, files={"openvino-float32": digests})


def loaded(bundle, folder, model):
    return load_engine(saved(bundle, folder, model), "openvino-float32", "f32", 1, pinned=False)


def loaded_int8(bundle, folder, model):
    there = saved(bundle, folder, model)
    of_int8 = replace(there, files={"openvino-int8": there.files["openvino-float32"]})
    return load_engine(of_int8, "openvino-int8", "f32", 1, pinned=False)


def test_every_side_that_the_window_allows_is_answered(tmp_path):
    window = Window((8, 12, 16), (4, 4, 8), 4, 0.75)
    engine = loaded(replace(FINE, window=window), tmp_path, network())
    for shape in ((4, 4, 8), (8, 12, 16)):
        volume = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        assert (engine(volume) == np.arange(1, 15)[:, None, None, None] * volume).all()


@pytest.mark.parametrize(
    ("stride", "message"),
    [
        pytest.param(1, None, id="as fine as its input"),
        pytest.param(2, None, id="half as fine, as the one that ships"),
        pytest.param(
            3, r"gives scores of shape \(1, 14, 11, 14, 12\) for a volume of \(32, 40, 36\)", id="no whole factor"
        ),
    ],
)
def test_a_localisers_scores_cover_its_volume(tmp_path, stride, message):
    localiser = replace(LOCALISER, shape=(32, 40, 36))
    if message is None:
        scores = loaded(localiser, tmp_path, network(stride=stride))(np.zeros((32, 40, 36), np.float32))
        assert scores.shape == (14, 32 // stride, 40 // stride, 36 // stride)
        return
    with pytest.raises(SetupError, match=rf"model\.xml: {message}; fields labels and shape"):
        loaded(localiser, tmp_path, network(stride=stride))


@pytest.mark.parametrize(
    ("bundle", "model", "message"),
    [
        pytest.param(FINE, network(classes=13), "fields labels and window of bundle.json ask for 14", id="too few"),
        pytest.param(FINE, network(classes=15), "fields labels and window of bundle.json ask for 14", id="too many"),
        pytest.param(LOCALISER, network(classes=15), "fields labels and shape of bundle.json ask", id="in phase one"),
        pytest.param(
            FINE,
            network(stride=2),
            "14 classes on that grid .or 8 times as many on half",
            id="scores at half the window",
        ),
        pytest.param(FINE, network(squeezed=True), "gives scores of shape", id="an axis is lost"),
        pytest.param(FINE, network(volume=(16, 16, 16)), "its input is .* field window says", id="the smallest only"),
        pytest.param(FINE, network(volume=FINE.window.largest), "its input is .* field window", id="the largest only"),
        pytest.param(LOCALISER, network(volume=(8, 8, 8)), "its input is .* field shape says", id="another shape"),
        pytest.param(
            replace(FINE, window=Window((32, 32, 32), (16, 16, 16), 16, 0.75)),
            unpooled(factor=32),
            r"cannot take \(16, 16, 16\), which field window says",
            id="a coarser multiple",
        ),
        pytest.param(
            replace(FINE, window=Window((64, 64, 64), (32, 32, 32), 16, 0.75)),
            unpooled(factor=32),
            r"cannot take \(48, 48, 48\), which field window says",
            id="a coarser multiple, met between smallest and largest",
        ),
        pytest.param(FINE, given(np.uint8), "are u8 and f32, both must be floating", id="a volume of u8"),
        pytest.param(FINE, answered("i32"), "are f32 and i32, both must be floating point", id="whole scores"),
        pytest.param(FINE, network(inputs=2), "2 inputs and 1 outputs, needs one of each", id="two inputs"),
        pytest.param(FINE, network(outputs=2), "1 inputs and 2 outputs, needs one of each", id="two outputs"),
    ],
)
def test_a_network_that_is_not_its_bundles_is_refused_when_it_is_loaded(tmp_path, bundle, model, message):
    with pytest.raises(SetupError, match=message) as caught:
        loaded(bundle, tmp_path, model)
    assert str(caught.value).startswith(f"{tmp_path / 'model.xml'}: ")
    assert "\n" not in str(caught.value)


def test_the_weights_are_those_that_the_bundle_names_and_checks(tmp_path):
    bundle = saved(FINE, tmp_path, network())
    files = bundle.files["openvino-float32"]
    (tmp_path / "model.bin").rename(tmp_path / "named.bin")
    (tmp_path / "model.bin").write_bytes(bytes(14 * 4))  # what OpenVINO would take by itself, and scores of 0
    named = replace(
        bundle, files={"openvino-float32": {"named.bin": files["model.bin"], "model.xml": files["model.xml"]}}
    )
    engine = load_engine(named, "openvino-float32", "f32", 1, pinned=False)
    assert (engine(np.ones((16, 16, 32), np.float32))[:, 0, 0, 0] == np.arange(1, 15)).all()


def in_blocks(side, classes=14, step=0.5, answers="i8"):
    """Of each block of voxels their own values, for class c c steps more, as channels of one place."""
    volume = opset13.parameter([1, 1, -1, -1, -1], np.float32, name="volume")
    deep = opset13.space_to_depth(volume, "blocks_first", side) if side > 1 else volume
    more = np.repeat(np.arange(classes, dtype=np.float32), side**3).reshape(1, -1, 1, 1, 1)
    scores = opset13.add(opset13.tile(deep, np.array([1, classes, 1, 1, 1])), opset13.constant(step * more))
    limits = (np.float32(limit) for limit in (-128 * step, 127 * step, -128, 127))
    steps = opset13.fake_quantize(scores, *limits, levels=256)
    return openvino.Model([opset13.convert(steps, answers)], [volume], "tiny")


def test_a_block_of_eight_voxels_and_two_of_two_classes():
    one = _Unfold(1, threads=1)(np.arange(8, dtype=np.int8).reshape(8, 1, 1, 1))
    assert one.tolist() == [[[[0, 1], [2, 3]], [[4, 5], [6, 7]]]]
    beside = _Unfold(2, threads=2)(np.arange(32, dtype=np.float32).reshape(16, 1, 1, 2))
    assert beside[0].tolist() == [[[0, 2, 1, 3], [4, 6, 5, 7]], [[8, 10, 9, 11], [12, 14, 13, 15]]]
    assert (beside[1] == beside[0] + 16).all()
    voxels = np.arange(6, dtype=np.float32).reshape(2, 1, 1, 3)
    assert _Unfold(2, threads=1)(voxels) is voxels


@pytest.mark.parametrize("side", [1, 2, 4])
def test_quantised_scores_of_blocks_become_those_of_voxels(tmp_path, side):
    engine = loaded_int8(replace(FINE, score_step=0.5), tmp_path, in_blocks(side))
    for shape in ((16, 16, 32), (32, 16, 32), (16, 16, 32)):  # another one in between
        volume = np.random.default_rng(side).integers(-60, 60, shape).astype(np.float32) / 2
        scores = engine(volume)
        assert (scores.dtype, scores.shape) == (np.int8, (14, *shape))
        assert (scores == 2 * volume + np.arange(14)[:, None, None, None]).all()


def test_scores_are_quantised_in_int8_of_a_bundle_that_says_their_step_and_nowhere_else(tmp_path):
    quantised = replace(FINE, score_step=0.5)
    for load, bundle in ((loaded_int8, FINE), (loaded, FINE), (loaded, quantised)):
        with pytest.raises(SetupError, match="input and output are f32 and i8, both must be floating point"):
            load(bundle, tmp_path, in_blocks(2))
    for other in ("f32", "i32"):
        with pytest.raises(
            SetupError, match=f"are f32 and {other}, must be floating point and i8, for bundle.json has"
        ):
            loaded_int8(quantised, tmp_path, in_blocks(2, answers=other))
    assert loaded(quantised, tmp_path, in_blocks(2, answers="f32"))(np.zeros((16, 16, 32), np.float32)).any()


@pytest.mark.parametrize("classes", [7, 13, 15])
def test_blocks_of_other_classes_are_refused(tmp_path, classes):
    with pytest.raises(SetupError, match=rf"gives scores of shape \(1, {8 * classes}, "):
        loaded_int8(replace(FINE, score_step=0.5), tmp_path, in_blocks(2, classes))


def test_a_network_with_the_bundles_own_multiple_is_taken(tmp_path):
    loaded(FINE, tmp_path, unpooled(factor=FINE.window.multiple))


@pytest.mark.parametrize(
    ("classes", "stride", "outputs"),
    [
        pytest.param(13, 1, 1, id="too few classes"),
        pytest.param(14, 2, 1, id="at half the window"),
        pytest.param(14, 1, 2, id="several outputs, as with deep supervision"),
    ],
)
def test_torchscript_that_is_not_its_bundles_is_refused_at_its_first_window(tmp_path, classes, stride, outputs):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Conv3d(1, classes, 1, stride=stride)

        def forward(self, volume):
            scores = self.layer(volume)
            return scores if outputs == 1 else (scores, scores)

    network = torch.jit.trace(Network(), torch.zeros(1, 1, 4, 4, 4))
    network.save(str(tmp_path / "model.pt"))
    digest = sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    bundle = replace(FINE, folder=tmp_path, files={"torchscript": {"model.pt": digest}})
    engine = load_engine(bundle, "torchscript", "f32", 1, pinned=False)
    with pytest.raises(SetupError, match=r"model\.pt: gives scores of shape .* fields labels and window"):
        engine(np.zeros((16, 16, 16), np.float32))


def test_torchscript_may_leave_blocks_too(tmp_path):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def forward(self, volume):
            return torch.nn.functional.avg_pool3d(volume, 2).repeat(1, 8 * 14, 1, 1, 1)

    torch.jit.trace(Network(), torch.zeros(1, 1, 4, 4, 4)).save(str(tmp_path / "model.pt"))
    digest = sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    bundle = replace(FINE, folder=tmp_path, files={"torchscript": {"model.pt": digest}})
    volume = np.kron(np.arange(8 * 8 * 16).reshape(8, 8, 16), np.ones((2, 2, 2))).astype(np.float32)
    assert (load_engine(bundle, "torchscript", "f32", 1, pinned=False)(volume) == volume).all()


@pytest.mark.parametrize(("kind", "message"), [("bfloat16", None), ("int64", "its scores are torch.int64, they must")])
def test_torchscript_of_other_numbers(tmp_path, kind, message):
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def forward(self, volume):
            return volume.repeat(1, 14, 1, 1, 1).to(getattr(torch, kind))

    torch.jit.trace(Network(), torch.zeros(1, 1, 4, 4, 4)).save(str(tmp_path / "model.pt"))
    digest = sha256((tmp_path / "model.pt").read_bytes()).hexdigest()
    bundle = replace(FINE, folder=tmp_path, files={"torchscript": {"model.pt": digest}})
    engine = load_engine(bundle, "torchscript", "f32", 1, pinned=False)
    if message is None:
        assert engine(np.zeros((16, 16, 32), np.float32)).dtype == np.float32
        return
    with pytest.raises(SetupError, match=message):
        engine(np.zeros((16, 16, 32), np.float32))


def secretive():
    """Seven classes, in a shape that depends on the volume's values as far as can be told beforehand."""
    model = network()
    (volume,), (result,) = model.get_parameters(), model.get_results()
    nothing = opset13.convert(opset13.multiply(opset13.reduce_max(volume, np.arange(5)), np.float32(0)), "i64")
    shape = opset13.add(opset13.constant(np.array([1, 7, 32, 16, 32], np.int64)), nothing)
    return openvino.Model([opset13.reshape(result.input_value(0), shape, False)], [volume], "tiny")


def test_scores_that_show_their_shape_only_when_they_come_are_checked_then(tmp_path):
    engine = loaded(FINE, tmp_path, secretive())
    with pytest.raises(SetupError, match=r"gives scores of shape \(1, 7, 32, 16, 32\) for a volume of \(16, 16, 32\)"):
        engine(np.ones((16, 16, 32), np.float32))


def test_torch_takes_the_threads_that_it_is_given_wherever_it_was_loaded(fine):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1) as pool:
            engine = pool.submit(load_engine, fine, "torchscript", "f32", before + 1, pinned=False).result()
        engine(np.zeros((64, 64, 64), np.float32))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
