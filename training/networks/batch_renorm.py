"""Batch renormalisation: a norm that is trained as it is used, and folds away. Tensors (batch, channel, z, y, x)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from training.networks.fixed_norm import EPSILON, KeptNorm

LARGEST_RATIO, LARGEST_SHIFT = 3.0, 5.0  # of batch renormalisation, Ioffe 2017
RENORMALISED_AFTER = 500  # steps; until then the limits rise from those of batch norm
MOMENTUM = 0.02  # of the running mean and variance


class BatchRenorm(KeptNorm):
    """Batch renormalisation (Ioffe, arXiv:1702.03275): trained with the running statistics that it is used with.

    Its gradient is that of batch norm. Unlike instance norm it does not depend on the window, and folds into the
    convolution before it; unlike batch norm it can be trained on one patch at a time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("steps", torch.zeros(()))  # a float: averaged with the weights

    steps: Tensor

    def forward(self, features: Tensor) -> Tensor:
        """The shape of `features`."""
        if not self.training:
            return super().forward(features)
        with torch.no_grad():
            ratio, shift = self._correction(features)
        return F.batch_norm(features, None, None, ratio * self.weight, shift * self.weight + self.bias, training=True)

    def _correction(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What takes features normalised by this batch to those normalised by the running statistics."""
        # with the weights, because of bfloat16 features without them these would be bfloat16, too
        _, mean, inverse = torch.native_batch_norm(features, self.weight, self.bias, None, None, True, 0.0, EPSILON)
        deviation = 1 / inverse  # with the epsilon
        is_finite = bool(torch.isfinite(mean + deviation).all())
        if is_finite and not self.steps:
            self.mean.copy_(mean)
            self.variance.copy_(deviation.square())
        running = (self.variance + EPSILON).sqrt()
        share = min(1.0, float(self.steps) / RENORMALISED_AFTER)
        most = 1 + share * (LARGEST_RATIO - 1)
        ratio = (deviation / running).clamp(1 / most, most)
        shift = ((mean - self.mean) / running).clamp(-share * LARGEST_SHIFT, share * LARGEST_SHIFT)
        if is_finite:  # a step with a batch that is not is left out, too (training.train)
            self.mean.lerp_(mean, MOMENTUM)
            self.variance.lerp_(deviation.square(), MOMENTUM)
            self.steps += 1
        return ratio, shift
