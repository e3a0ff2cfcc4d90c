"""Learned step sizes. Native half: ``cpp/tersor/quantization/lsq.h``."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..base.output_array import check_apart, check_output_array


class _Quantizer(NamedTuple):
    """What the native door takes.

    Looking up the address of an array takes over a microsecond, so that one block holds what there
    is per scale: rows of scales, zero points, and their gradients.
    """

    layout: tuple[int, int, int, int]
    block: NDArray[np.float32]
    kind: int
    lo: int
    hi: int


def _quantizer(
    operation: str,
    shape: tuple[int, ...],
    scale: ArrayLike,
    zero_point: ArrayLike,
    bits: int,
    signed: bool,
    narrow: bool,
    axis: int | tuple[int, ...] | None,
    group_size: int | None,
    float_zero_point: bool,
) -> _Quantizer:
    if type(bits) is not int and not isinstance(bits, np.integer):
        raise TypeError(f"{operation}: bits must be an integer, got {bits!r}")
    if not 2 <= bits <= 8:
        raise ValueError(f"{operation}: bits must be in [2, 8], got {bits}")
    layout, count = _layout(operation, shape, axis, group_size)
    block = np.empty((4, count), np.float32)
    for row, name, value in ((0, "scale", scale), (1, "zero_point", zero_point)):
        if type(value) is not float:
            value = _numbers(operation, name, value).reshape(-1)
            if value.size not in (1, count):
                one = "1 element" if count == 1 else f"1 or {count} elements"
                raise ValueError(f"{operation}: {name} must have {one}, got {value.size}")
        block[row] = value
    lo = (-(1 << (bits - 1)) + narrow) if signed else 0
    hi = ((1 << (bits - 1)) - 1) if signed else (1 << bits) - 1
    return _Quantizer(layout, block, 2 if float_zero_point else 3, lo, hi)


def _numbers(operation: str, name: str, value: ArrayLike) -> NDArray[np.float32]:
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise TypeError(f"{operation}: {name} must be numbers, got {value!r}") from None


def _layout(
    operation: str,
    shape: tuple[int, ...],
    axis: int | tuple[int, ...] | None,
    group_size: int | None,
) -> tuple[tuple[int, int, int, int], int]:
    """Return (outer, channels, inner, group) and the number of scales."""
    if group_size is not None and (group_size < 1 or axis is None):
        raise ValueError(
            f"{operation}: group_size must be at least 1 and have an axis, got {group_size} and "
            f"axis {axis}"
        )
    if axis is None:
        return (1, 1, math.prod(shape), 0), 1
    ndim = len(shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    first = axes[0] % ndim if ndim and axes else 0
    if not axes or any(not -ndim <= a < ndim or a % ndim != first + i for i, a in enumerate(axes)):
        raise ValueError(
            f"{operation}: axis must be an axis or consecutive axes of x, which has {ndim}, got "
            f"{axis}"
        )
    outer, inner = math.prod(shape[:first]), math.prod(shape[first + len(axes) :])
    channels = math.prod(shape[first : first + len(axes)])
    if group_size is None:
        return (outer, channels, inner, 0), channels
    return (outer, channels, inner, group_size), outer * -(-channels // group_size) * inner


def lsq_forward(
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike = 0.0,
    *,
    bits: int = 8,
    signed: bool = True,
    narrow: bool = False,
    axis: int | tuple[int, ...] | None = None,
    group_size: int | None = None,
    float_zero_point: bool = False,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Fake-quantize with a learned scale and zero point; nothing is saved for the gradient but `x`.

    Parameters
    ----------
    x : array-like of float32, shape (...)
    scale : float or array-like of float32, shape () or (scales,)
        Step between two codes. Finite and > 0.
    zero_point : float or array-like of float32, shape () or (scales,), default 0
        Code that stands for 0. It is rounded to a code, ties to even, unless `float_zero_point`.
    bits : int, default 8
        In [2, 8].
    signed, narrow : bool, default True and False
        Codes ``-2**(bits-1) .. 2**(bits-1) - 1``, without the lowest one if narrow, or
        ``0 .. 2**bits - 1``.
    axis, group_size
        As for `choose_qparams`.
    float_zero_point : bool, default False
        Whether the zero point is used as it is.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write; may be `x`.

    Returns
    -------
    y : ndarray of float32, shape (...)
        ``(clip(rint(x / scale) + z, lo, hi) - z) * scale`` with ``z`` the rounded zero point; a
        float zero point is added before rounding.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If a parameter is out of range or a shape does not match.

    References
    ----------
    .. [1] Esser et al., "Learned Step Size Quantization", ICLR 2020.
    .. [2] Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and
       better initialization", CVPR Workshops 2020.

    Examples
    --------
    >>> from tersor.quantization import lsq_forward
    >>> lsq_forward([0.3, 9.0, -0.1], 0.5, bits=4)
    array([0.5, 3.5, 0. ], dtype=float32)
    """
    values = np.asarray(_numbers("lsq_forward", "x", x), order="C")
    q = _quantizer(
        "lsq_forward",
        values.shape,
        scale,
        zero_point,
        bits,
        signed,
        narrow,
        axis,
        group_size,
        float_zero_point,
    )
    y = _output("lsq_forward", values, out)
    if out is not None:
        check_apart("lsq_forward", "x", values, y, in_place=True)
    at = q.block.ctypes.data
    try:
        _core.quantization.fake_quantize_at(
            values.ctypes.data,
            y.ctypes.data,
            0,
            q.layout,
            at,
            at + q.block.strides[0],
            q.kind,
            q.lo,
            q.hi,
        )
    except ValueError as error:  # the kernel is fake_quantize's
        raise ValueError(str(error).replace("fake_quantize:", "lsq_forward:", 1)) from None
    return y


