"""Parameters from values that go by. Native half: ``cpp/tersor/quantization/observer.h``.

Observers can be copied, pickled and compared: what another process saw merges as if seen here.
"""

from __future__ import annotations

import copy
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .qparams import Method, QParams


def _values(x: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(x, dtype=np.float32, order="C")


class MinMaxObserver:
    """Keep the smallest and largest value; exact, merges in any order.

    Parameters
    ----------
    axis : int, optional
        Non-negative axis of the channels, each with its own range.

    Examples
    --------
    >>> from tersor.quantization import MinMaxObserver
    >>> observer = MinMaxObserver().observe([0.0, 1.0]).observe([-1.0])
    >>> observer.ranges
    [(-1.0, 1.0)]
    """

    def __init__(self, axis: int | None = None) -> None:
        if axis is not None and axis < 0:
            raise ValueError(f"MinMaxObserver: axis must be at least 0, got {axis}")
        self._native = _core.quantization.MinMaxObserver(-1 if axis is None else axis)

    def observe(self, x: ArrayLike) -> MinMaxObserver:
        """Take in values; ValueError on NaN or infinity, nothing happens for an empty array."""
        self._native.observe(_values(x))
        return self

    def merge(self, other: MinMaxObserver) -> MinMaxObserver:
        """Take in what another observer has seen."""
        self._native.merge(other._native)
        return self

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MinMaxObserver) and bool(self._native == other._native)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __copy__(self) -> MinMaxObserver:
        return copy.deepcopy(self)

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """(smallest, largest) per channel; ValueError while nothing was seen."""
        return list(self._native.ranges)

    def qparams(self, bits: int = 8, symmetric: bool = False, *, signed: bool = True) -> QParams:
        """Return parameters for what was seen, as `choose_qparams` does for an array."""
        return self._native.qparams(bits, signed, symmetric)


class MovingAverageObserver:
    """Follow the range of batches: ``lo += momentum * (min(batch) - lo)``, `hi` likewise.

    Parameters
    ----------
    momentum : float, default 0.01
        In (0, 1]. The first batch sets both ends.

    Examples
    --------
    >>> from tersor.quantization import MovingAverageObserver
    >>> MovingAverageObserver(0.5).observe([0.0, 1.0]).observe([0.0, 3.0]).range
    (0.0, 2.0)
    """

    def __init__(self, momentum: float = 0.01) -> None:
        self._native = _core.quantization.MovingAverageObserver(momentum)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MovingAverageObserver) and bool(self._native == other._native)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __copy__(self) -> MovingAverageObserver:
        return copy.deepcopy(self)

    def observe(self, x: ArrayLike) -> MovingAverageObserver:
        """Take in a batch; ValueError on NaN or infinity, nothing happens for an empty array."""
        self._native.observe(_values(x))
        return self

    @property
    def range(self) -> tuple[float, float]:
        """(lo, hi); ValueError while nothing was seen."""
        lo, hi = self._native.range
        return float(lo), float(hi)

    def qparams(self, bits: int = 8, symmetric: bool = False, *, signed: bool = True) -> QParams:
        """Return parameters for the range, as `choose_qparams` does for an array."""
        return self._native.qparams(bits, signed, symmetric)


class HistogramObserver:
    """Count values in at most 2,048 bins and search the best range over them.

    Bin edges are multiples of a power of two that grows with the range, so counts are exact, need
    one pass, and do not depend on the order in which values came or observers were merged.

    Parameters
    ----------
    method : {"mse", "percentile", "entropy", "minmax"}, default "mse"
        As for `choose_qparams`.
    percentile : float, default 0.9999
        As for `choose_qparams`.

    Examples
    --------
    >>> from tersor.quantization import HistogramObserver
    >>> observer = HistogramObserver(method="minmax").observe([0.0, 0.5, 1.0])
    >>> observer.total, observer.range
    (3, (0.0, 1.0))
    """

    def __init__(self, method: Method = "mse", percentile: float = 0.9999) -> None:
        if method not in get_args(Method):
            raise ValueError(
                "HistogramObserver: method must be minmax, percentile, mse or entropy, "
                f"got {method!r}"
            )
        self.method: Method = method
        self.percentile = percentile
        self._native = _core.quantization.HistogramObserver()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, HistogramObserver)
            and (self.method, self.percentile) == (other.method, other.percentile)
            and bool(self._native == other._native)
        )

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __copy__(self) -> HistogramObserver:
        return copy.deepcopy(self)

    def observe(self, x: ArrayLike) -> HistogramObserver:
        """Take in values; ValueError on NaN or infinity, nothing happens for an empty array."""
        self._native.observe(_values(x))
        return self

    def merge(self, other: HistogramObserver) -> HistogramObserver:
        """Take in what another observer has seen."""
        self._native.merge(other._native)
        return self

    @property
    def total(self) -> int:
        """Number of values seen."""
        return int(self._native.total)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value seen."""
        lo, hi = self._native.range
        return float(lo), float(hi)

    @property
    def counts(self) -> NDArray[np.uint64]:
        """Values per bin."""
        counts: NDArray[Any] = self._native.counts
        return counts

    @property
    def edges(self) -> NDArray[np.float64]:
        """Bin edges, one more than bins."""
        first = self._native.first
        index = np.arange(len(self.counts) + 1, dtype=np.float64)
        return np.asarray((index + float(first)) * float(self._native.width))

    def qparams(self, bits: int = 8, symmetric: bool = False, *, signed: bool = True) -> QParams:
        """Return parameters for what was seen; ValueError while nothing was."""
        return self._native.qparams(bits, signed, symmetric, self.method, self.percentile)


__all__ = ["HistogramObserver", "MinMaxObserver", "MovingAverageObserver"]
