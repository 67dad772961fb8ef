"""Segment: class scores of a model on its grid. Arrays (z, y, x), scores (class, z, y, x), not softmaxed as a rule.

Where windows overlap their scores are averaged (papers 000 and 003; paper 004 on raw scores), all alike unless the
bundle says otherwise. Every window is run unless a walk says otherwise: a region is a few windows as a rule, and hardly
one of them is without an organ.

Quantised scores (int8) are added up as int16, in parts of `WHOLE`: half the memory of float32 (146 MB less for a scan
of 272 x 253 x 340 mm at 2 x 1.5 x 1.5 mm), and half the time.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.models.bundle import AXES, GAUSSIAN, PROBABILITIES, Bundle, Window
from app.models.engine import Engine
from app.steps.walk import EVERY_WINDOW, Walk
from app.steps.windows import Part, Plan, Weight, filled_up, window_parts, window_weights
from app.types import Scores, Shape, Volume

WHOLE = 128  # parts of what counts once: -128 * 128 is half of int16, for shares that are rounded up


def segment(volume: Volume, bundle: Bundle, engine: Engine, walk: Walk = EVERY_WINDOW, *, threads: int = 1) -> Scores:
    """Scores (class, z, y, x) of a normalised volume (z, y, x) on the bundle's grid: float32, or int16 (`score_unit`)
    where the engine's are quantised and `sums_parts` says so, or one window is all.

    On the same grid; without a window, where the volume is seen at once, they may be coarser, and are the engine's own.
    With the window's `adds` "probabilities" they are those, averaged. threads: how many add windows up; the
    engine has its own.
    """
    window = bundle.window
    if window is None:
        return engine(volume)
    z, y, x = volume.shape
    plan = walk.plan((z, y, x), window)
    padding = plan.padding((z, y, x), centred=window.centred)
    padded = filled_up(volume, padding, bundle)
    own = tuple(slice(before, before + size) for (before, _), size in zip(padding, volume.shape, strict=True))
    if walk.whole and len(plan.corners) == 1 and window.adds != PROBABILITIES:
        # one window: its scores are taken as they come, no sum; a copy, since the engine keeps its own buffer
        answer = engine(padded)[:, *own]
        return np.multiply(answer, np.int16(WHOLE)) if _is_quantised(answer) else answer.copy()
    with ThreadPoolExecutor(threads) as pool:
        return _walked(padded, bundle, engine, walk, plan, pool)[:, *own]


def sums_parts(window: Window, walk: Walk) -> bool:
    """Whether quantised scores are added up as they are: shares are known beforehand, and no softmax comes before."""
    return walk.whole and window.weights != GAUSSIAN and window.adds != PROBABILITIES


def _walked(volume: Volume, bundle: Bundle, engine: Engine, walk: Walk, plan: Plan, pool: ThreadPoolExecutor) -> Scores:
    """The mean of the windows taken, at each voxel; zeros where there is none."""
    window = _window_of(bundle)
    parts_of = window_parts(plan, window) if walk.whole and window.weights != GAUSSIAN else None
    weights = window_weights(plan.shape, window) if parts_of is None else None
    scores: Scores | None = None
    counts = None if weights is None else np.zeros(volume.shape, np.float32)
    seen: tuple[Shape, Scores] | None = None

    def at(corner: Shape) -> tuple[slice, ...]:
        return tuple(slice(start, start + side) for start, side in zip(corner, plan.shape, strict=True))

    def look(corner: Shape) -> Scores:
        nonlocal seen
        answer = engine(volume[at(corner)])
        if not sums_parts(window, walk):
            answer = _in_float(answer, bundle)
        seen = corner, softmax(answer) if window.adds == PROBABILITIES else answer
        return seen[1]

    def take() -> None:
        nonlocal scores
        if seen is None:
            raise ValueError("a walk takes a window that it has not looked at")
        corner, answer = seen
        if scores is None:
            scores = np.zeros((bundle.channels, *volume.shape), np.int16 if _is_quantised(answer) else np.float32)
        here, sums = at(corner), scores
        parts = [Part((slice(None),) * 3, weights)] if parts_of is None else parts_of[corner]
        if _is_quantised(answer):
            parts = [Part(part.box, _in_parts(part.weight)) for part in parts]

        def add(label: int) -> None:  # a class a task: a product is as large as one class
            _add(answer[label], parts, sums[label][here])

        for _ in pool.map(add, range(len(sums))):
            pass
        if counts is not None and weights is not None:
            counts[here] += weights

    walk.go(plan, look, take)
    if scores is None:  # a walk may take none
        return np.zeros((bundle.channels, *volume.shape), np.float32)
    if counts is not None:
        counts[counts == 0] = 1
        scores /= counts
    return scores


def _is_quantised(scores: NDArray[Any]) -> bool:
    return scores.dtype == np.int8


def _in_parts(weight: Weight) -> Weight:
    return None if weight is None else np.rint(WHOLE * weight).astype(np.int16)


def _add(values: NDArray[Any], parts: Sequence[Part], target: NDArray[Any]) -> None:
    """In place: a class's scores in a window (z, y, x) to its sums there, float32, or int16 in parts of `WHOLE`."""
    once = WHOLE if _is_quantised(values) else 1
    for part in parts:
        if part.weight is None:  # no other window covers it
            np.multiply(values[part.box], once, out=target[part.box], dtype=target.dtype)
        else:
            target[part.box] += np.multiply(values[part.box], part.weight, dtype=target.dtype)


