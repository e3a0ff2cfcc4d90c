"""Integers of generated C, from the formulas of the session's exact arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core


def sum_struct(a: Any, b: Any, output: Any, subtract: bool, activation: str) -> str:
    """Initialiser of ``tersor_sum``.

    Parameters
    ----------
    a, b, output : QParams
    subtract : bool
    activation : str

    Returns
    -------
    str
    """
    (m_a, s_a), (m_b, s_b), (m, s) = _core.codegen.add_multipliers(a, b, output)
    low, high = _core.codegen.activation_codes(activation, output)
    zeros = [int(q.zero_point[0]) for q in (a, b, output)]
    fields = [m_a, m_b, m, s_a, s_b, s, -1 if subtract else 1, *zeros, low, high]
    return "{" + ", ".join(map(str, fields)) + "}"


def has_row(a: Any, b: Any, output: Any) -> bool:
    """Return whether tersor_add_row covers a sum: its multiplier is below 1/2."""
    return int(_core.codegen.add_multipliers(a, b, output)[2][1]) < 0


def table_of_requantize(x: Any, y: Any) -> NDArray[np.int8]:
    """Code of the output for each of the 256 codes of the input."""
    codes = np.arange(-128, 128, dtype=np.int32) - np.int32(x.zero_point[0])
    real = np.float64(x.scale[0]) / np.float64(y.scale[0])
    return np.asarray(
        _core.quantization.requantize(
            codes, np.array([real]), int(y.zero_point[0]), -128, 127, "exact", None
        ),
        np.int8,
    )


def multipliers(x: Any, weight: Any, y: Any, channels: int) -> tuple[NDArray[np.int32], Any]:
    """Mantissas and shifts of a layer's outputs, one per channel.

    Parameters
    ----------
    x, weight, y : QParams
    channels : int

    Returns
    -------
    tuple of ndarray of int32 and ndarray of int8
    """
    pairs = [
        _core.codegen.fixed_multiplier(
            float(np.float64(x.scale[0]) * np.float64(s) / np.float64(y.scale[0]))
        )
        for s in weight.scale
    ]
    if len(pairs) == 1:
        pairs *= channels
    return (
        np.array([m for m, _ in pairs], np.int32),
        np.array([s for _, s in pairs], np.int8),
    )


def wrapped(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Modulo 2^32, as int32."""
    return (values & 0xFFFFFFFF).astype(np.uint32).view(np.int32)


def padded(values: NDArray[Any], count: int) -> NDArray[Any]:
    """Append zeros along the first axis up to `count`."""
    missing = count - len(values)
    return np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)])


__all__ = ["has_row", "multipliers", "padded", "sum_struct", "table_of_requantize", "wrapped"]
