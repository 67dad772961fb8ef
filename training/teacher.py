"""Teacher: another network's class probabilities on the same augmented scan. Images (batch, 1, z, y, x) in HU, mm.

Its classes are those of the labels, in their order. A teacher is a folder of `teacher.pt` (TorchScript, so that torch
alone runs it), `teacher.onnx` (the same, for OpenVINO) and `teacher.json` (what it must be shown), written from an ONNX
network by

    python -m training.teacher MODEL.onnx OUT --spacing Z Y X --clip LOW HIGH --mean M --deviation D
"""

import argparse
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.arithmetic import autocast, has_bfloat16
from training.recipe import Intensity, Spacing

NETWORK, ONNX, CARD = "teacher.pt", "teacher.onnx", "teacher.json"
EXAMPLE_SIDE = 64  # voxels, for tracing


@dataclass(frozen=True, slots=True)
class Card:
    """spacing_mm: of its input (z, y, x). multiple: its input's sides are multiples of it."""

    spacing_mm: Spacing
    multiple: int
    intensity: Intensity

    def __post_init__(self) -> None:
        if len(self.spacing_mm) != 3 or min(self.spacing_mm) <= 0 or self.multiple < 1:
            raise ValueError(
                f"spacing_mm must be three lengths above 0 and multiple 1 or more, found {self.spacing_mm} and "
                f"{self.multiple}"
            )


