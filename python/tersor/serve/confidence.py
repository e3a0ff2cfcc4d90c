"""How sure a classifier is of each sample, from its row of scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.schema import did_you_mean
from ..compress.agreement import log_probabilities

MEASURES = ("margin", "probability", "entropy")


def confidence(
    scores: NDArray[Any], measure: str = "margin", *, temperature: float = 1.0
) -> NDArray[np.float64]:
    """Return how sure a classifier is of each row.

    Parameters
    ----------
    scores : ndarray, shape (rows, classes)
        Logits, or probabilities.
    measure : {"margin", "probability", "entropy"}
        p1 - p2 of the two likeliest classes; p1; or 1 - H / log(classes) of the entropy H.
    temperature : float
        Logits are divided by it, > 0.

    Returns
    -------
    ndarray of float64, shape (rows,)
        In [0, 1]; NaN where a row has NaN.

    Raises
    ------
    ValueError
        If the measure is unknown, or the scores are no rows of at least two classes.

    Examples
    --------
    >>> confidence(np.array([[0.7, 0.2, 0.1]])).round(2)
    array([0.5])
    """
    if measure not in MEASURES:
        raise ValueError(
            f"confidence: measure must be one of {', '.join(MEASURES)}, got {measure!r}"
            f"{did_you_mean(str(measure), MEASURES)}"
        )
    if not 0 < temperature < math.inf:
        raise ValueError(f"confidence: temperature must be above 0, got {temperature!r}")
    values = np.asarray(scores, np.float64)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(f"confidence: scores must be rows of classes, got shape {values.shape}")
    if len(values) == 0:
        return np.zeros(0)
    logs = log_probabilities(values)
    if temperature != 1:
        logs = log_probabilities(logs / temperature)
    shares = np.exp(logs)
    if measure == "entropy":
        terms = np.where(shares > 0, shares * logs, 0.0)
        certain: NDArray[np.float64] = 1 + terms.sum(axis=1) / math.log(values.shape[1])
        return np.where(np.isnan(shares).any(axis=1), np.nan, certain.clip(0, 1))
    top = np.partition(shares, -2, axis=1)[:, -2:]
    best = top[:, 1] - top[:, 0] if measure == "margin" else top[:, 1]
    return np.where(np.isnan(shares).any(axis=1), np.nan, best)


__all__ = ["MEASURES", "confidence"]
