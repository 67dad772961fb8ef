"""Enlarged: scores that are coarser than the input, brought to its size inside the network. Tensors (batch, channel, z,
y, x).

Paper 003 runs its coarse model so: the way up ends at a quarter of the resolution (`nnunet.shortened`), and the scores
are enlarged four times. Inside, so that a caller gets scores as fine as what it showed.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class Enlarged(nn.Module):
    """`network`, whose raw scores (batch, class, z, y, x) are interpolated to the input's size, corners aligned."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, volume: Tensor) -> Tensor:
        """Raw class scores (batch, class, z, y, x), as fine as the input."""
        return F.interpolate(self.network(volume), volume.shape[2:], mode="trilinear", align_corners=True)
