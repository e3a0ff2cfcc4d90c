"""Masks from scores. Native half: ``cpp/tersor/pruning/select.h``, ``nm.h``, ``blocks.h``.

A mask is a NumPy array of bool, True where a weight is kept. Counts are exact: of n entries
``n - round(sparsity * n)`` stay (ties to even), and of equal scores the one with the lower index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


def mask_from_scores(
    scores: ArrayLike, sparsity: float, *, per_row: bool = False
) -> NDArray[np.bool_]:
    """Keep the highest scores of a tensor.

    Parameters
    ----------
    scores : array-like of float32, any shape
        Of any sign; infinities are allowed.
    sparsity : float
        Share of entries to drop, in [0, 1].
    per_row : bool, default False
        The same number in every row ``scores[i]`` instead of the best of the whole tensor.

    Returns
    -------
    ndarray of bool, the shape of `scores`

    Raises
    ------
    ValueError
        If a score is NaN, or `sparsity` is out of range.

    Examples
    --------
    >>> mask_from_scores([[1.0, 5.0], [7.0, 6.0]], 0.5)
    array([[False, False],
           [ True,  True]])
    >>> mask_from_scores([[1.0, 5.0], [7.0, 6.0]], 0.5, per_row=True)
    array([[False,  True],
           [ True, False]])
    """
    return _keep("mask_from_scores", scores, sparsity, per_row, absolute=False)


def magnitude_mask(w: ArrayLike, sparsity: float, *, per_row: bool = False) -> NDArray[np.bool_]:
    """Keep the largest magnitudes of a tensor.

    Parameters
    ----------
    w : array-like of float32, any shape
        Weights.
    sparsity : float
        Share of entries to drop, in [0, 1].
    per_row : bool, default False
        The same number in every row ``w[i]``.

    Returns
    -------
    ndarray of bool, the shape of `w`

    Raises
    ------
    ValueError
        If a weight is NaN, or `sparsity` is out of range.

    Examples
    --------
    >>> magnitude_mask([1.0, -5.0, 3.0, 0.5], 0.5)
    array([False,  True,  True, False])
    """
    return _keep("magnitude_mask", w, sparsity, per_row, absolute=True)


def global_masks(
    tensors: Sequence[ArrayLike], sparsity: float, *, absolute: bool = True
) -> list[NDArray[np.bool_]]:
    """Keep the best entries of several tensors together.

    Parameters
    ----------
    tensors : sequence of array-like of float32
        Weights, or scores of the same kind; `lamp_scores` of each makes layers comparable.
    sparsity : float
        Share of all entries together to drop, in [0, 1].
    absolute : bool, default True
        Compare magnitudes; False for scores that may be negative.

    Returns
    -------
    list of ndarray of bool
        One per tensor. Of equal entries the one of the earlier tensor is kept.

    Raises
    ------
    ValueError
        If an entry is NaN, or `sparsity` is out of range.

    Examples
    --------
    >>> global_masks([[1.0, -5.0], [3.0, 0.5]], 0.5)
    [array([False,  True]), array([ True, False])]
    """
    arrays = [_float32(t) for t in tensors]
    kept = _kept("global_masks", sum(a.size for a in arrays), sparsity)
    return list(_core.pruning.keep_highest("global_masks", arrays, kept, absolute))


def nm_mask(
    w: ArrayLike,
    n: int,
    m: int,
    *,
    axis: int | tuple[int, ...] = -1,
    scores: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Keep the n largest of every m consecutive entries.

    Parameters
    ----------
    w : array-like of float32, any shape but ()
        Weights.
    n, m : int
        ``0 <= n <= m <= 1024``; 2 and 4 are what sparse tensor cores run.
    axis : int or tuple of int, default -1
        Along which groups lie, or consecutive axes that are taken as one: ``(1, 2, 3)`` for a
        convolution's weight as a matrix of a row per output. A short group at the end keeps at most
        n.
    scores : array-like of float32, optional
        Of the shape of `w`: the highest of these instead of the largest magnitudes.

    Returns
    -------
    ndarray of bool, the shape of `w`

    Raises
    ------
    ValueError
        If an entry is NaN, or an argument is out of range.

    References
    ----------
    .. [1] Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.

    Examples
    --------
    >>> nm_mask([1.0, -5.0, 3.0, 0.5, 2.0], 1, 4)
    array([False,  True, False, False,  True])
    """
    values = _scored("nm_mask", w, scores)
    first, count = _axes(values.ndim, axis)
    outer = math.prod(values.shape[:first])
    length = math.prod(values.shape[first : first + count])
    inner = math.prod(values.shape[first + count :])
    mask = _core.pruning.nm_mask(
        "nm_mask", values.reshape(outer, length, inner), n, m, scores is None
    )
    return mask.reshape(values.shape)