class Teacher:
    """A teacher loaded from its folder. ValueError or OSError, naming the file, if it is not as `convert` wrote it."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        try:
            table = json.loads((folder / CARD).read_text(encoding="utf-8"))
            self.card = Card(tuple(table["spacing_mm"]), table["multiple"], Intensity(**table["intensity"]))
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{folder / CARD}: not as training.teacher writes it: {error}") from error
        is_onnx = device.type == "cpu" and find_spec("openvino") is not None and (folder / ONNX).exists()
        file = folder / (ONNX if is_onnx else NETWORK)
        try:
            self._network: Callable[[Tensor], Tensor] = (
                _in_openvino(file, device) if is_onnx else torch.jit.load(str(file), map_location=device).eval()
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{file}: cannot be loaded, convert it again: {reason}") from error

    def probabilities(self, images: Tensor, spacing: Spacing, shape: Sequence[int]) -> Tensor:
        """Class probabilities (batch, class, *shape) of images (batch, 1, z, y, x; HU) of voxels `spacing` apart.

        The images are brought to the teacher's spacing and filled up with air, its answer back to `shape`.
        """
        card = self.card
        size = [max(1, round(n * s / t)) for n, s, t in zip(images.shape[2:], spacing, card.spacing_mm, strict=True)]
        with torch.inference_mode(), autocast(images.device):
            fine = F.interpolate(images, size, mode="trilinear", align_corners=False)
            fine = fine.clamp(card.intensity.low, card.intensity.high)
            fine = (fine - card.intensity.mean) / card.intensity.deviation
            missing = [-n % card.multiple for n in size]
            air = (card.intensity.low - card.intensity.mean) / card.intensity.deviation
            padded = F.pad(fine, (0, missing[2], 0, missing[1], 0, missing[0]), value=air)
            scores = self._network(padded)[..., : size[0], : size[1], : size[2]]
            result = F.interpolate(scores.float().softmax(1), tuple(shape), mode="trilinear", align_corners=False)
        return result.clone()  # a tensor that autograd may keep


def _in_openvino(model: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The network on a CPU, where torch is slow at what teachers are made of.

    A public network of depthwise convolutions on 80x128x128 voxels, two cores with bfloat16 beside other work: 3.2 s in
    torch, 0.6 s here.
    """
    import openvino

    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16(device) else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape([-1, 1, -1, -1, -1])
    request = core.compile_model(network, "CPU", options).create_infer_request()

    def run(volume: Tensor) -> Tensor:
        # shared: else infer copies its answer, which nobody reads
        request.infer([volume.contiguous().numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(request.get_output_tensor().data)

    return run


class OnnxUNet(nn.Module):
    """A U-Net of convolutions, instance norms and leaky ReLUs, run node by node from its ONNX graph.

    By hand because onnx2torch (1.5) imports torchvision, whose builds from PyPI do not fit a torch for the CPU.
    """

    def __init__(self, model: Path) -> None:
        super().__init__()
        import onnx  # only to convert; a converted teacher needs torch alone

        graph = onnx.load(str(model)).graph
        weights = {tensor.name: onnx.numpy_helper.to_array(tensor).copy() for tensor in graph.initializer}
        self._numbers = {name: f"weight_{number}" for number, name in enumerate(weights)}
        for name, value in weights.items():
            self.register_buffer(self._numbers[name], torch.from_numpy(value))
        self._nodes = [
            (
                node.op_type,
                list(node.input),
                node.output[0],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in graph.node
        ]
        unknown = {kind for kind, *_ in self._nodes} - set(OPERATORS)
        if unknown:
            raise ValueError(
                f"{model}: operators {', '.join(sorted(unknown))} are not known, only {', '.join(OPERATORS)}"
            )
        self._input, self._output = graph.input[0].name, graph.output[0].name

    def forward(self, volume: Tensor) -> Tensor:
        """Class scores (batch, class, z, y, x) of an input (batch, 1, z, y, x)."""
        values = {self._input: volume} | {name: getattr(self, buffer) for name, buffer in self._numbers.items()}
        for kind, inputs, output, attributes in self._nodes:
            values[output] = OPERATORS[kind]([values[name] for name in inputs], attributes)
        scores: Tensor = values[self._output]
        return scores


def _convolution(inputs: list[Tensor], attributes: dict[str, Any], run: Callable[..., Tensor]) -> Tensor:
    volume, weight, *bias = inputs
    given = CONVOLUTION | attributes
    pads = given["pads"]
    if pads[:3] != pads[3:] or set(given["dilations"]) != {1} or set(attributes) - set(CONVOLUTION):
        raise ValueError(f"a convolution with {attributes} is not known; pads alike on both sides, no dilation")
    stride, groups = given["strides"], given["group"]
    return run(volume, weight, bias[0] if bias else None, stride=stride, padding=pads[:3], groups=groups)


# attributes that are understood, and what they are by themselves
CONVOLUTION: dict[str, Any] = {
    "kernel_shape": None,
    "pads": [0] * 6,
    "strides": [1] * 3,
    "dilations": [1] * 3,
    "group": 1,
}
OPERATORS: dict[str, Callable[[list[Tensor], dict[str, Any]], Tensor]] = {
    "Conv": lambda inputs, attributes: _convolution(inputs, attributes, F.conv3d),
    "ConvTranspose": lambda inputs, attributes: _convolution(inputs, attributes, F.conv_transpose3d),
    "InstanceNormalization": lambda inputs, attributes: F.instance_norm(
        inputs[0], weight=inputs[1], bias=inputs[2], eps=attributes.get("epsilon", 1e-5)
    ),
    "LeakyRelu": lambda inputs, attributes: F.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "Concat": lambda inputs, attributes: torch.cat(inputs, attributes["axis"]),
}


def convert(model: Path, folder: Path, card: Card) -> None:
    """An ONNX network as a teacher's folder. ValueError for a network with operators that are not known, and where the
    folder has a teacher already."""
    for name in (NETWORK, CARD):
        if (folder / name).exists():
            raise ValueError(f"{folder / name}: is there already; name a new folder")
    network = OnnxUNet(model).eval()
    with torch.inference_mode():
        traced = torch.jit.trace(network, torch.zeros(1, 1, *[EXAMPLE_SIDE] * 3))
    folder.mkdir(parents=True, exist_ok=True)
    traced.save(str(folder / NETWORK))
    shutil.copyfile(model, folder / ONNX)
    (folder / CARD).write_text(json.dumps(asdict(card), indent=1) + "\n")


def main() -> None:
    """Parses the arguments, converts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="ONNX; input (1, 1, z, y, x), output class scores")
    parser.add_argument("out", type=Path, help="the teacher's folder")
    parser.add_argument("--spacing", type=float, nargs=3, required=True, metavar=("Z", "Y", "X"), help="mm")
    parser.add_argument("--clip", type=float, nargs=2, required=True, metavar=("LOW", "HIGH"), help="HU")
    parser.add_argument("--mean", type=float, required=True, help="HU")
    parser.add_argument("--deviation", type=float, required=True, help="HU")
    parser.add_argument("--multiple", type=int, default=16, help="of its input's sides (default: %(default)s)")
    arguments = parser.parse_args()
    low, high = arguments.clip
    try:
        intensity = Intensity(low, high, arguments.mean, arguments.deviation)
        convert(arguments.model, arguments.out, Card(tuple(arguments.spacing), arguments.multiple, intensity))
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