def lsq_backward(
    dy: ArrayLike,
    x: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike = 0.0,
    *,
    bits: int = 8,
    signed: bool = True,
    narrow: bool = False,
    axis: int | tuple[int, ...] | None = None,
    group_size: int | None = None,
    float_zero_point: bool = False,
    gradient_scale: float | None = None,
    out: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Gradients of `lsq_forward` by its input, its scale and its zero point.

    Parameters
    ----------
    dy : array-like of float32, shape (...)
        Gradient of the loss by `y`.
    x, scale, zero_point, bits, signed, narrow, axis, group_size, float_zero_point
        As given to `lsq_forward`.
    gradient_scale : float, optional
        Factor of the gradients of scale and zero point; the paper's
        ``1 / sqrt(values per scale * hi)`` by default.
    out : ndarray of float32, shape (...), optional
        C-contiguous array to write `dx` to; may be `dy`.

    Returns
    -------
    dx : ndarray of float32, shape (...)
        `dy` where ``lo < x / scale + z < hi``, otherwise 0.
    dscale : ndarray of float32, shape () or (scales,)
        Sum of ``dy * (rint(t) - t)`` with ``t = x / scale`` inside, ``dy * (lo - z)`` below and
        ``dy * (hi - z)`` above, times `gradient_scale`. The same for any number of threads.
    dzero_point : ndarray of float32, shape () or (scales,)
        Sum of ``-scale * dy`` outside, times `gradient_scale`. LSQ+'s offset is
        ``beta = -scale * zero_point`` and its gradient ``dzero_point / -scale``.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If a parameter is out of range or a shape does not match.

    Examples
    --------
    >>> from tersor.quantization import lsq_backward
    >>> dx, dscale, dzero = lsq_backward([1.0, 1.0], [0.3, 9.0], 0.5, bits=4, gradient_scale=1.0)
    >>> dx.tolist(), round(float(dscale), 3), float(dzero)
    ([1.0, 0.0], 7.4, -0.5)
    """
    values = np.asarray(_numbers("lsq_backward", "x", x), order="C")
    gradient = np.asarray(_numbers("lsq_backward", "dy", dy), order="C")
    if gradient.shape != values.shape:
        raise ValueError(
            f"lsq_backward: dy must have shape {values.shape} like x, got {gradient.shape}"
        )
    q = _quantizer(
        "lsq_backward",
        values.shape,
        scale,
        zero_point,
        bits,
        signed,
        narrow,
        axis,
        group_size,
        float_zero_point,
    )
    count = q.block.shape[1]
    if gradient_scale is not None and not math.isfinite(gradient_scale):
        raise ValueError(f"lsq_backward: gradient_scale must be finite, got {gradient_scale}")
    if gradient_scale is None:
        gradient_scale = 1 / math.sqrt(max(1.0, values.size / max(1, count)) * q.hi)
    dx = _output("lsq_backward", gradient, out)
    if out is not None:
        check_apart("lsq_backward", "dy", gradient, dx, in_place=True)
        check_apart("lsq_backward", "x", values, dx)
    at, step = q.block.ctypes.data, q.block.strides[0]
    _core.quantization.lsq_backward_at(
        gradient.ctypes.data,
        values.ctypes.data,
        dx.ctypes.data,
        q.layout,
        at,
        at + step,
        q.kind,
        q.lo,
        q.hi,
        gradient_scale,
        at + 2 * step,
        at + 3 * step,
    )
    dscale, dzero = q.block[2], q.block[3]
    if count == 1 and np.ndim(scale) == 0:
        return dx, dscale.reshape(()), dzero.reshape(())
    return dx, dscale, dzero


def _output(
    operation: str, like: NDArray[np.float32], out: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    if out is None:
        return np.empty_like(like)
    check_output_array(operation, out, like.shape, np.float32)
    return out


__all__ = ["lsq_backward", "lsq_forward"]
