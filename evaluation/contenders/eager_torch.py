"""Eager torch: the reference way. Gaussian windows at half overlap, all class scores to full resolution, argmax.

MONAI's sliding window with the window of training, float32, then trilinear interpolation of 14 scores to every voxel.
"""

import argparse
import os

import numpy as np

from evaluation.contenders.common import Clock, finish, load, parser


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    with clock.timed("import"):
        import torch
        from monai.inferers import sliding_window_inference
        from torch.nn import functional

        from evaluation.contenders.weights import eager_network
    arguments = _parser().parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    image, bundle, volume = load(arguments.scan, arguments.bundle, clock)
    with clock.timed("load"):
        network = eager_network(bundle)
    with torch.inference_mode():
        with clock.timed("segment"):
            scores = sliding_window_inference(
                torch.from_numpy(np.ascontiguousarray(volume[None, None])),
                roi_size=arguments.window,
                sw_batch_size=1,
                predictor=network,
                overlap=arguments.overlap,
                mode="gaussian",
                padding_mode="constant",
                cval=float(volume.min()),
            )
        with clock.timed("restore"):
            whole = functional.interpolate(scores, size=image.grid.shape, mode="trilinear", align_corners=False)
            mask = whole[0].argmax(0).to(torch.uint8).numpy()
    finish(mask, image, arguments.outputs, clock, sum(weight.numel() for weight in network.parameters()))


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--window", type=int, nargs=3, required=True, help="voxels (z, y, x)")
    made.add_argument("--overlap", type=float, default=0.5)
    return made


if __name__ == "__main__":
    main()
