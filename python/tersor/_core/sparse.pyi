# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import typing

import numpy
import numpy.typing

__all__: list[str] = ["SparseMatrix", "SpmmInt8Plan", "SpmmPlan"]

class SparseMatrix:
    """A matrix in one of the formats of sparse/matrix.h."""

    @staticmethod
    def from_dense(
        w: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        format: str,
        block: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ],
        nm: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ],
    ) -> SparseMatrix: ...
    @staticmethod
    def from_parts(
        format: str,
        shape: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ],
        values: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        indices: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        starts: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        block: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ],
        nm: tuple[
            typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex
        ],
    ) -> SparseMatrix: ...
    def to_dense(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def entries(self) -> int: ...
    @property
    def format(self) -> str: ...
    @property
    def indices(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def part_bytes(self) -> tuple[int, int, int]: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def starts(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def values(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...

class SpmmPlan:
    """A matrix in the form that the kernels read."""

    def __init__(
        self,
        matrix: SparseMatrix,
        columns: typing.SupportsInt | typing.SupportsIndex,
        block_rows: typing.SupportsInt | typing.SupportsIndex = 0,
        depth: typing.SupportsInt | typing.SupportsIndex = 0,
        together: typing.SupportsInt | typing.SupportsIndex = 0,
        width: typing.SupportsInt | typing.SupportsIndex = 0,
        packed: bool = True,
    ) -> None: ...
    def multiply(
        self,
        x: numpy.typing.NDArray[numpy.float32],
        bias: numpy.typing.NDArray[numpy.float32] | None,
        residual: numpy.typing.NDArray[numpy.float32] | None,
        range: tuple[
            typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex
        ],
        post_range: tuple[
            typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex
        ],
        out: typing.Any,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def nbytes(self) -> int: ...

class SpmmInt8Plan:
    """An int8 matrix in blocks of 1 x 4."""

    def __init__(
        self,
        matrix: SparseMatrix,
        columns: typing.SupportsInt | typing.SupportsIndex,
        block_rows: typing.SupportsInt | typing.SupportsIndex = 0,
        depth: typing.SupportsInt | typing.SupportsIndex = 0,
        together: typing.SupportsInt | typing.SupportsIndex = 0,
        width: typing.SupportsInt | typing.SupportsIndex = 0,
        quads: bool | None = None,
    ) -> None: ...
    def multiply(
        self,
        x: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        bias: numpy.typing.NDArray[numpy.int32] | None,
        out: typing.Any,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    @property
    def nbytes(self) -> int: ...
