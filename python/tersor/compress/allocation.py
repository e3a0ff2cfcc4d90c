"""How many weights each layer loses under one budget for all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Key = TypeVar("_Key", bound=Hashable)


def allocate_removals(
    curves: Mapping[_Key, NDArray[np.float64]], total: int, weights: Mapping[_Key, float]
) -> dict[_Key, int]:
    """Return how many units go from each layer so that the sum of losses is least.

    At the optimum, one more removal costs the same in every layer: the cheapest slopes of the
    curves' convex hulls are taken until the budget is used.

    Parameters
    ----------
    curves : mapping to ndarray, shape (units + 1,)
        By layer, under any key: loss after 0, 1, 2, ... removals, as `removal_curve` gives it.
    total : int
        Removals over all layers, at most their units together.
    weights : mapping to float
        What a unit of a layer's loss counts.

    Returns
    -------
    dict to int

    Examples
    --------
    >>> allocate_removals({"a": np.array([0, 1, 4]), "b": np.array([0, 2, 9])}, 2, {"a": 1, "b": 1})
    {'a': 1, 'b': 1}
    """
    slopes = [_hull_slopes(curve) * weights[name] for name, curve in curves.items()]
    if not slopes:
        return {}
    owner = np.repeat(np.arange(len(slopes)), [len(s) for s in slopes])
    cheapest = np.argsort(np.concatenate(slopes), kind="stable")[:total]
    counts = np.bincount(owner[cheapest], minlength=len(slopes))
    return {name: int(n) for name, n in zip(curves, counts, strict=True)}


def _hull_slopes(curve: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes, never falling, of the largest convex function below a curve."""
    # A thousand points tell the shape of a curve; layers have millions of weights.
    step = max(1, len(curve) // 1000)
    points: list[int] = []
    for x in sorted({*range(0, len(curve), step), len(curve) - 1}):
        while len(points) > 1:
            a, b = points[-2], points[-1]
            if (curve[b] - curve[a]) * (x - b) < (curve[x] - curve[b]) * (b - a):
                break
            points.pop()
        points.append(x)
    ends = np.array(points)
    steps = np.diff(ends)
    return np.repeat(np.diff(np.asarray(curve, np.float64)[ends]) / np.maximum(steps, 1), steps)


__all__ = ["allocate_removals"]
