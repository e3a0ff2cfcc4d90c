"""Quantization in device memory. Native half: ``cpp/tersor/quantization/cuda.h``."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from ..quantization.qparams import QParams
from .dense_dynamic import DenseDynamic, DenseFp8, dequantize_sums
from .dense_int4 import DenseInt4
from .device_array import Operand, array, on_device, operand, same_device
from .layout import layout_of, scale_count
from .lsq import lsq_backward, lsq_forward
from .native import native
from .observer import HistogramObserver, MinMaxObserver, MovingAverageObserver
from .product import cublaslt, matmul_fp8, matmul_int8, tuned_times

Format = Literal["fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp32"]

_FLOATS = (np.float32, ml_dtypes.bfloat16)
_FORMATS: dict[str, DTypeLike] = {
    "fp16": np.float16,
    "bf16": ml_dtypes.bfloat16,
    "fp8_e4m3": ml_dtypes.float8_e4m3fn,
    "fp8_e5m2": ml_dtypes.float8_e5m2,
}


class _Parameters(NamedTuple):
    """Parameters as the kernels take them; `keepers` own the memory."""

    layout: tuple[int, int, int, int]
    quantizer: tuple[int, int, int, float, float, bool, bool, int, int]
    keepers: tuple[Any, ...]
    scales: int


def _from_qparams(operation: str, x: Operand, q: QParams) -> _Parameters:
    if q.codebook is not None:
        raise ValueError(f"{operation}: q must have no codebook, got one")
    axis = None if q.axis is None else q.axis
    layout = layout_of(operation, x.shape, axis, q.group_size or 0)
    scale = np.asarray(q.scale, np.float32)
    floats = q.zero_point_float
    count = scale_count(layout)
    if scale.size != count:
        raise ValueError(f"{operation}: q must have {count} scales, got {scale.size}")
    lo, hi = q.code_min, q.code_max
    if scale.size == 1:
        zero = float(q.zero_point[0] if floats is None else floats[0])
        numbers = (0, 0, 0, float(scale[0]), zero, floats is not None, False, lo, hi)
        return _Parameters((1, 1, x.size, 0), numbers, (), 1)
    device_scale = array(scale, device=x.device)
    if floats is None:
        zeros = array(np.asarray(q.zero_point, np.int32), device=x.device)
        addresses = (device_scale.address, zeros.address, 0)
    else:
        zeros = array(np.asarray(floats, np.float32), device=x.device)
        addresses = (device_scale.address, 0, zeros.address)
    return _Parameters(
        layout, (*addresses, 1.0, 0.0, False, False, lo, hi), (device_scale, zeros), count
    )


def quantize(x: Any, q: QParams) -> Any:
    """Quantize values to codes of one byte.

    Parameters
    ----------
    x : device array of float32 or bfloat16, shape (...)
    q : tersor.quantization.QParams
        Per tensor, channel or group; integer or float zero points.

    Returns
    -------
    device array of int8, or uint8 for unsigned codes, shape (...)
        The same codes as :func:`tersor.quantization.quantize`.

    Raises
    ------
    ValueError
        If the scales do not fit the shape, or `x` is not contiguous.
    TypeError
        If `x` is no device array of these dtypes.
    """
    a = operand("quantize: x", x, *_FLOATS)
    with on_device(a.device):
        p = _from_qparams("quantize", a, q)
        out, address = a.empty(a.shape, np.int8 if q.signed else np.uint8)
        native().quantize(a.address, a.is_bfloat16, address, p.layout, p.quantizer, False, a.stream)
    return out


def dequantize(xq: Any, q: QParams, *, dtype: DTypeLike = np.float32) -> Any:
    """Map codes back to values.

    Parameters
    ----------
    xq : device array of int8, or uint8 for unsigned codes, shape (...)
    q : tersor.quantization.QParams
    dtype : {float32, bfloat16}, default float32
        Of the result; values are computed in float32.

    Returns
    -------
    device array, shape (...)

    Raises
    ------
    ValueError
        If the scales do not fit the shape.
    TypeError
        If `xq` is no device array of the codes' dtype.
    """
    a = operand("dequantize: xq", xq, np.int8 if q.signed else np.uint8)
    with on_device(a.device):
        p = _from_qparams("dequantize", a, q)
        out, address = a.empty(a.shape, _float_dtype("dequantize", dtype))
        native().dequantize(
            a.address, address, np.dtype(dtype) != np.float32, p.layout, p.quantizer, False,
            not q.signed, a.stream,
        )  # fmt: skip
    return out


def quantize_packed(x: Any, q: QParams) -> Any:
    """Quantize values to codes of 4 bits, two in a byte.

    Parameters
    ----------
    x : device array of float32 or bfloat16, shape (...)
    q : tersor.quantization.QParams
        With ``bits=4``.

    Returns
    -------
    device array of uint8, shape (ceil(size / 2),)
        The first code in the lower half, as :func:`tersor.quantization.quantize_packed`.

    Raises
    ------
    ValueError
        If codes have not 4 bits or the scales do not fit the shape.
    TypeError
        If `x` is no device array of these dtypes.
    """
    a = operand("quantize_packed: x", x, *_FLOATS)
    _check_int4("quantize_packed", q)
    with on_device(a.device):
        p = _from_qparams("quantize_packed", a, q)
        out, address = a.empty(((a.size + 1) // 2,), np.uint8)
        native().quantize(a.address, a.is_bfloat16, address, p.layout, p.quantizer, True, a.stream)
    return out


def dequantize_packed(
    packed: Any, q: QParams, shape: tuple[int, ...], *, dtype: DTypeLike = np.float32
) -> Any:
    """Map packed codes of 4 bits back to values.

    Parameters
    ----------
    packed : device array of uint8, shape (ceil(size / 2),)
    q : tersor.quantization.QParams
        With ``bits=4``.
    shape : tuple of int
        Of the result.
    dtype : {float32, bfloat16}, default float32

    Returns
    -------
    device array, shape `shape`

    Raises
    ------
    ValueError
        If sizes do not fit or codes have not 4 bits.
    TypeError
        If `packed` is no device array of uint8.
    """
    a = operand("dequantize_packed: packed", packed, np.uint8)
    _check_int4("dequantize_packed", q)
    size = int(np.prod(shape, dtype=np.int64))
    if a.size != (size + 1) // 2:
        raise ValueError(
            f"dequantize_packed: packed must have {(size + 1) // 2} bytes, got {a.size}"
        )
    with on_device(a.device):
        p = _from_qparams("dequantize_packed", a._replace(shape=tuple(shape)), q)
        out, address = a.empty(shape, _float_dtype("dequantize_packed", dtype))
        native().dequantize(
            a.address, address, np.dtype(dtype) != np.float32, p.layout, p.quantizer, True,
            not q.signed, a.stream,
        )  # fmt: skip
    return out


def fake_quantize(x: Any, q: QParams) -> tuple[Any, Any]:
    """Round values to those that codes stand for, and remember where the gradient passes.

    Parameters
    ----------
    x : device array of float32 or bfloat16, shape (...)
    q : tersor.quantization.QParams

    Returns
    -------
    y : device array, shape (...)
        Of the dtype of `x`.
    mask : device array of uint8, shape (ceil(size / 8),)
        As :func:`tersor.quantization.fake_quantize`.

    Raises
    ------
    ValueError
        If the scales do not fit the shape.
    TypeError
        If `x` is no device array of these dtypes.
    """
    a = operand("fake_quantize: x", x, *_FLOATS)
    with on_device(a.device):
        p = _from_qparams("fake_quantize", a, q)
        y, y_address = a.empty(a.shape, a.dtype)
        mask, mask_address = a.empty(((a.size + 7) // 8,), np.uint8)
        native().fake_quantize(
            a.address, y_address, a.is_bfloat16, mask_address, p.layout, p.quantizer, a.stream
        )
    return y, mask


def fake_quantize_backward(dy: Any, mask: Any) -> Any:
    """Let the gradient pass where `fake_quantize` did not clamp.

    Parameters
    ----------
    dy : device array of float32 or bfloat16, shape (...)
    mask : device array of uint8, shape (ceil(size / 8),)

    Returns
    -------
    device array, shape (...)

    Raises
    ------
    ValueError
        If the mask does not fit the size of `dy`, or is on another device.
    TypeError
        If an argument is no device array of its dtypes.
    """
    a = operand("fake_quantize_backward: dy", dy, *_FLOATS)
    m = operand("fake_quantize_backward: mask", mask, np.uint8)
    same_device("fake_quantize_backward", a, mask=m)
    if m.size != (a.size + 7) // 8:
        raise ValueError(
            f"fake_quantize_backward: mask must have {(a.size + 7) // 8} bytes, got {m.size}"
        )
    with on_device(a.device):
        dx, address = a.empty(a.shape, a.dtype)
        native().fake_quantize_backward(
            a.address, address, a.is_bfloat16, m.address, a.size, a.stream
        )
    return dx


def cast(x: Any, format: Format) -> Any:
    """Round float32 values to a narrow float format, or widen them again.

    Parameters
    ----------
    x : device array, shape (...)
        Of float32 to narrow, of float16, bfloat16, float8_e4m3fn or float8_e5m2 to widen.
    format : {"fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp32"}

    Returns
    -------
    device array, shape (...)
        The same bits as :func:`tersor.quantization.cast`.

    Raises
    ------
    ValueError
        If the format is unknown.
    TypeError
        If `x` is no device array of these dtypes.
    """
    if format == "fp32":
        a = operand("cast: x", x, *_FORMATS.values())
        source = next(f for f, d in _FORMATS.items() if np.dtype(d) == a.dtype)
        with on_device(a.device):
            out, address = a.empty(a.shape, np.float32)
            native().cast_from(a.address, address, a.size, source, a.stream)
        return out
    if format not in _FORMATS:
        raise ValueError(f"cast: format must be fp32, {', '.join(_FORMATS)}, got {format!r}")
    a = operand("cast: x", x, np.float32)
    with on_device(a.device):
        out, address = a.empty(a.shape, _FORMATS[format])
        native().cast_to(a.address, address, a.size, format, a.stream)
    return out


def _check_int4(operation: str, q: QParams) -> None:
    if q.bits != 4:
        raise ValueError(f"{operation}: q must have 4 bits, got {q.bits}")


def _float_dtype(operation: str, dtype: DTypeLike) -> np.dtype[Any]:
    if np.dtype(dtype) not in [np.dtype(d) for d in _FLOATS]:
        raise TypeError(f"{operation}: dtype must be float32 or bfloat16, got {np.dtype(dtype)}")
    return np.dtype(dtype)


__all__ = [
    "DenseDynamic",
    "DenseFp8",
    "DenseInt4",
    "HistogramObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "cast",
    "cublaslt",
    "dequantize",
    "dequantize_packed",
    "dequantize_sums",
    "fake_quantize",
    "fake_quantize_backward",
    "lsq_backward",
    "lsq_forward",
    "matmul_fp8",
    "matmul_int8",
    "quantize",
    "quantize_packed",
    "tuned_times",
]
