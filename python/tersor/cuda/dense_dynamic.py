"""Dense layers in int8 and float8 that quantize their input in the call.

Native half: ``cpp/tersor/quantization/cuda.h`` and ``cpp/tersor/cuda/product.h``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from ..quantization.qparams import QParams
from .device_array import Array, Operand, array, on_device, operand, rows_operand, same_device
from .native import native
from .product import multiply, result_type, rounded_up

_MOST_INPUTS = 65793  # beyond, 255 * 128 * inputs could leave int32


class _DenseProduct(ABC):
    """Weights as codes, with scales, bias and bounds, padded to what products take."""

    _name: str

    def __init__(
        self,
        codes: NDArray[Any],
        scale: ArrayLike,
        bias: ArrayLike | None,
        bounds: tuple[float, float],
        dtype: DTypeLike,
        tune: bool,
    ) -> None:
        name = self._name
        if codes.ndim != 2 or not codes.size:
            raise ValueError(
                f"{name}: weights must have shape (outputs, inputs), got {codes.shape}"
            )
        self.outputs, self.inputs = codes.shape
        scales = np.asarray(scale, np.float32).reshape(-1)
        if scales.size not in (1, self.outputs):
            raise ValueError(
                f"{name}: scale must have 1 or {self.outputs} values, got {scales.size}"
            )
        offsets = None if bias is None else np.asarray(bias, np.float32)
        if offsets is not None and offsets.shape != (self.outputs,):
            raise ValueError(f"{name}: bias must have shape ({self.outputs},), got {offsets.shape}")
        self.dtype = result_type(name, dtype)
        self._bounds, self._tune = bounds, bool(tune)
        self._pitch = rounded_up(self.inputs)
        self._columns = rounded_up(self.outputs)
        padding = ((0, self._columns - self.outputs), (0, self._pitch - self.inputs))
        self._codes = array(np.pad(codes, padding))
        self._scale = array(scales)
        self._bias = None if offsets is None else array(offsets)
        self._sums_of_weights: Array | None = None

    def __call__(self, x: Any) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : device array of float32 or bfloat16, shape (rows, inputs)
            A row with NaN or an infinity gives NaN.

        Returns
        -------
        device array, shape (rows, outputs)
        """
        a = rows_operand(f"{self._name}: x", x, self.inputs)
        rows = a.shape[0]
        with on_device(a.device):
            keeper, codes = a.empty((rows, self._pitch), np.uint8)
            scales, scale = a.empty((rows,), np.float32)
            zeros, zero = self._quantize(a, codes, scale)
            sums, at = self._product(a, codes)
            y = self._finish(a, at, scale, zero, False)
            del keeper, scales, zeros, sums  # until here the stream's work was enqueued
        return y

    @abstractmethod
    def _quantize(self, x: Operand, codes: int, scale: int) -> tuple[Any, int]:
        """Enqueue codes [rows, pitch] and scales of rows; returns keeper and address of zeros."""

    def _weights(self, x: Operand) -> Operand:
        w = operand(f"{self._name}: weights", self._codes)
        same_device(self._name, w, x=x)
        return w

    def _product(self, x: Operand, codes: int) -> tuple[Any, int]:
        """Enqueue the sums [rows, columns] of codes [rows, pitch]; returns keeper and address."""
        w = self._weights(x)
        of_codes = x._replace(address=codes, shape=(x.shape[0], self._pitch), dtype=w.dtype)
        int8 = w.dtype == np.int8
        sums, address = x.empty((x.shape[0], self._columns), np.int32 if int8 else np.float32)
        multiply(of_codes, w, address, "int32" if int8 else "float32", tune=self._tune)
        return sums, address

    def _finish(self, x: Operand, sums: int, row_scale: int, zero: int, one_row: bool) -> Any:
        y, address = x.empty((x.shape[0], self.outputs), self.dtype)
        weight_sums = 0 if self._sums_of_weights is None else self._sums_of_weights.address
        native().finish_rows(
            sums, self._codes.dtype != np.int8, (x.shape[0], self.outputs, self._columns), one_row,
            self._scale.size == 1,
            (row_scale, zero, self._scale.address, weight_sums,
             0 if self._bias is None else self._bias.address),
            *self._bounds, address, self.dtype != np.float32, x.stream,
        )  # fmt: skip
        return y


