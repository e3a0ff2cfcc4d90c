"""Affine (scale, zero-point) quantization. Native half: ``cpp/tersor/quantization/affine.h``."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .qparams import code_array


def quantize_affine(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike = 0,
    *,
    axis: int | None = None,
    lo: int = -128,
    hi: int = 127,
    out: NDArray[np.int8] | None = None,
) -> NDArray[np.int8]:
    """Quantize float32 values to int8 codes.

    Parameters
    ----------
    x : array-like of float32, shape (...)
        Values to quantize. NaN becomes `zero_point`, infinities `lo` and `hi`. A C-contiguous
        float32 array is read in place; anything else is converted first.
    scale : float or array-like of float32, shape () or (channels,)
        Step between two codes, in units of `x`. Finite and > 0.
    zero_point : int or array-like of int32, shape () or (channels,), default 0
        Code that stands for 0.0, in [`lo`, `hi`].
    axis : int, optional
        Axis of the channels; without it one scale holds for the whole array.
    lo, hi : int, default -128 and 127
        Smallest and largest code.
    out : ndarray of int8, shape (...), optional
        C-contiguous array to write.

    Returns
    -------
    q : ndarray of int8, shape (...)
        ``clip(rint(x / scale) + zero_point, lo, hi)``, ties to even; `out` if it was given.

    Raises
    ------
    ValueError
        If a parameter is out of range or a shape does not match.
    TypeError
        If `out` is not an int8 array.

    References
    ----------
    .. [1] Jacob et al., "Quantization and Training of Neural Networks for Efficient
       Integer-Arithmetic-Only Inference", CVPR 2018, eq. (1).

    Examples
    --------
    >>> from tersor.quantization import quantize_affine
    >>> quantize_affine([-1.0, 0.0, 0.25, 99.0], scale=0.1, zero_point=5)
    array([ -5,   5,   7, 127], dtype=int8)
    """
    x = np.asarray(x, dtype=np.float32, order="C")
    native = _core.quantization
    if axis is None:
        scale, zero_point = _scalar("scale", scale), _integer("zero_point", zero_point)
        q = native.quantize_affine(x, scale, zero_point, lo, hi, out)
    else:
        scales, zero_points = _channels(x.shape, scale, zero_point, axis)
        q = native.quantize_affine_channels(x, scales, zero_points, axis, lo, hi, out)
    return q


def dequantize_affine(
    q: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike = 0,
    *,
    axis: int | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Map int8 codes back to float32; the inverse of `quantize_affine` up to rounding.

    Parameters
    ----------
    q : array-like of int8, shape (...)
        Codes; other integers must be in [-128, 127].
    scale : float or array-like of float32, shape () or (channels,)
        Step between two codes. Finite and > 0.
    zero_point : int or array-like of int32, shape () or (channels,), default 0
        Code that stands for 0.0, in [-128, 127].
    axis : int, optional
        Axis of the channels; without it one scale holds for the whole array.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write.

    Returns
    -------
    y : ndarray of float32, shape (...)
        ``(q - zero_point) * scale``; `out` if it was given.

    Raises
    ------
    ValueError
        If a parameter is out of range or a shape does not match.
    TypeError
        If `out` is not a float32 array.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import dequantize_affine
    >>> dequantize_affine(np.array([-5, 5, 7], np.int8), scale=0.5, zero_point=5)
    array([-5.,  0.,  1.], dtype=float32)
    """
    q = code_array("dequantize_affine: q", q, -128, 127)
    native = _core.quantization
    if axis is None:
        scale, zero_point = _scalar("scale", scale), _integer("zero_point", zero_point)
        y = native.dequantize_affine(q, scale, zero_point, out)
    else:
        scales, zero_points = _channels(q.shape, scale, zero_point, axis)
        y = native.dequantize_affine_channels(q, scales, zero_points, axis, out)
    return y


def _scalar(name: str, value: ArrayLike) -> float:
    """Take a number as it is, an array of one element as its element."""
    if type(value) is float:  # the usual case, in 0.1 us
        return value
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"{name} must have 1 element without axis, got {array.size}")
    return float(array.item())


def _integer(name: str, value: ArrayLike) -> int:
    """Take an integer as it is; a float or an array of one element only if it holds an integer."""
    number = value if type(value) is int else _scalar(name, value)
    if not -(2**31) <= number < 2**31 or number != int(number):
        raise ValueError(f"{name} must hold 32-bit integers, got {number}")
    return int(number)


def _channels(
    shape: tuple[int, ...], scale: ArrayLike, zero_point: ArrayLike, axis: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Bring scale and zero point to one element per channel; the native door checks them."""
    scales = np.asarray(scale, dtype=np.float32, order="C")
    zero_points = _as_int32(np.asarray(zero_point, order="C"))
    if -len(shape) <= axis < len(shape):
        channels = shape[axis]
        if scales.ndim == 0:
            scales = np.full(channels, scales)
        if zero_points.ndim == 0:
            zero_points = np.full(channels, zero_points)
    return scales, zero_points


def _as_int32(a: NDArray[np.generic]) -> NDArray[np.int32]:
    """Convert integers (or floats that hold integers) without wrapping."""
    if a.dtype == np.int32:
        return cast("NDArray[np.int32]", a)
    with np.errstate(invalid="ignore"):
        converted = a.astype(np.int32)
    if not np.array_equal(converted, a):
        raise ValueError(f"zero_point must hold 32-bit integers, got {a}")
    return converted


__all__ = ["dequantize_affine", "quantize_affine"]
