"""Network: a bundle's own network in torch, whatever it is: its TorchScript, in float32."""

import torch

from app.models.bundle import TORCHSCRIPT, Bundle


def load_network(bundle: Bundle) -> torch.jit.ScriptModule:
    """In evaluation mode. SetupError where the bundle has no TorchScript, or another than it says."""
    (path,) = bundle.engine_files(TORCHSCRIPT)
    network: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu").float().eval()
    return network
