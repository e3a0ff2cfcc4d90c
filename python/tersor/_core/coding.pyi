# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import typing

import numpy
import numpy.typing
import typing_extensions

__all__: list[str] = ["decode", "encode", "entropy", "method_of"]

def decode(
    data: typing_extensions.Buffer,
    count: typing.SupportsInt | typing.SupportsIndex,
    row: typing.SupportsInt | typing.SupportsIndex,
    taps: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
def encode(
    symbols: numpy.typing.NDArray[numpy.uint8],
    method: str,
    row: typing.SupportsInt | typing.SupportsIndex,
    taps: typing.SupportsInt | typing.SupportsIndex,
) -> bytes:
    """method: u8 and blocks, see coding/symbols.h."""

def entropy(symbols: numpy.typing.NDArray[numpy.uint8]) -> float:
    """Bits a symbol."""

def method_of(method: typing.SupportsInt | typing.SupportsIndex) -> str: ...
