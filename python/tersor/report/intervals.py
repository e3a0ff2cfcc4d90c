"""How far an accuracy may be off because the test set is finite: bootstrap intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_RESAMPLES = 10_000
_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A bootstrap interval.

    Attributes
    ----------
    low, high : float
    level : float
        Share of the resampled figures that lie in it.
    """

    low: float
    high: float
    level: float = _LEVEL

    def to_dict(self) -> dict[str, float]:
        """Return plain data as in the JSON schema of reports.

        Returns
        -------
        dict
        """
        return {"low": self.low, "high": self.high, "level": self.level}


def bootstrap_accuracy(
    correct: ArrayLike, *, resamples: int = _RESAMPLES, level: float = _LEVEL, seed: int = 0
) -> Interval:
    """Return the percentile interval of an accuracy.

    Drawing n of n samples again with replacement and counting the correct ones is a draw from
    Binomial(n, accuracy), which is drawn directly.

    Parameters
    ----------
    correct : array-like of bool, shape (n,)
        Which samples were right; at least one.
    resamples : int
        At least 1.
    level : float
        In (0, 1).
    seed : int

    Returns
    -------
    Interval
        Shares in [0, 1]. Of a network that is always right it is [1, 1]: no bootstrap sees what
        the sample does not have.

    Raises
    ------
    ValueError
        If there is no sample, or a parameter is out of range.

    References
    ----------
    B. Efron, R. Tibshirani: An Introduction to the Bootstrap. Chapman & Hall, 1993, chapter 13.

    Examples
    --------
    >>> bootstrap_accuracy([True] * 900 + [False] * 100)
    Interval(low=0.881, high=0.918, level=0.95)
    """
    right = _flags(correct, "correct")
    _check(resamples, level, "bootstrap_accuracy")
    draw = np.random.default_rng(seed).binomial(len(right), right.mean(), resamples)
    return _quantiles(draw / len(right), level)


def bootstrap_change(
    correct: ArrayLike,
    baseline: ArrayLike,
    *,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of the difference of two accuracies on the same samples.

    Samples are drawn in pairs: what both get right or wrong cancels, and the interval is narrower
    than those of the two accuracies suggest.

    Parameters
    ----------
    correct, baseline : array-like of bool, shape (n,)
        Which samples each network got right.
    resamples, level, seed
        As for :func:`bootstrap_accuracy`.

    Returns
    -------
    Interval
        Of accuracy minus the baseline's; a change is significant where 0 lies outside.

    Raises
    ------
    ValueError
        If lengths differ, or as for :func:`bootstrap_accuracy`.

    Examples
    --------
    >>> bootstrap_change([True, False, True, True], [True, False, True, True])
    Interval(low=0.0, high=0.0, level=0.95)
    """
    right, before = _flags(correct, "correct"), _flags(baseline, "baseline")
    if len(right) != len(before):
        raise ValueError(
            f"bootstrap_change: baseline must have {len(right)} samples, got {len(before)}"
        )
    _check(resamples, level, "bootstrap_change")
    gained, lost = float((right & ~before).mean()), float((before & ~right).mean())
    shares = [gained, lost, 1 - gained - lost]
    draw = np.random.default_rng(seed).multinomial(len(right), np.maximum(shares, 0), resamples)
    return _quantiles((draw[:, 0] - draw[:, 1]) / len(right), level)


def _flags(values: ArrayLike, name: str) -> NDArray[np.bool_]:
    flags = np.asarray(values, bool).ravel()
    if not flags.size:
        raise ValueError(f"bootstrap: {name} must have at least one sample, got none")
    return flags


def _check(resamples: int, level: float, what: str) -> None:
    if resamples < 1:
        raise ValueError(f"{what}: resamples must be at least 1, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"{what}: level must be in (0, 1), got {level}")


def _quantiles(figures: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level)


__all__ = ["Interval", "bootstrap_accuracy", "bootstrap_change"]
