"""Packed codes in one pass. Native half: ``cpp/tersor/quantization/quantize_packed.h``."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from .bit_packing import as_bytes
from .qparams import QParams


def quantize_packed(
    x: ArrayLike, q: QParams, *, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Quantize to packed codes in one pass: ``pack_bits(quantize(x, q), q.bits)``.

    Parameters
    ----------
    x : array-like of float32, shape (...)
    q : QParams
        What the codes mean.
    out : ndarray of uint8, shape (ceil(size * q.bits / 8),), optional
        Array to write.

    Returns
    -------
    packed : ndarray of uint8, shape (ceil(size * q.bits / 8),)

    Raises
    ------
    ValueError
        If the shape of `x` does not fit the number of scales.

    Examples
    --------
    >>> from tersor.quantization import QParams, quantize_packed
    >>> quantize_packed([0.5, -0.5, 1.5], QParams(scale=[0.5], zero_point=[0], bits=4))
    array([241,   3], dtype=uint8)
    """
    return _core.quantization.quantize_packed(np.asarray(x, np.float32, order="C"), q, out)


def dequantize_packed(
    packed: ArrayLike,
    q: QParams,
    shape: int | tuple[int, ...],
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Map packed codes to values in one pass: ``dequantize(unpack_bits(packed, ...), q)``.

    Parameters
    ----------
    packed : array-like of uint8, shape (ceil(size * q.bits / 8),)
    q : QParams
        What the codes mean.
    shape : int or tuple of int
        Shape of the result.
    out : ndarray of float32, shape `shape`, optional
        C-contiguous array to write.

    Returns
    -------
    y : ndarray of float32, shape `shape`

    Raises
    ------
    ValueError
        If the shape does not fit the number of scales or the length of `packed`.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import QParams, dequantize_packed
    >>> q = QParams(scale=[0.5], zero_point=[0], bits=4)
    >>> dequantize_packed(np.array([241, 3], np.uint8), q, 3)
    array([ 0.5, -0.5,  1.5], dtype=float32)
    """
    dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
    return _core.quantization.dequantize_packed(as_bytes(packed), q, dimensions, out)


__all__ = ["dequantize_packed", "quantize_packed"]
