import json
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.shared import SHARED, skip  # noqa: E402
from training import teacher  # noqa: E402
from training.recipe import Intensity  # noqa: E402
from training.teacher import Card, Teacher  # noqa: E402

CPU = torch.device("cpu")


class Bright(torch.nn.Module):
    """Class 1 where the normalised input is above 0."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        return torch.cat([-5 * volume, 5 * volume], 1)


@pytest.fixture
def folder(tmp_path):
    torch.jit.trace(Bright(), torch.zeros(1, 1, 8, 8, 8)).save(str(tmp_path / "teacher.pt"))
    intensity = {"low": -100.0, "high": 100.0, "mean": 0.0, "deviation": 50.0}
    card = {"spacing_mm": [2.0, 1.0, 1.0], "multiple": 8, "intensity": intensity}
    (tmp_path / "teacher.json").write_text(json.dumps(card))
    return tmp_path


def test_probabilities_on_the_grid_that_is_asked_for(folder):
    images = torch.full((2, 1, 4, 6, 10), -1000.0)
    images[:, :, :, :, 5:] = 1000
    got = Teacher(folder, CPU).probabilities(images, (2.0, 2.0, 2.0), (2, 3, 5))
    assert tuple(got.shape) == (2, 2, 2, 3, 5)
    torch.testing.assert_close(got.sum(1), torch.ones(2, 2, 3, 5))
    assert (got[:, 1, ..., :2] < 0.01).all()
    assert (got[:, 1, ..., 3:] > 0.99).all()
    assert not got.is_inference()


class Neighbours(torch.nn.Module):
    """Class 1 by the sum of what is shown along x, wherever it lies."""

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        whole = volume.sum(4, keepdim=True).expand_as(volume)
        return torch.cat([whole * 0, whole], 1)


def test_what_is_missing_to_a_multiple_is_air(folder):
    """Six voxels of the mean along x and two of air, at -2: a score of -4."""
    torch.jit.trace(Neighbours(), torch.zeros(1, 1, 8, 8, 8)).save(str(folder / "teacher.pt"))
    got = Teacher(folder, CPU).probabilities(torch.zeros(1, 1, 8, 8, 6), (2.0, 1.0, 1.0), (8, 8, 6))
    torch.testing.assert_close(got[:, 1], torch.full((1, 8, 8, 6), -4.0).sigmoid(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("teacher.json", "{", "teacher.json: not as training.teacher writes it"),
        ("teacher.json", '{"spacing_mm": [1, 1, 1]}', "teacher.json: not as training.teacher writes it: 'multiple'"),
        ("teacher.json", '{"spacing_mm": [1, 1, 1], "multiple": 8, "intensity": 3}', "teacher.json: not as"),
        ("teacher.json", "\udcff", "teacher.json: not as training.teacher writes it"),
        ("teacher.pt", "rubbish", "teacher.pt: cannot be loaded, convert it again: "),
    ],
)
def test_a_damaged_folder_is_a_line(folder, name, text, said):
    (folder / name).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=said):
        Teacher(folder, CPU)


@pytest.mark.parametrize(("spacing", "multiple"), [((1.0, 0.0, 1.0), 8), ((1.0, 1.0), 8), ((1.0, 1.0, 1.0), 0)])
def test_a_card_of_no_sense_is_refused(spacing, multiple):
    with pytest.raises(ValueError, match="spacing_mm must be three lengths above 0 and multiple 1 or more"):
        Card(spacing, multiple, Intensity(-100, 100, 0, 50))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the tracer warns of its own affairs
def test_a_public_network_comes_over_from_onnx_as_it_is(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="needs onnx: scripts/test --with-torch")
    openvino = pytest.importorskip("openvino")
    model = SHARED / "teacher" / "model.onnx"
    if not model.exists():
        skip(f"no network: {model} is not there")
    arguments = [str(model), str(tmp_path), "--spacing", "1.97", "1.54", "1.54", "--clip", "-971", "291"]
    monkeypatch.setattr(sys, "argv", ["teacher", *arguments, "--mean", "83.8", "--deviation", "144.8"])
    teacher.main()
    loaded = Teacher(tmp_path, CPU)
    got = loaded.probabilities(torch.zeros(1, 1, 32, 32, 32), (2.5, 2.5, 2.5), (32, 32, 32))
    assert tuple(got.shape) == (1, 14, 32, 32, 32)
    volume = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape([1, 1, 32, 32, 32])
    theirs = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([volume.numpy()])[0]
    with torch.inference_mode():
        ours = torch.jit.load(str(tmp_path / "teacher.pt"))(volume)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-3, rtol=1e-3)
    images = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1)) * 200
    in_openvino = loaded.probabilities(images, (1.97, 1.54, 1.54), (32, 32, 32))
    (tmp_path / "teacher.onnx").unlink()  # a machine with torch alone
    in_torch = Teacher(tmp_path, CPU).probabilities(images, (1.97, 1.54, 1.54), (32, 32, 32))
    torch.testing.assert_close(in_openvino, in_torch, atol=0.1, rtol=0)  # both in bfloat16 where the CPU has it
    assert (in_openvino.argmax(1) == in_torch.argmax(1)).float().mean() > 0.99


def test_what_an_operator_does_not_say_is_as_onnx_has_it(tmp_path):
    """A convolution without padding, a norm and a leaky ReLU, none with any attribute."""
    onnx = pytest.importorskip("onnx", reason="needs onnx: scripts/test --with-torch")
    kernel, ones, zeros = torch.randn(2, 1, 3, 3, 3), torch.ones(2), torch.zeros(2)
    known = {"w": kernel, "one": ones, "zero": zeros}
    steps = [
        ("Conv", ["x", "w"], "a"),
        ("InstanceNormalization", ["a", "one", "zero"], "b"),
        ("LeakyRelu", ["b"], "y"),
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, inputs, [output]) for kind, inputs, output in steps],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 6, 6, 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2, 4, 4, 4])],
        [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in known.items()],
    )
    onnx.save(onnx.helper.make_model(graph), str(tmp_path / "plain.onnx"))
    volume = torch.randn(1, 1, 6, 6, 6)
    expected = torch.nn.functional.conv3d(volume, kernel)
    expected = torch.nn.functional.leaky_relu(torch.nn.functional.instance_norm(expected), 0.01)
    torch.testing.assert_close(teacher.OnnxUNet(tmp_path / "plain.onnx")(volume), expected)


def test_a_network_of_something_else_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx: scripts/test --with-torch")
    node = onnx.helper.make_node("Softmax", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 4, 4, 4]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]))
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(ValueError, match=r"other\.onnx: operators Softmax are not known"):
        teacher.OnnxUNet(tmp_path / "other.onnx")
