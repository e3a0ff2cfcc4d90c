"""Weights of layers as matrices: a row per output, a column per product that it sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quantization import QParams

LAYERS = ("conv", "conv_transpose", "dense", "matmul")


def to_rows(node: Any, w: NDArray[Any]) -> NDArray[Any]:
    """Return a weight as matrices.

    Parameters
    ----------
    node : Node
        Of one of `LAYERS`.
    w : ndarray
        Its weight; two axes for a matmul.

    Returns
    -------
    ndarray, shape (groups, outputs of a group, columns)
        Columns run over channels, then kernel positions.
    """
    groups = _groups(node.attributes)
    if node.op == "matmul":
        return np.ascontiguousarray(w.T)[None]
    if node.op == "conv_transpose":
        parts = w.reshape(groups, len(w) // groups, w.shape[1], -1).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(parts).reshape(groups, w.shape[1], -1)
    return w.reshape(groups, len(w) // groups, -1)


def from_rows(node: Any, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Undo `to_rows`.

    Parameters
    ----------
    node : Node
    rows : ndarray, shape (groups, outputs of a group, columns)
    shape : tuple of int
        Of the weight.

    Returns
    -------
    ndarray
        C-contiguous.
    """
    if node.op == "matmul":
        return np.ascontiguousarray(rows[0].T)
    if node.op == "conv_transpose":
        groups, outputs, columns = rows.shape
        taps = math.prod(shape[2:])
        parts = rows.reshape(groups, outputs, columns // taps, taps).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(parts).reshape(shape)
    return rows.reshape(shape)


def row_qparams(
    node: Any,
    rank: int,
    scale: NDArray[np.float32],
    *,
    bits: int,
    narrow: bool,
    group_size: int,
    one_scale: bool = False,
    zero_point: NDArray[np.float32] | None = None,
) -> QParams:
    """Return what the codes of a weight mean whose rows were rounded.

    Parameters
    ----------
    node : Node
    rank : int
        Axes of the weight.
    scale : ndarray, shape (outputs, scales of a row), or (1, 1) for one scale
    bits, narrow, group_size
        Of the codes.
    one_scale : bool, default False
    zero_point : ndarray, optional
        Floats, like `scale`.

    Returns
    -------
    QParams
        As ``axes_of`` in ``cpp/tersor/graph/weight_codes.cpp`` lays scales out.
    """
    axis: Any = {"conv_transpose": 1, "matmul": rank - 1}.get(node.op, 0)
    if group_size:
        axis = rank - 2 if node.op == "matmul" else tuple(range(1, rank))
    elif one_scale:
        axis = None
    across = node.op == "matmul" and group_size > 0  # groups lie in front of outputs there

    def laid(x: NDArray[np.float32]) -> list[float]:
        values: list[float] = (x.T if across else x).ravel().tolist()
        return values

    return QParams(
        scale=laid(scale),
        zero_point=[0] * scale.size,
        bits=bits,
        narrow=narrow,
        axis=axis[0] if isinstance(axis, tuple) and len(axis) == 1 else axis,
        group_size=group_size,
        zero_point_float=None if zero_point is None else laid(zero_point),
    )


def _groups(attributes: Mapping[str, Any]) -> int:
    return int(attributes.get("groups", 1))


def damped_inverse(hessian: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Invert a Hessian of columns.

    Parameters
    ----------
    hessian : ndarray, shape (columns, columns)
    ridge : float
        Added to the diagonal, as a share of its mean; a Hessian of zeros is inverted too.

    Returns
    -------
    ndarray, shape (columns, columns)
    """
    columns = len(hessian)
    added = ridge * max(float(np.trace(hessian)) / columns, 1e-30)
    return np.asarray(np.linalg.inv(hessian + added * np.eye(columns)))


__all__ = ["LAYERS", "damped_inverse", "from_rows", "row_qparams", "to_rows"]
