"""Parameters of affine quantization. Native half: ``cpp/tersor/quantization/qparams.h``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .affine import dequantize_affine, quantize_affine

QParams = _core.quantization.QParams

Method = Literal["minmax", "percentile", "mse", "entropy"]


def choose_qparams(
    x: ArrayLike,
    bits: int = 8,
    symmetric: bool = True,
    axis: int | None = None,
    group_size: int | None = None,
    method: Method = "minmax",
    *,
    signed: bool = True,
    percentile: float = 0.9999,
) -> QParams:
    """Choose scale and zero point for an array.

    Parameters
    ----------
    x : array-like of float32, shape (...)
        Values that the codes shall stand for; finite, not empty.
    bits : int, default 8
        Width of a code, in [2, 8].
    symmetric : bool, default True
        Zero point 0 and codes in ``[-(2**(bits-1) - 1), 2**(bits-1) - 1]``, as for weights.
        Otherwise all codes are used, as for activations.
    axis : int, optional
        Axis of the channels, each with its own scale; without it one scale holds for the whole
        array.
    group_size : int, optional
        With ``axis=0``: one scale per row and group of so many values of the flattened rest.
    method : {"minmax", "percentile", "mse", "entropy"}
        The whole range; the range without the outermost values (see `percentile`); the range
        whose squared quantization error is least; or the one whose codes lose least information
        about the distribution (Kullback-Leibler divergence over a histogram of 2,048 bins [2]_),
        which needs some thousand values to mean anything.
    signed : bool, default True
        Whether codes are signed; unsigned ones must be asymmetric.
    percentile : float, default 0.9999
        Share of the values at or below the upper end of the range, in (0.5, 1]; likewise for the
        lower.

    Returns
    -------
    QParams
        ``scale`` (float32), ``zero_point`` (int32), ``bits``, ``signed``, ``axis``, ``group_size``.
        Zero is exactly a code. Channels that are all zero take the median scale of the others.

    Raises
    ------
    ValueError
        If `x` is empty, holds NaN or infinity, or a parameter is out of range.

    References
    ----------
    .. [1] Jacob et al., "Quantization and Training of Neural Networks for Efficient
       Integer-Arithmetic-Only Inference", CVPR 2018.
    .. [2] Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017.

    Examples
    --------
    >>> from tersor.quantization import choose_qparams
    >>> q = choose_qparams([0.0, 2.55], symmetric=False)
    >>> round(float(q.scale[0]), 4), int(q.zero_point[0])
    (0.01, -128)
    """
    values = np.asarray(x, dtype=np.float32, order="C")
    return _core.quantization.choose_qparams(
        values,
        bits,
        signed,
        symmetric,
        -1 if axis is None else _normalize_axis(axis, values.ndim),
        _group(group_size),
        method,
        percentile,
    )


def quantize(x: ArrayLike, q: QParams, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Quantize float32 values to codes.

    Parameters
    ----------
    x : array-like of float32, shape (...)
        NaN becomes the zero point, infinities the outermost codes.
    q : QParams
        What the codes mean.
    out : ndarray of int8 (uint8 for unsigned codes), shape (...), optional
        C-contiguous array to write.

    Returns
    -------
    ndarray of int8, or uint8 for unsigned codes, shape (...)
        ``clip(rint(x / scale) + zero_point, code_min, code_max)``, ties to even; `out` if it
        was given.

    Raises
    ------
    ValueError
        If the shape of `x` does not fit the number of scales.

    Examples
    --------
    >>> from tersor.quantization import QParams, quantize
    >>> quantize([-1.0, 0.0, 0.25], QParams(scale=[0.1], zero_point=[5]))
    array([-5,  5,  7], dtype=int8)
    """
    values = np.asarray(x, dtype=np.float32, order="C")
    shift = 0 if q.signed else 128
    codes = None if out is None else out.view(np.int8)
    parts, axis = _parts(values, q)
    result = quantize_affine(
        parts,
        q.scale,
        q.zero_point - shift,
        axis=axis,
        lo=q.code_min - shift,
        hi=q.code_max - shift,
        out=None if codes is None else codes.reshape(parts.shape),
    ).reshape(values.shape)
    if q.signed:
        return result if out is None else out
    unsigned = result.view(np.uint8)
    np.bitwise_xor(unsigned, 0x80, out=unsigned)
    return unsigned if out is None else out


def dequantize(
    xq: ArrayLike, q: QParams, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Map codes back to float32 values.

    Parameters
    ----------
    xq : array-like of int8 (uint8 for unsigned codes), shape (...)
    q : QParams
        What the codes mean.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write.

    Returns
    -------
    ndarray of float32, shape (...)
        ``(xq - zero_point) * scale``; `out` if it was given.

    Raises
    ------
    ValueError
        If the shape of `xq` does not fit the number of scales.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import QParams, dequantize
    >>> dequantize(np.array([-5, 5, 7], np.int8), QParams(scale=[0.5], zero_point=[5]))
    array([-5.,  0.,  1.], dtype=float32)
    """
    if q.signed:
        codes, zero_point = np.asarray(xq, dtype=np.int8, order="C"), q.zero_point
    else:
        codes = np.bitwise_xor(np.asarray(xq, dtype=np.uint8, order="C"), 0x80).view(np.int8)
        zero_point = q.zero_point - 128
    parts, axis = _parts(codes, q)
    target = None if out is None else out.reshape(parts.shape)
    result = dequantize_affine(parts, q.scale, zero_point, axis=axis, out=target)
    return result.reshape(codes.shape) if out is None else out


def _parts(x: NDArray[Any], q: QParams) -> tuple[NDArray[Any], int | None]:
    """Return the array with its groups as rows, and the axis of the scales."""
    if not q.group_size:
        return x, q.axis
    if x.size % q.group_size:
        raise ValueError(
            f"quantize: size of x must be a multiple of group_size {q.group_size}, got {x.size}"
        )
    return x.reshape(-1, q.group_size), 0


def _normalize_axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"choose_qparams: axis must be in [{-ndim}, {ndim}), got {axis}")
    return axis % ndim


def _group(group_size: int | None) -> int:
    if group_size is None:
        return 0
    if group_size < 1:
        raise ValueError(f"choose_qparams: group_size must be at least 1, got {group_size}")
    return group_size


__all__ = ["QParams", "choose_qparams", "dequantize", "quantize"]
