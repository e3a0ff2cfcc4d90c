"""From int32 sums to int8 codes. Native half: ``cpp/tersor/quantization/requantize.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


def requantize(
    sums: ArrayLike,
    multiplier: ArrayLike,
    zero_point: int = 0,
    *,
    lo: int = -128,
    hi: int = 127,
    arithmetic: str = "fast",
    out: NDArray[np.int8] | None = None,
) -> NDArray[np.int8]:
    """Scale int32 sums to int8 codes.

    Parameters
    ----------
    sums : array-like of int32, shape (..., C)
        Sums at scale ``s_x * s_w``.
    multiplier : float or array-like of float64, shape () or (C,)
        ``s_x * s_w / s_y``, in [0, 2**30).
    zero_point : int, default 0
        Zero point of the codes.
    lo, hi : int, default -128 and 127
        Smallest and largest code.
    arithmetic : {"fast", "exact"}
        ``rint(v + copysign(h, v))``, ``v = float32(sum) * float32(multiplier)``, or the 31-bit
        integer multiplier with two roundings of TFLite Micro, the first of which
        ``h = 2**floor(log2(multiplier))`` (0 from 1/2 on) stands for.
    out : ndarray of int8, shape (..., C), optional
        C-contiguous array to write.

    Returns
    -------
    y : ndarray of int8, shape (..., C)

    Raises
    ------
    ValueError
        If a parameter is out of range or a shape does not match.

    References
    ----------
    .. [1] Jacob et al., "Quantization and Training of Neural Networks for Efficient
       Integer-Arithmetic-Only Inference", CVPR 2018, section 2.2.

    Examples
    --------
    >>> from tersor.quantization import requantize
    >>> requantize([-1000, 7, 1000], 0.1, 3)
    array([-97,   4, 103], dtype=int8)
    """
    values = np.asarray(sums)
    if values.dtype != np.int32:
        converted = values.astype(np.int32)
        if not np.array_equal(converted, values):
            raise ValueError(
                f"requantize: sums must hold 32-bit integers, got {values.dtype} out of range"
            )
        values = converted
    multipliers = np.atleast_1d(np.asarray(multiplier, np.float64, order="C"))
    sums = np.ascontiguousarray(values).reshape(values.shape)
    return _core.quantization.requantize(sums, multipliers, zero_point, lo, hi, arithmetic, out)


__all__ = ["requantize"]
