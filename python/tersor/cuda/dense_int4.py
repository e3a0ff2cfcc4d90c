"""Dense layers with weights of 4 bits. Native half: ``cpp/tersor/quantization/cuda.h``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..quantization.bit_packing import pack_bits
from ..quantization.qparams import QParams, code_array
from .device_array import array, on_device, rows_operand
from .native import device_info, native

_PIECE = 128  # inputs that belong together in front of tensor cores


class DenseInt4:
    """A dense layer for few rows of input whose weights stay codes of 4 bits.

    ``y = clip(x @ dequantize(codes).T + bias, low, high)`` in float32: what such a layer waits for
    is its weights, which are read once for up to 8 rows of bfloat16 or 2 of float32.

    Parameters
    ----------
    codes : array-like of int8 or uint8, shape (outputs, inputs)
        On the host; packed and copied to the device here. `inputs` is a multiple of 32.
    q : tersor.quantization.QParams
        With ``bits=4``, ``axis=1`` and a group size that is a multiple of 32, or ``axis=0``.
    bias : array-like of float32, shape (outputs,), optional
    low, high : float, optional
        Bounds of the result.

    Raises
    ------
    ValueError
        If sizes, bits or groups are not as above.
    """

    def __init__(
        self,
        codes: ArrayLike,
        q: QParams,
        bias: ArrayLike | None = None,
        *,
        low: float = -np.inf,
        high: float = np.inf,
    ) -> None:
        values = code_array("DenseInt4: codes", codes, q.code_min, q.code_max)
        if values.ndim != 2 or values.shape[1] % 32:
            raise ValueError(
                "DenseInt4: codes must have shape (outputs, inputs), inputs a multiple of 32, "
                f"got {values.shape}"
            )
        outputs, inputs = values.shape
        group = (q.group_size or 0) if q.axis == 1 else 0
        groups = -(-inputs // group) if group else 1
        scale = np.asarray(q.scale, np.float32)
        if q.bits != 4 or q.axis not in (0, 1) or (q.axis == 1) != (group > 0) or group % 32:
            raise ValueError(
                "DenseInt4: q must have 4 bits and groups of a multiple of 32 along axis 1, or "
                f"axis 0, got {q.bits} bits, axis {q.axis}, groups of {group}"
            )
        if scale.size != outputs * groups:
            raise ValueError(f"DenseInt4: q must have {outputs * groups} scales, got {scale.size}")
        zero = np.asarray(q.zero_point if q.zero_point_float is None else q.zero_point_float)
        self.outputs, self.inputs = outputs, inputs
        self._signed, self._range = bool(q.signed), (float(low), float(high))
        self._tiled = _has_tensor_cores()
        scales = [scale.reshape(outputs, groups)]
        if zero.any():
            scales.append(zero.astype(np.float32).reshape(outputs, groups))
        if self._tiled:
            group, scales = _tiled_scales(group, inputs, scales)
        self._sizes = outputs, inputs, group
        self._codes = array(tiled_codes(values) if self._tiled else pack_bits(values, 4))
        self._scale = array(scales[0])
        self._zero = array(scales[1]) if len(scales) > 1 else None
        self._bias = None if bias is None else array(bias, np.float32)
        if self._bias is not None and self._bias.shape != (outputs,):
            raise ValueError(
                f"DenseInt4: bias must have shape ({outputs},), got {self._bias.shape}"
            )

    def __call__(self, x: Any) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : device array of float32 or bfloat16, shape (rows, inputs)

        Returns
        -------
        device array of float32, shape (rows, outputs)
        """
        a = rows_operand("DenseInt4: x", x, self.inputs)
        with on_device(a.device):
            y, address = a.empty((a.shape[0], self.outputs), np.float32)
            native().dense_int4(
                self._codes.address, self._signed, self._tiled, self._sizes, self._scale.address,
                0 if self._zero is None else self._zero.address,
                0 if self._bias is None else self._bias.address,
                *self._range, a.address, a.is_bfloat16, a.shape[0], address, a.stream,
            )  # fmt: skip
        return y


def _has_tensor_cores() -> bool:
    info = device_info(native().current_device())
    return bool(info["compute_capability"] >= (8, 0))


def tiled_codes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack codes of 4 bits as tensor cores take them: ``cpp/tersor/quantization/cuda.h``.

    Parameters
    ----------
    values : ndarray of int8 or uint8, shape (outputs, inputs)

    Returns
    -------
    ndarray of uint8, shape (outputs, ceil(inputs / 128), 4, 4, 4)
    """
    outputs, inputs = values.shape
    padded = np.pad(values, ((0, 0), (0, -inputs % _PIECE)))
    words = pack_bits(padded, 4).reshape(outputs, -1, 4, 4, 4)
    return np.ascontiguousarray(words.transpose(0, 1, 3, 2, 4))


def _tiled_scales(
    group: int, inputs: int, scales: list[NDArray[np.float32]]
) -> tuple[int, list[NDArray[np.float32]]]:
    """Scales for pieces of 128 inputs: a group that does not divide them is split into 32."""
    if not group or group % _PIECE == 0:
        return group, scales
    if group not in (32, 64):
        scales = [np.repeat(s, group // 32, axis=1) for s in scales]
        group = 32
    count = -(-inputs // _PIECE) * (_PIECE // group)
    fitted = [np.zeros((s.shape[0], count), np.float32) for s in scales]
    for wide, s in zip(fitted, scales, strict=True):
        n = min(count, s.shape[1])
        wide[:, :n] = s[:, :n]
    return group, fitted


__all__ = ["DenseInt4"]
