"""Casts to and from narrow float formats. Native half: ``cpp/tersor/quantization/cast.h``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..base.output_array import check_apart, check_output_array

Format = Literal["fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp32"]

# Name of the dtype (NumPy's or ml_dtypes') -> format.
_FORMATS = {
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8_e4m3",
    "float8_e5m2": "fp8_e5m2",
}
# The same by dtype, filled as they are met: the name of one takes 2 us.
_KNOWN: dict[np.dtype[Any], str | None] = {}


def cast(x: ArrayLike, format: Format, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Round float32 values to a narrow float format, or widen them again.

    Parameters
    ----------
    x : array-like, shape (...)
        Of float32 (other dtypes are converted to it) to narrow; of float16, or bfloat16,
        float8_e4m3fn, float8_e5m2 of ml_dtypes, to widen.
    format : {"fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp32"}
        Format of the result. ``"fp8_e4m3"`` is the one with 448 as its largest number and no
        infinity (e4m3fn).
    out : ndarray, shape (...), optional
        C-contiguous array to write, of the result's dtype. It must not overlap `x` in memory.

    Returns
    -------
    ndarray, shape (...)
        Of float16, or bfloat16, float8_e4m3fn, float8_e5m2 of ml_dtypes, or float32. Rounded to
        nearest, ties to even, as ``x.astype`` with these dtypes: too large numbers become infinity
        (fp8_e4m3: NaN). Widening is exact.

    Raises
    ------
    ValueError
        If the format is unknown, or `out` has another shape or overlaps `x`.
    TypeError
        If `out` has another dtype.

    References
    ----------
    .. [1] Micikevicius et al., "FP8 Formats for Deep Learning", 2022.

    Examples
    --------
    >>> from tersor.quantization import cast
    >>> narrow = cast([1.0, 3.3, 500.0], "fp8_e4m3")
    >>> narrow.itemsize, cast(narrow, "fp32").tolist()
    (1, [1.0, 3.25, nan])
    """
    array = np.asarray(x)
    dtype = array.dtype
    if dtype not in _KNOWN:
        _KNOWN[dtype] = _FORMATS.get(dtype.name)
    source = _KNOWN[dtype]
    if format == "fp32":
        if source is None:
            values = np.asarray(array, np.float32, order="C")
            if out is None:
                return values
            check_output_array("cast", out, values.shape, np.float32)
            check_apart("cast", "x", values, out)
            np.copyto(out, values, casting="no")
            return out
        return _core.quantization.cast_from(np.ascontiguousarray(array), source, out)
    values = np.asarray(array, np.float32, order="C")
    return _core.quantization.cast_to(values, format, out)


__all__ = ["cast"]