def block_mask(
    w: ArrayLike,
    sparsity: float,
    block: tuple[int, int] = (1, 4),
    *,
    scores: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Keep the blocks of largest norm.

    Parameters
    ----------
    w : array-like of float32, shape (rows, ...)
        Weights, taken as a matrix ``w.reshape(rows, -1)``: outputs times inputs and kernel
        positions, for a convolution's.
    sparsity : float
        Share of blocks to drop, in [0, 1].
    block : (int, int), default (1, 4)
        Rows and columns of a block. Blocks start at the corner of the matrix; the last ones are
        short where the sizes do not divide.
    scores : array-like of float32, optional
        Of the shape of `w`: blocks with the highest sum of these instead of the largest root of the
        sum of squares.

    Returns
    -------
    ndarray of bool, the shape of `w`

    Raises
    ------
    ValueError
        If an entry is NaN, or an argument is out of range.

    Examples
    --------
    >>> block_mask([[1.0, 1.0, 3.0, 0.0]], 0.5, (1, 2))
    array([[False, False,  True,  True]])
    """
    values = _scored("block_mask", w, scores)
    rows, columns = (int(size) for size in block)
    if rows < 1 or columns < 1:
        raise ValueError(f"block_mask: block must be at least (1, 1), got {tuple(block)}")
    matrix = values.reshape(len(values), -1) if values.size else values.reshape(len(values), 0)
    kind = "l2" if scores is None else "sum"
    rated = _core.pruning.block_scores(matrix, rows, columns, kind)
    kept = _kept("block_mask", rated.size, sparsity)
    blocks = _core.pruning.keep_highest("block_mask", [rated], kept, False)[0]
    mask = _core.pruning.expand_blocks(blocks, *matrix.shape, rows, columns)
    return mask.reshape(values.shape)


def channel_mask(
    w: ArrayLike,
    sparsity: float,
    *,
    axis: int = 0,
    norm: str = "l2",
    scores: ArrayLike | None = None,
) -> NDArray[np.bool_]:
    """Keep the channels of largest norm.

    Parameters
    ----------
    w : array-like of float32, any shape but ()
        Weights.
    sparsity : float
        Share of channels to drop, in [0, 1].
    axis : int, default 0
        Of the channels: 0 for outputs, 1 for inputs.
    norm : {"l1", "l2"}
        Of a channel's weights.
    scores : array-like of float32, shape (channels,), optional
        Instead of norms, such as BatchNorm's gamma.

    Returns
    -------
    ndarray of bool, shape (channels,)

    Raises
    ------
    ValueError
        If an entry is NaN, or an argument is out of range.

    Examples
    --------
    >>> channel_mask([[1.0, 2.0], [3.0, 0.5]], 0.5, axis=1)
    array([ True, False])
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"channel_mask: norm must be l1 or l2, got {norm!r}")
    values = _float32(w)
    if values.ndim == 0:
        raise ValueError("channel_mask: w must have at least 1 dimension, got shape ()")
    if not -values.ndim <= axis < values.ndim:
        raise ValueError(
            f"channel_mask: axis must be in [{-values.ndim}, {values.ndim}), got {axis}"
        )
    channels = values.shape[axis]
    if scores is None:
        matrix = np.ascontiguousarray(np.moveaxis(values, axis, 0))
        matrix = matrix.reshape(channels, values.size // max(1, channels))
        rated = _core.pruning.block_scores(matrix, 1, max(1, matrix.shape[1]), norm)
        rated = rated.reshape(-1) if rated.size else np.zeros(channels, np.float32)
    else:
        rated = _float32(scores)
        if rated.shape != (channels,):
            raise ValueError(
                f"channel_mask: scores must have shape ({channels},), got {rated.shape}"
            )
    return _keep("channel_mask", rated, sparsity, False, absolute=False)


def _keep(
    operation: str, values: ArrayLike, sparsity: float, per_row: bool, *, absolute: bool
) -> NDArray[np.bool_]:
    array = _float32(values)
    if per_row:
        if array.ndim < 2:
            raise ValueError(
                f"{operation}: per_row must be for at least 2 dimensions, got shape {array.shape}"
            )
        columns = math.prod(array.shape[1:])
        kept = _kept(operation, columns, sparsity)
        rows = array.reshape(len(array), columns)
        mask = _core.pruning.keep_highest_of_rows(operation, rows, kept, absolute)
        return mask.reshape(array.shape)
    kept = _kept(operation, array.size, sparsity)
    return _core.pruning.keep_highest(operation, [array], kept, absolute)[0]


def _kept(operation: str, n: int, sparsity: float) -> int:
    return int(_core.pruning.kept_count(operation, n, sparsity))


def _float32(values: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(values, np.float32, order="C")


def _scored(operation: str, w: ArrayLike, scores: ArrayLike | None) -> NDArray[np.float32]:
    values = _float32(w)
    if values.ndim == 0:
        raise ValueError(f"{operation}: w must have at least 1 dimension, got shape ()")
    if scores is None:
        return values
    rated = _float32(scores)
    if rated.shape != values.shape:
        raise ValueError(f"{operation}: scores must have shape {values.shape}, got {rated.shape}")
    return rated


def _axes(rank: int, axis: int | tuple[int, ...]) -> tuple[int, int]:
    """First axis and number of axes."""
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = [a + rank if a < 0 else a for a in given]
    following = axes == list(range(axes[0], axes[0] + len(axes))) if axes else False
    if not following or axes[0] < 0 or axes[-1] >= rank:
        raise ValueError(
            f"nm_mask: axis must be consecutive axes of {rank} dimensions, got {axis!r}"
        )
    return axes[0], len(axes)


__all__ = [
    "block_mask",
    "channel_mask",
    "global_masks",
    "magnitude_mask",
    "mask_from_scores",
    "nm_mask",
]
