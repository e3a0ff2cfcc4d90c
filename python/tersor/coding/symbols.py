"""Arrays of integers as bytes and back. Native half: ``cpp/tersor/coding/symbols.h``."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..base.error import ArtifactError

# magic, CRC-32 of the rest: u32; dtype: u8 (index below), rank: u8; dimensions, planes, lowest
# value (zigzag), bytes of every plane but the last: varints; the planes: (value - lowest) >> 8 p.
_MAGIC = b"TSRC\x01"
_DTYPES = ("uint8", "int8", "bool", "int16", "uint16", "int32", "uint32", "int64", "uint64")
_MOST_RANK = 32


def encode(symbols: ArrayLike, method: str = "small") -> bytes:
    """Code integers in few bytes, without loss.

    Parameters
    ----------
    symbols : array-like of integers, shape (...)
        Codes of weights, indices of a codebook, masks. The first axis counts filters: what comes
        early in a filter helps to code the rest of it with ``"small"``, and neighbouring values
        should mean similar things, as sorted centroids do.
    method : str, default "small"
        ``"packed"`` (fixed width), ``"huffman"``, ``"rans"``, ``"rice"`` (gaps between what differs
        from the commonest value), ``"range"`` (adaptive), or a profile, which takes the smallest of
        its methods: ``"fast"`` all but the last, ``"small"`` all, at a fraction of the speed.

    Returns
    -------
    bytes
        With dtype, shape and a checksum; `decode` needs nothing else.

    Raises
    ------
    TypeError
        If `symbols` are no integers.
    ValueError
        If `method` does not exist.

    References
    ----------
    Huffman, A method for the construction of minimum-redundancy codes, 1952. Duda, Asymmetric
    numeral systems, 2013. Rice & Plaunt, Adaptive variable-length coding, 1971.

    Examples
    --------
    >>> import numpy as np
    >>> from tersor import coding
    >>> codes = np.random.default_rng(0).binomial(15, 0.5, (64, 144)).astype(np.uint8)
    >>> buffer = coding.encode(codes, "rans")
    >>> len(buffer) < 1.02 * codes.size * coding.entropy(codes) / 8 < codes.size / 2
    True
    >>> np.array_equal(coding.decode(buffer), codes)
    True
    """
    array = as_integers("encode", symbols)
    if array.ndim > _MOST_RANK:
        raise ValueError(f"encode: symbols must have at most {_MOST_RANK} axes, got {array.ndim}")
    row, taps = _geometry(array.shape)
    lowest, planes = _planes(np.ascontiguousarray(array).reshape(-1))
    streams = [_core.coding.encode(plane, method, row, taps) for plane in planes]
    header = bytearray([_DTYPES.index(array.dtype.name), array.ndim])
    signed = 2 * lowest if lowest >= 0 else -2 * lowest - 1
    for value in (*array.shape, len(planes), signed, *map(len, streams[:-1])):
        _put_varint(value, header)
    body = bytes(header) + b"".join(streams)
    return _MAGIC + zlib.crc32(body).to_bytes(4, "little") + body


def decode(buffer: bytes | bytearray | memoryview) -> NDArray[Any]:
    """Undo `encode`.

    Parameters
    ----------
    buffer : bytes-like

    Returns
    -------
    ndarray
        With the dtype and shape that were coded.

    Raises
    ------
    ArtifactError
        If the bytes are not what `encode` wrote. Memory and time are bounded by what the number of
        bytes can stand for.

    Examples
    --------
    >>> from tersor import coding
    >>> coding.decode(coding.encode([[3, 3], [3, 5]], "huffman"))
    array([[3, 3],
           [3, 5]])
    """
    data, at, dtype, shape = _read_header(buffer)
    count, at = _get_varint(data, at)
    signed, at = _get_varint(data, at)
    if not 1 <= count <= 8:
        raise ArtifactError(f"coding: planes must be in [1, 8], got {count}")
    lengths = []
    for _ in range(count - 1):
        length, at = _get_varint(data, at)
        lengths.append(length)
    lengths.append(len(data) - at - sum(lengths))
    if lengths[-1] < 0:
        raise ArtifactError("coding: a plane is longer than the data")
    size, (row, taps) = math.prod(shape), _geometry(shape)
    lowest = signed // 2 if signed % 2 == 0 else -(signed + 1) // 2
    planes = []
    for length in lengths:
        planes.append(_core.coding.decode(data[at : at + length], size, row, taps))
        at += length
    return _join(planes, lowest, dtype).reshape(shape)


def method_of(buffer: bytes | bytearray | memoryview) -> str:
    """Name the method that `encode` chose (of the lowest byte, for symbols wider than a byte).

    Parameters
    ----------
    buffer : bytes-like

    Returns
    -------
    str

    Raises
    ------
    ArtifactError
        If the bytes are not what `encode` wrote.

    Examples
    --------
    >>> from tersor import coding
    >>> coding.method_of(coding.encode([1, 2, 3], "rans"))
    'rans'
    """
    data, at, _, _ = _read_header(buffer)
    planes, at = _get_varint(data, at)
    for _ in range(planes):
        _, at = _get_varint(data, at)
    if at >= len(data):
        raise ArtifactError("coding: the data ends early")
    name: str = _core.coding.method_of(data[at])
    return name


def as_integers(operation: str, symbols: ArrayLike) -> NDArray[Any]:
    """Take any array of integers (booleans count); an empty list too."""
    array = np.asarray(symbols)
    if array.dtype == np.float64 and array.size == 0 and not isinstance(symbols, np.ndarray):
        array = array.astype(np.uint8)
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"{operation}: symbols must be integers, got {array.dtype}")
    return array


def _geometry(shape: tuple[int, ...]) -> tuple[int, int]:
    # [filters][inputs][taps ...]; one axis is one long filter.
    row = math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)
    return max(row, 1), max(math.prod(shape[2:]), 1)


def _planes(flat: NDArray[Any]) -> tuple[int, list[NDArray[np.uint8]]]:
    if flat.dtype == np.int8:
        return -128, [flat.view(np.uint8) ^ np.uint8(0x80)]
    if flat.dtype.itemsize == 1:
        return 0, [flat.view(np.uint8)]
    if flat.size == 0:
        return 0, [np.zeros(0, np.uint8)]
    lowest, highest = int(flat.min()), int(flat.max())
    # Modulo 2^64, so that the span of int64 fits.
    offset = flat.astype(np.uint64) - np.uint64(lowest % (1 << 64))
    count = max(1, ((highest - lowest).bit_length() + 7) // 8)
    return lowest, [(offset >> np.uint64(8 * p)).astype(np.uint8) for p in range(count)]


def _join(planes: list[NDArray[np.uint8]], lowest: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.itemsize == 1:
        flat = planes[0]
        if len(planes) != 1 or lowest != (-128 if dtype == np.int8 else 0):
            raise ArtifactError("coding: symbols of one byte must have one plane")
        if dtype == np.bool_ and flat.size and flat.max() > 1:
            raise ArtifactError("coding: booleans must be 0 or 1")
        if dtype == np.int8:
            flat = flat ^ np.uint8(0x80)
        return flat.view(dtype)
    value = np.zeros(planes[0].size, np.uint64)
    for p, plane in enumerate(planes):
        value |= plane.astype(np.uint64) << np.uint64(8 * p)
    limits = np.iinfo(dtype)
    highest = lowest + (int(value.max()) if value.size else 0)
    if len(planes) > dtype.itemsize or lowest < limits.min or highest > limits.max:
        raise ArtifactError(f"coding: symbols must fit {dtype.name}")
    joined: NDArray[Any] = (value + np.uint64(lowest % (1 << 64))).astype(dtype)
    return joined


def _put_varint(value: int, out: bytearray) -> None:
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _get_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ArtifactError("coding: a number is not well formed")


def _read_header(
    buffer: bytes | bytearray | memoryview,
) -> tuple[bytes, int, np.dtype[Any], tuple[int, ...]]:
    data = bytes(buffer)
    start = len(_MAGIC) + 4
    if not data.startswith(_MAGIC) or len(data) < start + 2:
        raise ArtifactError("coding: these are not the bytes of encode, or their start is damaged")
    body = data[start:]
    if zlib.crc32(body).to_bytes(4, "little") != data[len(_MAGIC) : start]:
        raise ArtifactError("coding: the checksum does not match")
    if body[0] >= len(_DTYPES) or body[1] > _MOST_RANK:
        raise ArtifactError("coding: dtype or rank is unknown")
    at, shape = 2, []
    for _ in range(body[1]):
        dimension, at = _get_varint(body, at)
        shape.append(dimension)
    if math.prod(max(d, 1) for d in shape) >= 1 << 62:
        raise ArtifactError("coding: the shape is too large")
    return body, at, np.dtype(_DTYPES[body[0]]), tuple(shape)


__all__ = ["as_integers", "decode", "encode", "method_of"]
