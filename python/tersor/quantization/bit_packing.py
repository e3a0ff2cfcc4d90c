"""Codes without gaps. Native half: ``cpp/tersor/coding/bit_packing.h``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core


def pack_bits(
    codes: ArrayLike, bits: int, *, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Store codes in `bits` bits each, least significant bit first, without gaps.

    Parameters
    ----------
    codes : array-like of int8 or uint8, shape (...)
        Bits above the lowest `bits` are cut off.
    bits : int
        In [1, 8].
    out : ndarray of uint8, shape (ceil(size * bits / 8),), optional
        Array to write.

    Returns
    -------
    packed : ndarray of uint8, shape (ceil(size * bits / 8),)
        Bit ``i * bits + b`` of the stream is bit `b` of code `i` in C order; unused bits are 0.

    Raises
    ------
    ValueError
        If `bits` is out of range or `out` has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import pack_bits
    >>> pack_bits(np.array([1, -1, 3], np.int8), 4)
    array([241,   3], dtype=uint8)
    """
    return _core.quantization.pack_bits(as_bytes(codes), bits, out)


def unpack_bits(
    packed: ArrayLike,
    bits: int,
    shape: int | tuple[int, ...],
    *,
    signed: bool = True,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Undo `pack_bits`.

    Parameters
    ----------
    packed : array-like of uint8, shape (ceil(size * bits / 8),)
    bits : int
        In [1, 8].
    shape : int or tuple of int
        Shape of the result.
    signed : bool, default True
        Whether codes are in two's complement.
    out : ndarray of int8 (uint8 for unsigned codes), shape `shape`, optional
        C-contiguous array to write.

    Returns
    -------
    codes : ndarray of int8, or uint8 for unsigned codes, shape `shape`

    Raises
    ------
    ValueError
        If `bits` is out of range or `packed` has not the length that shape and bits need.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor.quantization import unpack_bits
    >>> unpack_bits(np.array([241, 3], np.uint8), 4, 3)
    array([ 1, -1,  3], dtype=int8)
    """
    dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
    return _core.quantization.unpack_bits(as_bytes(packed), bits, dimensions, signed, out)


def packed_size(size: int, bits: int) -> int:
    """Bytes that so many codes take.

    Parameters
    ----------
    size : int
        Number of codes.
    bits : int
        In [1, 8].

    Returns
    -------
    int

    Examples
    --------
    >>> from tersor.quantization import packed_size
    >>> packed_size(3, 4)
    2
    """
    return math.ceil(size * bits / 8)


def as_bytes(x: ArrayLike) -> NDArray[np.uint8]:
    """Take arrays of bytes as they are; other integers keep their lowest 8 bits."""
    array = np.asarray(x, order="C")
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.int8:
        return array.view(np.uint8)
    if array.dtype.kind not in "iub" and array.size:
        raise TypeError(f"pack_bits: codes must be integers, got {array.dtype}")
    return array.astype(np.uint8)


__all__ = ["as_bytes", "pack_bits", "packed_size", "unpack_bits"]
