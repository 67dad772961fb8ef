"""Reference: the usual way in torch. Gaussian windows at half overlap, all class scores to full resolution, argmax.

MONAI's sliding window with the window of training, float32, then trilinear interpolation of every class to every voxel.
"""

import argparse
import os

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch.nn import functional

from evaluation.contenders.network import load_network
from evaluation.contenders.program import Clock, finish, load, parser

OVERLAP = 0.5


def main() -> None:
    """Parses the arguments, segments."""
    clock = Clock()
    arguments = _parser().parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    image, bundle, volume = load(arguments.scan, arguments.bundle, clock)
    with clock.timed("load"):
        network = load_network(bundle)
    with torch.inference_mode():
        with clock.timed("segment"):
            scores = sliding_window_inference(
                torch.from_numpy(np.ascontiguousarray(volume[None, None])),
                roi_size=arguments.window,
                sw_batch_size=1,
                predictor=network,
                overlap=OVERLAP,
                mode="gaussian",
                padding_mode="constant",
                cval=float(volume.min()),
            )
        with clock.timed("restore"):
            whole = functional.interpolate(scores, size=image.grid.shape, mode="trilinear", align_corners=False)
            mask = whole[0].argmax(0).to(torch.uint8).numpy()
    finish(mask, image, arguments.outputs, clock)


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--window", type=int, nargs=3, required=True, help="voxels (z, y, x)")
    return made


if __name__ == "__main__":
    main()
