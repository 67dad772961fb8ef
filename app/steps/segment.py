"""Segment: class scores of a model on its grid. Arrays (z, y, x), scores (class, z, y, x), not softmaxed as a rule.

Where windows overlap their scores are averaged (papers 000 and 003; paper 004 on raw scores), all alike unless the
bundle says otherwise. Every window is run unless a walk says otherwise: a region is a few windows as a rule, and hardly
one of them is without an organ.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np

from app.models.bundle import AXES, GAUSSIAN, PROBABILITIES, Bundle, Window
from app.models.engine import Engine
from app.steps.walk import EVERY_WINDOW, Walk
from app.steps.windows import Part, Plan, filled_up, window_parts, window_weights
from app.types import Scores, Shape, Volume


def segment(volume: Volume, bundle: Bundle, engine: Engine, walk: Walk = EVERY_WINDOW, *, threads: int = 1) -> Scores:
    """Scores (class, z, y, x; float32) of a normalised volume (z, y, x) on the bundle's grid.

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
        return engine(padded)[:, *own].copy()
    with ThreadPoolExecutor(threads) as pool:
        return _walked(padded, bundle, engine, walk, plan, pool)[:, *own]


def _walked(volume: Volume, bundle: Bundle, engine: Engine, walk: Walk, plan: Plan, pool: ThreadPoolExecutor) -> Scores:
    """The mean of the windows taken, at each voxel; zeros where there is none."""
    window = _window_of(bundle)
    parts_of = window_parts(plan, window) if walk.whole and window.weights != GAUSSIAN else None
    weights = window_weights(plan.shape, window) if parts_of is None else None
    scores = np.zeros((bundle.channels, *volume.shape), np.float32)
    counts = None if weights is None else np.zeros(volume.shape, np.float32)
    seen: tuple[Shape, Scores] | None = None

    def at(corner: Shape) -> tuple[slice, ...]:
        return tuple(slice(start, start + side) for start, side in zip(corner, plan.shape, strict=True))

    def look(corner: Shape) -> Scores:
        nonlocal seen
        answer = engine(volume[at(corner)])
        seen = corner, softmax(answer) if window.adds == PROBABILITIES else answer
        return seen[1]

    def take() -> None:
        if seen is None:
            raise ValueError("a walk takes a window that it has not looked at")
        corner, answer = seen
        here = at(corner)
        parts = [Part((slice(None),) * 3, weights)] if parts_of is None else parts_of[corner]

        def add(label: int) -> None:  # a class a task: a product is as large as one class
            target = scores[label][here]
            for part in parts:
                values = answer[label][part.box]
                target[part.box] += values if part.weight is None else values * part.weight

        for _ in pool.map(add, range(len(scores))):
            pass
        if counts is not None and weights is not None:
            counts[here] += weights

    walk.go(plan, look, take)
    if counts is not None:
        counts[counts == 0] = 1
        scores /= counts
    return scores


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
            answer = softmax(engine(volume)) if adds_probabilities else engine(volume)
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
