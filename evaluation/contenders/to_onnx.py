"""To ONNX: `python -m evaluation.contenders.to_onnx BUNDLE MODEL.onnx`. A bundle's network for ONNX Runtime.

For any size of window, checked against the TorchScript that it is made of. Prints JSON: the network's parameters.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from app.errors import VisceraError
from app.models.bundle import Bundle, load_bundle
from evaluation.contenders.network import load_network

TOLERANCE = 1e-3  # of scores up to some tens, float32


def main() -> None:
    """Parses the arguments, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path, metavar="MODEL.onnx")
    arguments = parser.parse_args()
    bundle = load_bundle(arguments.bundle)
    network = load_network(bundle)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_onnx(network, bundle, arguments.out)
    check(network, bundle, arguments.out)
    print(json.dumps({"parameters": sum(weight.numel() for weight in network.parameters())}))


def write_onnx(network: torch.jit.ScriptModule, bundle: Bundle, path: Path) -> None:
    """The network, for any size of window."""
    free = dict(zip((2, 3, 4), "zyx", strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older exporter, which says that it is; the other needs one more package
        torch.onnx.export(
            network,
            (_noise(bundle),),
            str(path),
            input_names=["volume"],
            output_names=["scores"],
            dynamic_axes={"volume": free, "scores": free},
            dynamo=False,
        )


def check(network: torch.jit.ScriptModule, bundle: Bundle, path: Path) -> None:
    """VisceraError if ONNX Runtime's scores are others than torch's, of noise of another size than it was made with."""
    noise = torch.cat([_noise(bundle)] * 2, dim=2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.inference_mode():
        apart = np.abs(session.run(None, {"volume": noise.numpy()})[0] - network(noise).numpy()).max()
    if not apart < TOLERANCE:
        raise VisceraError(f"{path}: its scores are {apart:.3g} off those of {bundle.folder}")


def _noise(bundle: Bundle) -> torch.Tensor:
    if bundle.window is None:
        raise VisceraError(f"{bundle.folder}: has no window; contenders run a fine model")
    return torch.randn(1, 1, *bundle.window.smallest, generator=torch.Generator().manual_seed(0))


if __name__ == "__main__":
    main()
