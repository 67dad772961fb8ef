"""Labels: the values of a mask's file as whole labels, whatever type the file keeps them in. Arrays of any axis order.

The one place for it: what one command rounds, another must not cut off. A mask kept as scaled 16-bit integers gives
back 2.9999 for 3. `app` itself reads no masks; training and evaluation do, and neither imports the other.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDED = 0.01  # off a whole number, at the most, by scaling; values between labels (a mask interpolated) lie beyond
HIGHEST = int(np.iinfo(np.uint8).max)
NAMED = 5  # unknown values in a message; an image in a mask's place has thousands


def whole_labels(values: NDArray[Any], highest: int = HIGHEST) -> NDArray[np.uint8]:
    """Labels 0 to `highest` as uint8: `values` themselves if they are that, else a new array.

    values: integers, floats or truth values, only read. ValueError names those that lie further than ROUNDED from
    every label; NaN and infinity do.

    >>> whole_labels(np.array([0, 2.9999, 13.004], np.float32)).tolist()
    [0, 3, 13]
    """
    known = _are_labels(values, highest)
    if not known.all():
        unknown = np.unique(values[~known])
        what = "unknown labels" if _are_whole(unknown).all() else "values that are not whole numbers, so no labels:"
        raise ValueError(f"{what} {', '.join(f'{value:g}' for value in unknown[:NAMED])}; known are 0 to {highest}")
    return (np.rint(values) if values.dtype.kind == "f" else values).astype(np.uint8, copy=False)


def _are_labels(values: NDArray[Any], highest: int) -> NDArray[np.bool_]:
    if values.dtype.kind != "f":
        return (values >= 0) & (values <= highest)
    return _are_whole(values) & (values >= -ROUNDED) & (values <= highest + ROUNDED)


def _are_whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):  # infinity is no distance away from itself
        apart: NDArray[np.bool_] = np.abs(values - np.rint(values)) <= ROUNDED
    return apart
