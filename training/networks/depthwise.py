"""Depthwise: convolutions of each channel by itself, for training on a CPU. Tensors (batch, channel, z, y, x).

torch's take ten times as long on a CPU and more, forward and backward (2.13, AVX-512, 12 channels of 48x48x48 voxels on
one core: of side 3 0.14 s, here 0.01 s; of side 7 1.2 s, here 0.08 s).
"""

from torch import Tensor, nn

from training.arithmetic import HAS_NUMBA


class Depthwise(nn.Conv3d):
    """A convolution of an odd side that keeps its input's size; 3, 5 and 7 are trained by the loops."""

    def __init__(self, channels: int, side: int = 3, *, bias: bool = False) -> None:
        super().__init__(channels, channels, side, padding=side // 2, groups=channels, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`. While training on a CPU with numba's loops, where numba is there."""
        if self.training and features.device.type == "cpu" and HAS_NUMBA:
            from training.networks.depthwise_loops import DTYPES, SIDES, depthwise

            if self.kernel_size[0] in SIDES and features.dtype in DTYPES:
                return depthwise(features, self.weight, self.bias)
        return super().forward(features)
