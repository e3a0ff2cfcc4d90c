"""Fewest bits of independent symbols. Native half: ``cpp/tersor/coding/histogram.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .. import _core
from .symbols import as_integers


def entropy(symbols: ArrayLike) -> float:
    """Bits that a symbol needs on average, if each is coded by its frequency alone.

    Parameters
    ----------
    symbols : array-like of integers, shape (...)

    Returns
    -------
    float
        ``sum(p * log2(1 / p))`` over the values that occur, in bits a symbol; 0 for no symbols
        and for equal ones. `encode` with method ``"small"`` looks at neighbours and filters too and
        can need less.

    Raises
    ------
    TypeError
        If `symbols` are no integers.

    References
    ----------
    Shannon, A Mathematical Theory of Communication, 1948.

    Examples
    --------
    >>> from tersor import coding
    >>> coding.entropy([0, 1, 2, 3])
    2.0
    >>> coding.entropy([7, 7, 7])
    0.0
    """
    array = as_integers("entropy", symbols)
    if array.dtype.itemsize == 1:
        return float(_core.coding.entropy(np.ascontiguousarray(array).reshape(-1).view(np.uint8)))
    counts = np.unique(array, return_counts=True)[1]
    if counts.size <= 1:
        return 0.0
    share = counts / counts.sum()
    return float(-(share * np.log2(share)).sum())


__all__ = ["entropy"]