class DenseDynamic(_DenseProduct):
    """A dense layer with int8 weights and float input and output, computed in int8.

    What :class:`tersor.quantization.DenseDynamic` is on the CPU, with the same bits: each row gets
    a scale and a zero point of its own, sums are exact in int32 (cuBLASLt), and one pass makes
    results of them::

        y = clip((codes(x) - z) @ weights.T * (s * scale) + bias, low, high)

    Parameters
    ----------
    weights : array-like of int8, shape (outputs, inputs)
        On the host; symmetric codes, at most 65,793 inputs.
    scale : float or array-like of float32, shape () or (outputs,)
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.
    dtype : {float32, bfloat16}, default float32
        Of the result.
    tune : bool, default False
        Time cuBLASLt's candidates at the first call with a number of rows, which then waits.

    Raises
    ------
    ValueError
        If shapes do not fit or there are too many inputs.
    TypeError
        If the weights are not int8.
    """

    _name = "DenseDynamic"

    def __init__(
        self,
        weights: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
        dtype: DTypeLike = np.float32,
        tune: bool = False,
    ) -> None:
        codes = np.asarray(weights)
        if codes.dtype != np.int8:
            raise TypeError(f"DenseDynamic: weights must be int8, got {codes.dtype}")
        if codes.ndim == 2 and codes.shape[1] > _MOST_INPUTS:
            raise ValueError(
                f"DenseDynamic: inputs must be at most {_MOST_INPUTS}, got {codes.shape[1]}"
            )
        super().__init__(codes, scale, bias, (float(low), float(high)), dtype, tune)
        self._sums_of_weights = array(codes.sum(axis=1, dtype=np.int32))

    def _quantize(self, x: Operand, codes: int, scale: int) -> tuple[Any, int]:
        zeros, zero = x.empty((x.shape[0],), np.int32)
        native().quantize_rows(
            x.address, x.is_bfloat16, (x.shape[0], self.inputs, self._pitch), codes, scale, zero,
            x.stream,
        )  # fmt: skip
        return zeros, zero

    def apply_codes(self, xq: Any, q: QParams) -> Any:
        """Apply the layer to an input that is quantized already.

        Parameters
        ----------
        xq : device array of int8, shape (rows, inputs)
            Inputs a multiple of 16.
        q : tersor.quantization.QParams
            Per tensor, or along axis 0, with integer zero points.

        Returns
        -------
        device array, shape (rows, outputs)

        Raises
        ------
        ValueError
            If the shape or the scales do not fit.
        TypeError
            If `xq` is no device array of int8.
        """
        a = operand("DenseDynamic: xq", xq, np.int8)
        if len(a.shape) != 2 or a.shape[1] != self.inputs or self.inputs != self._pitch:
            raise ValueError(
                f"DenseDynamic: xq must have shape (rows, {self.inputs}), inputs a multiple of "
                f"16, got {a.shape}"
            )
        one = q.axis is None
        if q.zero_point_float is not None or np.size(q.scale) != (1 if one else a.shape[0]):
            raise ValueError(
                "DenseDynamic: q must have integer zero points and a scale per tensor or row, got "
                f"{np.size(q.scale)} scales"
            )
        with on_device(a.device):
            scale = array(np.asarray(q.scale, np.float32), device=a.device)
            zero = array(np.asarray(q.zero_point, np.int32), device=a.device)
            sums, at = self._product(a, a.address)
            y = self._finish(a, at, scale.address, zero.address, one)
            del sums, scale, zero
        return y


