"""nnU-Net's way from a scan to a mask, written out step by step with numpy and scipy: slow and plain.

Arrays along the plan's axes but where it is said. All in float32, where nnU-Net itself adds up scores in half.
"""

from itertools import chain, combinations, product

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("torch", reason="needs torch: scripts/test --with-torch")

from tests.training.nnunet.made_up_model import CONFIGURATION


def segmented(voxels, spacing, plans, network):
    """The mask of a scan, and by how much its best score leads; all along the file's (z, y, x), as SimpleITK has them.

    network: a window's scores (channel first) by the window.
    """
    chosen, forward = plans["configurations"][CONFIGURATION], plans["transpose_forward"]
    spacing, target = [spacing[axis] for axis in forward], chosen["spacing"]
    turned = voxels.transpose(forward).astype(np.float32)
    box = ndimage.find_objects(turned != 0, 1)[0]
    cropped = turned[box]
    figures = plans["foreground_intensity_properties_per_channel"]["0"]
    clipped = np.clip(cropped, figures["percentile_00_5"], figures["percentile_99_5"])
    normalised = (clipped - figures["mean"]) / figures["std"]
    fine = [round(mm / wanted * side) for mm, wanted, side in zip(spacing, target, cropped.shape, strict=True)]
    volume = resampled(normalised, fine, spacing, target, order=3)
    scores = in_windows(volume, chosen["patch_size"], network)
    back = np.stack([resampled(channel, cropped.shape, target, spacing, order=1) for channel in scores])
    mask, lead = np.zeros(turned.shape, np.uint8), np.full(turned.shape, np.inf)
    mask[box] = back.argmax(0)
    second, best = np.sort(back, 0)[-2:]
    lead[box] = best - second
    backward = plans["transpose_backward"]
    return mask.transpose(backward), lead.transpose(backward)


def resampled(volume, shape, spacing, target, *, order):
    """Slices apart where a voxel is more than three times as long as wide, before or after."""
    apart = next((one for one in (spacing, target) if max(one) / min(one) > 3), None)
    if tuple(shape) == volume.shape:
        return volume
    if apart is None:
        return resized(volume, shape, order)
    axis = int(np.argmax(apart))
    assert sorted(apart)[1] < max(apart)  # with two long sides nothing is apart: not written out here
    inner = np.delete(shape, axis)
    planes = np.stack([resized(plane, inner, order) for plane in np.moveaxis(volume, axis, 0)])
    nearest = (np.arange(shape[axis]) + 0.5) * len(planes) / shape[axis] - 0.5
    places = np.meshgrid(nearest, *map(np.arange, inner), indexing="ij")
    return np.moveaxis(ndimage.map_coordinates(planes, places, order=0, mode="nearest"), 0, axis)


def resized(volume, shape, order):
    """As skimage.transform.resize does it: what a spline overshoots is cut off."""
    zoom = np.divide(shape, volume.shape)
    found = ndimage.zoom(volume.astype(float), zoom, order=order, mode="nearest", grid_mode=True)
    return np.clip(found, volume.min(), volume.max()).astype(np.float32)


def in_windows(volume, sides, network):
    """Scores of overlapping windows, which count by a Gaussian around their middle."""
    missing = [max(0, side - size) for side, size in zip(sides, volume.shape, strict=True)]
    before = [count // 2 for count in missing]
    padded = np.pad(volume, [(first, count - first) for first, count in zip(before, missing, strict=True)])
    weights = np.zeros(sides)
    weights[tuple(side // 2 for side in sides)] = 1
    weights = ndimage.gaussian_filter(weights, [side / 8 for side in sides], mode="constant")
    weights = np.maximum(weights, weights[weights > 0].min())
    scores, total = 0, np.zeros(padded.shape)
    for starts in product(*map(starts_along, padded.shape, sides)):
        window = tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
        found = network(padded[window])
        if isinstance(scores, int):
            scores = np.zeros((len(found), *padded.shape))
        scores[:, *window] += found * weights
        total[window] += weights
    inside = tuple(slice(first, first + size) for first, size in zip(before, volume.shape, strict=True))
    return (scores / total)[:, *inside]


def starts_along(size, side):
    """Half a window apart or nearer, all as far."""
    count = int(np.ceil((size - side) / (side / 2))) + 1
    return [round((size - side) / max(count - 1, 1) * number) for number in range(count)]


def mirrored(network, axes):
    """The mean over windows mirrored along each choice of axes."""

    def mean(window):
        choices = chain.from_iterable(combinations(axes, count) for count in range(len(axes) + 1))
        found = [np.flip(network(np.flip(window, some)), [1 + axis for axis in some]) for some in choices]
        return np.mean(found, 0)

    return mean
