# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "LookupDense",
    "decode",
    "decode_float64",
    "kmeans",
    "kmeans_float64",
    "product_kmeans",
    "sum_members",
]

class LookupDense:
    def __init__(
        self,
        codes: numpy.typing.NDArray[numpy.uint8],
        tables: numpy.typing.NDArray[numpy.float32],
        group: typing.SupportsInt | typing.SupportsIndex,
        bias: numpy.typing.NDArray[numpy.float32] | None,
        low: typing.SupportsFloat | typing.SupportsIndex,
        high: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def run(
        self, x: numpy.typing.NDArray[numpy.float32], out: typing.Any
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def kernel(self) -> str: ...
    @property
    def packed_bytes(self) -> int: ...

def decode(
    operation: str,
    codes: numpy.typing.NDArray[numpy.uint8],
    table: numpy.typing.NDArray[numpy.float32],
    step: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
def decode_float64(
    operation: str,
    codes: numpy.typing.NDArray[numpy.uint8],
    table: numpy.typing.NDArray[numpy.float64],
    step: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
def kmeans(
    w: numpy.typing.NDArray[numpy.float32],
    step: typing.SupportsInt | typing.SupportsIndex,
    k: typing.SupportsInt | typing.SupportsIndex,
    algorithm: str,
    init: str,
    weights: typing.Any,
    keep_zero: typing.Any,
    seed: typing.SupportsInt | typing.SupportsIndex,
    max_iterations: typing.SupportsInt | typing.SupportsIndex,
    max_points: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[typing.Any, ...]: ...
def kmeans_float64(
    w: numpy.typing.NDArray[numpy.float64],
    step: typing.SupportsInt | typing.SupportsIndex,
    k: typing.SupportsInt | typing.SupportsIndex,
    algorithm: str,
    init: str,
    weights: typing.Any,
    keep_zero: typing.Any,
    seed: typing.SupportsInt | typing.SupportsIndex,
    max_iterations: typing.SupportsInt | typing.SupportsIndex,
    max_points: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[typing.Any, ...]: ...
def product_kmeans(
    vectors: numpy.typing.NDArray[numpy.float32],
    k: typing.SupportsInt | typing.SupportsIndex,
    keep_zero: typing.Any,
    seed: typing.SupportsInt | typing.SupportsIndex,
    max_iterations: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[typing.Any, ...]: ...
def sum_members(
    operation: str,
    codes: numpy.typing.NDArray[numpy.uint8],
    x: numpy.typing.NDArray[numpy.float32],
    step: typing.SupportsInt | typing.SupportsIndex,
    k: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float64]: ...
