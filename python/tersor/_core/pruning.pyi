# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "block_scores",
    "expand_blocks",
    "keep_highest",
    "keep_highest_of_rows",
    "kept_count",
    "lamp_scores",
    "nm_mask",
    "random_scores",
]

def block_scores(
    x: numpy.typing.NDArray[numpy.float32],
    block_rows: typing.SupportsInt | typing.SupportsIndex,
    block_columns: typing.SupportsInt | typing.SupportsIndex,
    kind: str,
) -> numpy.typing.NDArray[numpy.float32]: ...
def expand_blocks(
    blocks: numpy.typing.NDArray[numpy.bool],
    rows: typing.SupportsInt | typing.SupportsIndex,
    columns: typing.SupportsInt | typing.SupportsIndex,
    block_rows: typing.SupportsInt | typing.SupportsIndex,
    block_columns: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.bool]: ...
def keep_highest(
    operation: str,
    scores: list[numpy.typing.NDArray[numpy.float32]],
    kept: typing.SupportsInt | typing.SupportsIndex,
    absolute: bool,
) -> list[numpy.typing.NDArray[numpy.bool]]: ...
def keep_highest_of_rows(
    operation: str,
    scores: numpy.typing.NDArray[numpy.float32],
    kept: typing.SupportsInt | typing.SupportsIndex,
    absolute: bool,
) -> numpy.typing.NDArray[numpy.bool]: ...
def kept_count(
    operation: str,
    n: typing.SupportsInt | typing.SupportsIndex,
    sparsity: typing.SupportsFloat | typing.SupportsIndex,
) -> int: ...
def lamp_scores(w: numpy.typing.NDArray[numpy.float32]) -> numpy.typing.NDArray[numpy.float32]: ...
def nm_mask(
    operation: str,
    scores: numpy.typing.NDArray[numpy.float32],
    n: typing.SupportsInt | typing.SupportsIndex,
    m: typing.SupportsInt | typing.SupportsIndex,
    absolute: bool,
) -> numpy.typing.NDArray[numpy.bool]: ...
def random_scores(
    shape: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> numpy.typing.NDArray[numpy.float32]: ...
