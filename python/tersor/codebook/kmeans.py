"""k-means of the weights of a tensor. Native half: ``cpp/tersor/codebook/kmeans.h``."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

# From so many clusters on, even spacing leaves most of them in the tails of the values.
_LINEAR_LIMIT = 64


@dataclass(frozen=True, eq=False)
class Codebook:
    """A tensor as numbers of a table: what :func:`kmeans` returns.

    Parameters
    ----------
    centroids : ndarray of float32 or float64, shape (k,) or (tables, k)
        Ascending. A table with fewer centroids than others repeats its last one.
    indices : ndarray of uint8, the shape of the tensor
        The centroid of each value.
    inertia : float
        Sum of (weighted) squared errors over all tables.
    axis : int, optional
        Along which tables lie; None: one table for the tensor.
    group_size : int
        Consecutive channels along `axis` that share a table.
    counts : ndarray of int64, shape (tables,)
        Centroids in use, of each table.

    Examples
    --------
    >>> Codebook(np.float32([-1, 2]), np.uint8([0, 1, 1]), 0.0).decode()
    array([-1.,  2.,  2.], dtype=float32)
    """

    centroids: NDArray[Any]
    indices: NDArray[np.uint8]
    inertia: float
    axis: int | None = None
    group_size: int = 1
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def k(self) -> int:
        """Centroids of a table, of the largest one if they differ."""
        return int(self.centroids.shape[-1])

    @property
    def bits(self) -> int:
        """Bits of an index: ``ceil(log2(k))``."""
        return max(0, self.k - 1).bit_length()

    def decode(self) -> NDArray[Any]:
        """Return ``centroids[indices]``.

        Returns
        -------
        ndarray of the dtype of `centroids`, the shape of `indices`
        """
        codes, step = _tables_first(self.indices, self.axis, self.group_size)
        table = np.ascontiguousarray(self.centroids)
        wide = table.dtype == np.float64
        decode = _core.codebook.decode_float64 if wide else _core.codebook.decode
        return _restore(decode("decode", codes, table, step), self.axis)

    def centroid_gradient(self, dw: ArrayLike) -> NDArray[np.float32]:
        """Return the gradient of each centroid: the sum of `dw` over its members.

        Parameters
        ----------
        dw : array-like of float32, the shape of `indices`
            Gradient of the decoded tensor.

        Returns
        -------
        ndarray of float32, the shape of `centroids`
            Summed in float64 in a fixed order: the same for any number of threads.

        Raises
        ------
        ValueError
            If the shapes differ.

        Examples
        --------
        >>> c = Codebook(np.float32([-1, 2]), np.uint8([0, 1, 1]), 0.0)
        >>> c.centroid_gradient([1.0, 2.0, 3.0])
        array([1., 5.], dtype=float32)
        """
        values = np.asarray(dw, np.float32)
        if values.shape != self.indices.shape:
            raise ValueError(
                f"centroid_gradient: dw must have shape {self.indices.shape}, got {values.shape}"
            )
        codes, step = _tables_first(self.indices, self.axis, self.group_size)
        moved, _ = _tables_first(values, self.axis, self.group_size)
        sums = _core.codebook.sum_members("centroid_gradient", codes, moved, step, self.k)
        return sums.reshape(self.centroids.shape).astype(np.float32)


def kmeans(
    w: ArrayLike,
    k: int,
    *,
    algorithm: str = "exact",
    init: str = "linear",
    weights: ArrayLike | None = None,
    axis: int | None = None,
    group_size: int = 1,
    keep_zero: bool | None = None,
    seed: int = 0,
    max_iterations: int = 300,
    max_points: int = 131_072,
) -> Codebook:
    """Find the k numbers that stand for the values of a tensor with the least squared error.

    Parameters
    ----------
    w : array-like of float32, float16, bfloat16 or float64, any shape
        Finite. 16-bit floats and other dtypes are taken as float32.
    k : int
        Centroids, 1 to 256. Fewer come back for fewer distinct values; none is ever without
        members.
    algorithm : {"exact", "lloyd"}, default "exact"
        ``"exact"``: the optimum, by dynamic programming over the distinct values [1]_ while there
        are at most `max_points`, beyond that over thousands of adaptive bins with every value
        assigned to its nearest centroid; the error is then above the optimum by less than 1e-5 at
        k = 16 and 1e-3 at k = 256. ``"lloyd"``: the usual iteration from `init`.
    init : {"linear", "density", "random", "k-means++"}, default "linear"
        Where Lloyd's iteration begins: evenly spaced, at quantiles, at random values, or spread by
        squared distance [2]_. Linear wastes most centroids of a large k; a warning says so.
    weights : array-like of float32, the shape of `w`, optional
        How much each squared error counts, such as the diagonal of a Hessian or Fisher matrix; at
        least 0.
    axis : int, optional
        A table for every channel along this axis; None: one for the tensor.
    group_size : int, default 1
        Consecutive channels along `axis` that share a table; the last group may be short.
    keep_zero : bool, optional
        Keep one centroid at exactly 0 for the zeros of `w` and nothing else, so that pruned weights
        stay pruned and no other becomes 0. None: where 5 % or more of the values are 0.
    seed : int, default 0
        Of the random initialisations; at least 0.
    max_iterations : int, default 300
        Of Lloyd's iteration, which ends before when no value changes its centroid.
    max_points : int, default 131072
        Largest number of values for which ``"exact"`` works on the values themselves; float64 is
        never binned.

    Returns
    -------
    Codebook
        With ``centroids`` (float32; float64 for float64 input), ``indices`` (uint8) and
        ``inertia``. The same for any number of threads.

    Raises
    ------
    ValueError
        If `w` is empty or not finite, weights are negative or all 0, or an argument is out of
        range.

    References
    ----------
    .. [1] Wang and Song, "Ckmeans.1d.dp: optimal k-means clustering in one dimension by dynamic
       programming", The R Journal 3, 2011.
    .. [2] Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> c = kmeans([0.1, 0.9, 0.2, 1.0, 1.1], 2)
    >>> c.centroids, c.indices
    (array([0.15, 1.  ], dtype=float32), array([0, 1, 0, 1, 1], dtype=uint8))
    """
    values = np.asarray(w)
    if values.dtype != np.float64 or not isinstance(w, np.ndarray):
        values = np.asarray(values, np.float32)
    axis = _axis_of("kmeans", values.ndim, axis)
    if group_size < 1:
        raise ValueError(f"kmeans: group_size must be at least 1, got {group_size}")
    if seed < 0:
        raise ValueError(f"kmeans: seed must be at least 0, got {seed}")
    if max_points < 0:
        raise ValueError(f"kmeans: max_points must be at least 0, got {max_points}")
    if algorithm == "lloyd" and init == "linear" and k >= _LINEAR_LIMIT:
        warnings.warn(
            f"kmeans: linear initialisation with k = {k} ends at 1.5 to 3 times the optimal error; "
            "init='k-means++' or algorithm='exact' do not",
            UserWarning,
            stacklevel=2,
        )
    rated = None
    if weights is not None:
        rated = np.asarray(weights, np.float32)
        if rated.shape != values.shape:
            raise ValueError(f"kmeans: weights must have shape {values.shape}, got {rated.shape}")
        rated, _ = _tables_first(rated, axis, group_size)
    moved, step = _tables_first(values, axis, group_size)
    wide = moved.dtype == np.float64
    cluster = _core.codebook.kmeans_float64 if wide else _core.codebook.kmeans
    centroids, counts, inertia, codes = cluster(
        moved, step, k, algorithm, init, rated, keep_zero, seed, max_iterations, max_points
    )
    return Codebook(
        centroids=centroids[0] if axis is None else centroids,
        indices=_restore(codes, axis),
        inertia=float(inertia.sum()),
        axis=axis,
        group_size=group_size,
        counts=counts,
    )


def _axis_of(operation: str, ndim: int, axis: int | None) -> int | None:
    if axis is None:
        return None
    if not -ndim <= axis < ndim:
        raise ValueError(f"{operation}: axis must be in [{-ndim}, {ndim}), got {axis}")
    return axis % ndim


def _tables_first(
    values: NDArray[Any], axis: int | None, group_size: int
) -> tuple[NDArray[Any], int]:
    """Contiguous values with `axis` in front, and how many consecutive ones share a table."""
    if axis is None:
        return np.asarray(values, order="C"), max(1, values.size)
    moved = np.asarray(np.moveaxis(values, axis, 0), order="C")
    return moved, max(1, group_size * math.prod(moved.shape[1:]))


def _restore(values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    if axis is None or axis == 0:
        return values
    return np.ascontiguousarray(np.moveaxis(values, 0, axis))


__all__ = ["Codebook", "kmeans"]