class DenseFp8(_DenseProduct):
    """A dense layer whose products are of float8 (e4m3), with float input and output.

    Each row of the input is divided by a scale of its own, ``largest |x| / 448``, and rounded to
    e4m3; sums are float32 (cuBLASLt); one pass multiplies them by both scales::

        y = clip(e4m3(x / s) @ weights.T * (s * scale) + bias, low, high)

    Parameters
    ----------
    weights : array-like of float32 or float8_e4m3fn, shape (outputs, inputs)
        On the host. Floats get a scale per output, ``largest / 448``, and are rounded here.
    scale : float or array-like of float32, shape () or (outputs,), optional
        Of weights that are float8 already.
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.
    dtype : {float32, bfloat16}, default float32
        Of the result.
    tune : bool, default False
        As in :class:`DenseDynamic`.

    Raises
    ------
    ValueError
        If shapes do not fit, weights are not finite, or a scale comes without codes.
    """

    _name = "DenseFp8"

    def __init__(
        self,
        weights: ArrayLike,
        scale: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
        dtype: DTypeLike = np.float32,
        tune: bool = False,
    ) -> None:
        codes = np.asarray(weights)
        if codes.dtype != ml_dtypes.float8_e4m3fn:
            if scale is not None:
                raise ValueError("DenseFp8: scale must come with weights of float8, got it alone")
            codes, scale = _float8_weights(np.asarray(weights, np.float32))
        super().__init__(
            codes, 1.0 if scale is None else scale, bias, (float(low), float(high)), dtype, tune
        )

    def _quantize(self, x: Operand, codes: int, scale: int) -> tuple[Any, int]:
        native().quantize_rows_float8(
            x.address, x.is_bfloat16, (x.shape[0], self.inputs, self._pitch), codes, scale, x.stream
        )
        return None, 0


def dequantize_sums(
    sums: Any,
    row_scale: Any,
    scale: Any,
    bias: Any = None,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    dtype: DTypeLike = np.float32,
) -> Any:
    """Make results of the sums of a product in one pass.

    ``clip(sums * (row_scale[:, None] * scale) + bias, low, high)`` in float32.

    Parameters
    ----------
    sums : device array of int32 or float32, shape (rows, outputs)
        Such as :func:`matmul_int8` gives; outputs a multiple of 8.
    row_scale : device array of float32, shape (rows,) or (1,)
    scale : device array of float32, shape (outputs,) or (1,)
    bias : device array of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.
    dtype : {float32, bfloat16}, default float32
        Of the result.

    Returns
    -------
    device array, shape (rows, outputs)

    Raises
    ------
    ValueError
        If shapes or devices do not fit.
    TypeError
        If an argument is no device array of its dtypes, or `dtype` is another.
    """
    op = "dequantize_sums"
    a = operand(f"{op}: sums", sums, np.int32, np.float32)
    kind = result_type(op, dtype)
    if len(a.shape) != 2 or a.shape[1] % 8:
        raise ValueError(
            f"{op}: sums must have shape (rows, outputs), outputs a multiple of 8, got {a.shape}"
        )
    parts = {"row_scale": (row_scale, a.shape[0]), "scale": (scale, a.shape[1])}
    if bias is not None:
        parts["bias"] = (bias, a.shape[1])
    taken: dict[str, Operand] = {}
    for name, (x, n) in parts.items():
        taken[name] = b = operand(f"{op}: {name}", x, np.float32)
        same_device(op, a, **{name: b})
        if b.shape not in ((n,), (1,)) or (name == "bias" and b.shape != (n,)):
            raise ValueError(f"{op}: {name} must have shape ({n},), got {b.shape}")
    with on_device(a.device):
        y, address = a.empty(a.shape, kind)
        native().finish_rows(
            a.address, a.dtype == np.float32, (*a.shape, a.shape[1]),
            taken["row_scale"].size == 1, taken["scale"].size == 1,
            (taken["row_scale"].address, 0, taken["scale"].address, 0,
             taken["bias"].address if "bias" in taken else 0),
            float(low), float(high), address, kind != np.float32, a.stream,
        )  # fmt: skip
    return y


def _float8_weights(w: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
    if w.ndim != 2 or not np.isfinite(w).all():
        raise ValueError(f"DenseFp8: weights must be finite rows, got shape {w.shape}")
    largest = np.abs(w).max(axis=1, initial=0)
    scale = np.maximum(largest / np.float32(448), np.float32(2**-126)).astype(np.float32)
    scale[largest == 0] = 1
    steps = np.clip(w / scale[:, None], -448, 448)
    return steps.astype(ml_dtypes.float8_e4m3fn), scale


__all__ = ["DenseDynamic", "DenseFp8", "dequantize_sums"]