def _in_float(scores: Scores, bundle: Bundle) -> Scores:
    """Scores as float32, up to a constant that all of a voxel share."""
    return scores * np.float32(bundle.score_step) if _is_quantised(scores) else scores


def score_unit(scores: Scores, bundle: Bundle) -> float:
    """What 1 of the scores that `segment` gives counts: 1 of float32."""
    return bundle.score_step / WHOLE if scores.dtype == np.int16 else 1.0


def mirrored(engine: Engine, axes: Sequence[str]) -> list[Engine]:
    """An engine, and for each combination of axes ("z", "y", "x") one that is shown what is mirrored along them.

    The scores of each lie as those of the first.
    """
    places = [AXES.index(axis) for axis in axes]
    every = [some for count in range(len(places) + 1) for some in combinations(places, count)]
    return [_flipped(engine, some) if some else engine for some in every]


def _flipped(engine: Engine, axes: tuple[int, ...]) -> Engine:
    def run(volume: Volume) -> Scores:
        scores: Scores = np.flip(engine(np.flip(volume, axes)), tuple(1 + axis for axis in axes))
        return scores

    return run


def averaged(engines: Sequence[Engine], bundle: Bundle) -> Engine:
    """One engine whose scores are the mean of several engines'; of their probabilities where the bundle adds those.

    Where it does, logarithms of the means are given, which softmax turns into the means again.
    """
    if len(engines) == 1:
        return engines[0]
    adds_probabilities = bundle.window is not None and bundle.window.adds == PROBABILITIES

    def run(volume: Volume) -> Scores:
        total: Scores | None = None
        for engine in engines:
            answer = _in_float(engine(volume), bundle)
            answer = softmax(answer) if adds_probabilities else answer
            total = answer.copy() if total is None else np.add(total, answer, out=total)
        if total is None:
            raise ValueError(f"bundle {bundle.name}: no engine to average")
        total /= len(engines)
        return np.log(np.maximum(total, np.finfo(np.float32).tiny)) if adds_probabilities else total

    return run


def softmax(scores: Scores) -> Scores:
    """Probabilities (class, z, y, x), a new array."""
    powers = np.exp(scores - scores.max(0))
    powers /= powers.sum(0)
    result: Scores = powers
    return result


def _window_of(bundle: Bundle) -> Window:
    if bundle.window is None:
        raise ValueError(f"bundle {bundle.name} has no window")
    return bundle.window
