"""Agreement of a deployed network with its float parent, on a sample."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray


class AgreementWatch:
    """Counts where two networks say the same class, against what calibration showed.

    Parameters
    ----------
    agreed : int
        Calibration samples where they did.
    samples : int
        Calibration samples.
    keep : int
        Comparisons that count: the last ones.
    """

    def __init__(self, agreed: int, samples: int, *, keep: int = 500) -> None:
        self.baseline = agreed / samples
        self._differed, self._samples = samples - agreed, samples
        self._recent: deque[bool] = deque(maxlen=keep)
        self.compared = 0

    def add(self, same: NDArray[np.bool_]) -> None:
        """Add comparisons.

        Parameters
        ----------
        same : ndarray of bool
        """
        self._recent.extend(bool(value) for value in same)
        self.compared += len(same)

    @property
    def agreement(self) -> float | None:
        """Share of the last comparisons that agreed; None before the first."""
        return sum(self._recent) / len(self._recent) if self._recent else None

    @property
    def p_value(self) -> float:
        """Chance of at most this agreement where nothing changed.

        The tail of the beta-binomial distribution: what a share known from calibration counts alone
        (with Jeffreys' prior) predicts for as many new comparisons.
        """
        count = len(self._recent)
        differed = count - sum(self._recent)
        if differed == 0:
            return 1.0
        a, b = self._differed + 0.5, self._samples - self._differed + 0.5
        below = math.fsum(
            math.exp(
                math.lgamma(count + 1)
                - math.lgamma(k + 1)
                - math.lgamma(count - k + 1)
                + _log_beta(k + a, count - k + b)
                - _log_beta(a, b)
            )
            for k in range(differed)
        )
        return max(0.0, 1 - below)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


__all__ = ["AgreementWatch"]
