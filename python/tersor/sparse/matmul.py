"""Products of sparse and dense matrices. Native half: ``cpp/tersor/sparse/matmul.h``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .matrix import SparseMatrix

Activation = str | tuple[float, float] | None

_FREE = (-math.inf, math.inf)
_RANGES = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}


def matmul(
    ws: SparseMatrix,
    x: ArrayLike,
    *,
    bias: ArrayLike | None = None,
    activation: Activation = None,
    residual: ArrayLike | None = None,
    post_activation: Activation = None,
    out: NDArray[Any] | None = None,
    threads: int = 0,
) -> NDArray[Any]:
    r"""Multiply a sparse matrix with a dense one.

    ``y = post_activation(activation(ws @ x + bias) + residual)``, in one pass over memory. The
    result does not depend on the number of threads. Only entries count: an infinity in `x` makes
    no NaN where `ws` stores nothing.

    With int8 matrices, ``y = ws @ x + bias`` in int32, exact. Entries are multiplied in blocks of
    1 x 4 along the depth: masks of such blocks (``block_mask(w, sparsity, (1, 4))``) are fast.

    Parameters
    ----------
    ws : SparseMatrix of float32 or int8, shape (rows, depth)
        In any format; the form that the kernels read is made by the first product with a number of
        columns and kept.
    x : array-like of float32 (int8 or uint8), shape (depth,) or (depth, columns)
    bias : array-like of float32 (int32), shape (rows,), optional
    activation : {"relu", "relu6"}, tuple of two floats, or None
        Clamps to a range; NaN stays NaN. float32 only.
    residual : array-like of float32, shape of the result, optional
        float32 only.
    post_activation : as `activation`
        After the residual; without one, it must be None.
    out : ndarray of float32 (int32), shape of the result, optional
        C-contiguous. May be `residual`, not `x`.
    threads : int, default 0
        0 follows :func:`tersor.set_threads`.

    Returns
    -------
    ndarray of float32 (int32), shape (rows,) or (rows, columns)

    Raises
    ------
    ValueError
        If a shape does not fit, an activation is unknown, or an int8 sum could leave int32.
    TypeError
        If `ws` is no SparseMatrix, or `x` is not int8 or uint8 where `ws` is int8.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.sparse import SparseMatrix, matmul
    >>> ws = SparseMatrix.from_dense(np.float32([[0, 2, 0], [-1, 0, 0]]))
    >>> matmul(ws, np.float32([[1, 2], [3, 4], [5, 6]]), bias=[1, 0], activation="relu")
    array([[7., 9.],
           [0., 0.]], dtype=float32)
    """
    if not isinstance(ws, SparseMatrix):
        raise TypeError(f"sparse.matmul: ws must be a SparseMatrix, got {type(ws).__name__}")
    if threads < 0:
        raise ValueError(f"sparse.matmul: threads must be at least 0, got {threads}")
    if residual is None and post_activation is not None:
        raise ValueError("sparse.matmul: post_activation must be None without a residual")
    if ws._int8:
        return _matmul_int8(ws, x, bias, activation, residual, out, threads)
    dense = _array(x)
    if dense.ndim not in (1, 2):
        raise ValueError(f"sparse.matmul: x must have 1 or 2 dimensions, got {dense.ndim}")
    columns = dense.shape[1] if dense.ndim == 2 else 1
    y: NDArray[np.float32] = ws._plan(columns).multiply(
        dense,
        None if bias is None else _array(bias),
        None if residual is None else _array(residual),
        _FREE if activation is None else _range(activation),
        _FREE if post_activation is None else _range(post_activation),
        out,
        threads,
    )
    return y


def _matmul_int8(
    ws: SparseMatrix,
    x: ArrayLike,
    bias: ArrayLike | None,
    activation: Activation,
    residual: ArrayLike | None,
    out: NDArray[Any] | None,
    threads: int,
) -> NDArray[Any]:
    if activation is not None or residual is not None:
        raise ValueError(
            "sparse.matmul: activation and residual must be None where ws is int8 (the result is "
            "int32)"
        )
    codes = np.asarray(x, order="C")
    columns = codes.shape[1] if codes.ndim == 2 else 1
    offset = None if bias is None else np.asarray(bias, np.int32, order="C")
    return np.asarray(ws._plan(columns).multiply(codes, offset, out, threads))


def _array(x: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(x, np.float32, order="C")


def _range(activation: Any) -> tuple[float, float]:
    if isinstance(activation, str) and activation in _RANGES:
        return _RANGES[activation]
    if isinstance(activation, tuple) and len(activation) == 2 and activation[0] <= activation[1]:
        return float(activation[0]), float(activation[1])
    raise ValueError(
        "sparse.matmul: activation must be None, 'relu', 'relu6' or (low, high), "
        f"got {activation!r}"
    )
