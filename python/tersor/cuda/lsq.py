"""Learned step sizes in device memory. Native half: ``cpp/tersor/quantization/cuda.h``."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np

from .device_array import Operand, on_device, operand, same_device
from .layout import layout_of, scale_count
from .native import native

_FLOATS = (np.float32, ml_dtypes.bfloat16)


def lsq_forward(
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    bits: int = 8,
    signed: bool = True,
    narrow: bool = False,
    axis: int | tuple[int, ...] | None = None,
    group_size: int | None = None,
    float_zero_point: bool = False,
) -> Any:
    """Round values with a learned scale, as :func:`tersor.quantization.lsq_forward`.

    Parameters
    ----------
    x : device array of float32 or bfloat16, shape (...)
    scale : device array of float32, shape () or (scales,)
    zero_point : device array of float32, shape of `scale`, optional
        0 by default.
    bits, signed, narrow, axis, group_size, float_zero_point
        As on the CPU.

    Returns
    -------
    device array, shape (...)

    Raises
    ------
    ValueError
        If a parameter is out of range or a shape does not match.
    TypeError
        If an argument is no device array of its dtypes.
    """
    a = operand("lsq_forward: x", x, *_FLOATS)
    layout, quantizer, _ = _quantizer(
        "lsq_forward", a, scale, zero_point, bits, signed, narrow, axis, group_size,
        float_zero_point,
    )  # fmt: skip
    with on_device(a.device):
        y, address = a.empty(a.shape, a.dtype)
        native().fake_quantize(a.address, address, a.is_bfloat16, 0, layout, quantizer, a.stream)
    return y


def lsq_backward(
    dy: Any,
    x: Any,
    scale: Any,
    zero_point: Any = None,
    *,
    bits: int = 8,
    signed: bool = True,
    narrow: bool = False,
    axis: int | tuple[int, ...] | None = None,
    group_size: int | None = None,
    float_zero_point: bool = False,
    gradient_scale: float | None = None,
) -> tuple[Any, Any, Any]:
    """Gradients of `lsq_forward` by its input, its scale and its zero point.

    Parameters
    ----------
    dy : device array of the dtype of `x`, shape (...)
        Gradient of the loss by the result.
    x, scale, zero_point, bits, signed, narrow, axis, group_size, float_zero_point
        As given to `lsq_forward`.
    gradient_scale : float, optional
        ``1 / sqrt(values per scale * hi)`` by default.

    Returns
    -------
    dx : device array, shape (...)
    dscale, dzero_point : device array of float32, shape of `scale`
        As :func:`tersor.quantization.lsq_backward`.

    Raises
    ------
    ValueError, TypeError
        As `lsq_forward`.
    """
    a = operand("lsq_backward: x", x, *_FLOATS)
    g = operand("lsq_backward: dy", dy, a.dtype)
    same_device("lsq_backward", a, dy=g)
    if g.shape != a.shape:
        raise ValueError(f"lsq_backward: dy must have shape {a.shape} like x, got {g.shape}")
    layout, quantizer, s = _quantizer(
        "lsq_backward", a, scale, zero_point, bits, signed, narrow, axis, group_size,
        float_zero_point,
    )  # fmt: skip
    if gradient_scale is None:
        gradient_scale = 1 / math.sqrt(max(1.0, a.size / max(1, s.size)) * quantizer[-1])
    with on_device(a.device):
        dx, dx_address = a.empty(a.shape, a.dtype)
        dscale, dscale_address = a.empty(s.shape, np.float32)
        dzero, dzero_address = a.empty(s.shape, np.float32)
        native().lsq_backward(
            g.address, a.address, dx_address, a.is_bfloat16, layout, quantizer, gradient_scale,
            dscale_address, dzero_address, a.stream,
        )  # fmt: skip
    return dx, dscale, dzero


def _quantizer(
    operation: str,
    x: Operand,
    scale: Any,
    zero_point: Any,
    bits: int,
    signed: bool,
    narrow: bool,
    axis: int | tuple[int, ...] | None,
    group_size: int | None,
    float_zero_point: bool,
) -> tuple[
    tuple[int, int, int, int], tuple[int, int, int, float, float, bool, bool, int, int], Operand
]:
    if not 2 <= bits <= 8:
        raise ValueError(f"{operation}: bits must be in [2, 8], got {bits}")
    s = operand(f"{operation}: scale", scale, np.float32)
    z = None
    if zero_point is not None:
        z = operand(f"{operation}: zero_point", zero_point, np.float32)
        if z.size != s.size:
            raise ValueError(f"{operation}: zero_point must have {s.size} elements, got {z.size}")
    same_device(operation, x, scale=s, zero_point=z)
    layout = layout_of(operation, x.shape, axis, group_size or 0)
    if s.size != scale_count(layout):
        raise ValueError(
            f"{operation}: scale must have {scale_count(layout)} elements, got {s.size}"
        )
    lo = -(2 ** (bits - 1)) + narrow if signed else 0
    hi = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    zero = 0 if z is None else z.address
    rounded = z is not None and not float_zero_point
    return layout, (s.address, 0, zero, 1.0, 0.0, float_zero_point, rounded, lo, hi), s


__all__ = ["lsq_backward", "lsq_forward"]
