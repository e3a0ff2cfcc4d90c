"""Parameters of affine quantization. Native half: ``cpp/tersor/quantization/qparams.h``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core

QParams = _core.quantization.QParams

Method = Literal["minmax", "percentile", "mse", "entropy"]
ScaleDtype = Literal["float32", "float16"]


def choose_qparams(
    x: ArrayLike,
    bits: int = 8,
    symmetric: bool = True,
    axis: int | tuple[int, ...] | None = None,
    group_size: int | None = None,
    method: Method = "minmax",
    *,
    signed: bool = True,
    percentile: float = 0.9999,
    float_zero_point: bool = False,
    scale_dtype: ScaleDtype = "float32",
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
    axis : int or tuple of int, optional
        Axis of the channels, each with its own scale; a tuple of consecutive axes is flattened
        into one. Without it one scale holds for the whole array.
    group_size : int, optional
        One scale per group of so many consecutive channels at each place of the other axes, as for
        low-bit weights: ``axis=1`` for a weight (out, in), ``axis=(1, 2, 3)`` for (out, in, kh,
        kw). The last group may be short.
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
    float_zero_point : bool, default False
        Whether zero points are floats (``symmetric=False`` then): the codes span exactly the range,
        and zero need not be a code. For low-bit weights; masked weights do not stay 0.
    scale_dtype : {"float32", "float16"}, default "float32"
        Type whose values scales and float zero points take; those of float16 can be stored in 16
        bits without loss. They are float32 arrays either way.

    Returns
    -------
    QParams
        ``scale`` (float32), ``zero_point`` (int32), ``zero_point_float`` (float32 or None),
        ``bits``, ``signed``, ``axis``, ``group_size``. With groups scales lie as
        (outer, groups, inner) in C order, outer and inner being the axes before and after `axis`.
        Zero is exactly a code (but for float zero points). Channels and groups that are all zero
        take the median scale of the others.

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
    >>> choose_qparams([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], bits=4, axis=1, group_size=2).scale.size
    4
    """
    values = np.asarray(x, dtype=np.float32, order="C")
    first, count = _normalize_axes(axis, values.ndim)
    return _core.quantization.choose_qparams(
        values,
        bits,
        signed,
        symmetric,
        first,
        count,
        _group(group_size),
        method,
        percentile,
        float_zero_point,
        scale_dtype,
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
        C-contiguous array to write. It must not overlap `x` in memory.

    Returns
    -------
    ndarray of int8, or uint8 for unsigned codes, shape (...)
        ``clip(rint(x / scale) + zero_point, code_min, code_max)``, ties to even (a float zero
        point is added before rounding); `out` if it was given.

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
    return _core.quantization.quantize(np.asarray(x, dtype=np.float32, order="C"), q, out)


def dequantize(
    xq: ArrayLike, q: QParams, *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Map codes back to float32 values.

    Parameters
    ----------
    xq : array-like of int8 (uint8 for unsigned codes), shape (...)
        Other integers are converted; every code must be in [`q.code_min`, `q.code_max`].
    q : QParams
        What the codes mean.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write. It must not overlap `xq` in memory.

    Returns
    -------
    ndarray of float32, shape (...)
        ``(xq - zero_point) * scale``; `out` if it was given.

    Raises
    ------
    ValueError
        If the shape of `xq` does not fit the number of scales, or it holds a code that the
        parameters do not have.
    TypeError
        If `xq` holds no integers, or `out` is not a float32 array.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import QParams, dequantize
    >>> dequantize(np.array([-5, 5, 7], np.int8), QParams(scale=[0.5], zero_point=[5]))
    array([-5.,  0.,  1.], dtype=float32)
    """
    codes = code_array("dequantize: xq", xq, q.code_min, q.code_max)
    return _core.quantization.dequantize(codes, q, out)


def code_array(what: str, codes: ArrayLike, lo: int, hi: int) -> NDArray[Any]:
    """Take codes as int8 (uint8 where `hi` exceeds 127), without a copy where they are that.

    Parameters
    ----------
    what : str
        What messages begin with.
    codes : array-like of integers
    lo, hi : int
        Smallest and largest code.

    Returns
    -------
    ndarray of int8 or uint8
        C-contiguous.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If one is not in [`lo`, `hi`].
    """
    array = np.asarray(codes)
    dtype = np.dtype(np.int8 if lo < 0 else np.uint8)
    if array.size == 0 and array.dtype == np.float64:  # an empty list
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be codes of an integer dtype, got {array.dtype}")
    limits = np.iinfo(dtype)
    whole = array.dtype == dtype and lo <= limits.min and hi >= limits.max
    if not whole and array.size:
        least, most = int(array.min()), int(array.max())
        if least < lo or most > hi:
            wrong = least if least < lo else most
            raise ValueError(f"{what} must be codes in [{lo}, {hi}], got {wrong}")
    return np.asarray(array, dtype, order="C")


def _normalize_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, int]:
    """Return the first axis (-1: none) and how many consecutive ones there are."""
    if axis is None:
        return -1, 1
    axes = [_normalize_axis(a, ndim) for a in (axis if isinstance(axis, tuple) else (axis,))]
    if not axes or axes != list(range(axes[0], axes[0] + len(axes))):
        raise ValueError(f"choose_qparams: axis must be a tuple of consecutive axes, got {axis}")
    return axes[0], len(axes)


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
