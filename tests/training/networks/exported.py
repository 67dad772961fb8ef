"""What a network gives once it is in OpenVINO, for tests."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")
import openvino  # noqa: E402


def openvino_scores(network, volume):
    """Class scores of OpenVINO's float32, from a model whose input has the fixed shape of `volume`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of its own affairs
        model = openvino.convert_model(network.eval(), example_input=volume, input=[list(volume.shape)])
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(np.array(compiled(volume.numpy())[0]))
