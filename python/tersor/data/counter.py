"""Random numbers that are a function of their key: any order, any process, the same numbers.

The generator of a stream is SplitMix64's finalizer (Steele, Lea & Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014) over the parts of the key, one after the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
_MASK = (1 << 64) - 1


def keyed_bits(*key: int | ArrayLike) -> NDArray[np.uint64]:
    """Return 64 random bits per element of a key.

    Parameters
    ----------
    *key : int or array-like of int
        Such as seed, epoch and row; the parts are broadcast against each other. Their order counts.

    Returns
    -------
    ndarray of uint64
        Of the broadcast shape, at least one dimension.

    Examples
    --------
    >>> bits = keyed_bits(0, 3, [5, 6, 7])
    >>> bool(bits[1] == keyed_bits(0, 3, 6)[0])
    True
    """
    state = np.zeros(1, np.uint64)
    for part in key:
        state = _mix((state ^ _as_uint64(part)) + _STEP)
    return state


def keyed_uniform(*key: int | ArrayLike) -> NDArray[np.float64]:
    """Return uniform random numbers in [0, 1) per element of a key.

    Parameters
    ----------
    *key : int or array-like of int
        As for :func:`keyed_bits`.

    Returns
    -------
    ndarray of float64
    """
    return np.asarray((keyed_bits(*key) >> np.uint64(11)) * 2.0**-53, np.float64)


def keyed_integers(high: int, *key: int | ArrayLike) -> NDArray[np.intp]:
    """Return uniform random integers in [0, high) per element of a key.

    Parameters
    ----------
    high : int
        In [1, 2**31].
    *key : int or array-like of int
        As for :func:`keyed_bits`.

    Returns
    -------
    ndarray of intp
    """
    return (keyed_uniform(*key) * high).astype(np.intp)


def keyed_permutation(count: int, *key: int) -> NDArray[np.intp]:
    """Return a random order of ``range(count)``.

    Parameters
    ----------
    count : int
    *key : int
        Such as seed and epoch.

    Returns
    -------
    ndarray of intp, shape (count,)
    """
    return np.argsort(keyed_bits(*key, np.arange(count)), kind="stable")


def _as_uint64(part: int | ArrayLike) -> Any:
    if isinstance(part, int):
        return np.array([part & _MASK], np.uint64)
    return np.asarray(part).astype(np.uint64)


def _mix(z: Any) -> Any:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


__all__ = ["keyed_bits", "keyed_integers", "keyed_permutation", "keyed_uniform"]
