# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy

import tersor._core.graph

__all__: list[str] = [
    "VERSION",
    "decode",
    "encode",
    "inspect",
    "read",
    "read_tensors",
    "stored_bytes",
    "write",
]

def decode(data: bytes, verify: bool = True) -> tuple[typing.Any, ...]:
    """(graph, metadata, provenance)"""

def encode(
    graph: tersor._core.graph.Graph,
    metadata: bytes = b"",
    provenance: bytes = b"",
    profile: str | None = None,
) -> bytes: ...
def inspect(data: bytes) -> dict[str, typing.Any]:
    """Sections and streams with their place in the file."""

def read(path: str, verify: bool = True) -> tuple[typing.Any, ...]:
    """(graph, metadata, provenance)"""

def read_tensors(
    path: str, names: collections.abc.Sequence[str], verify: bool = True
) -> list[typing.Any]:
    """(values, qparams or None) of each name"""

def stored_bytes(
    value: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    bits: typing.SupportsInt | typing.SupportsIndex,
    profile: str | None = None,
) -> int:
    """Bytes of a constant's values in a file."""

def write(
    path: str,
    graph: tersor._core.graph.Graph,
    metadata: bytes = b"",
    provenance: bytes = b"",
    profile: str | None = None,
) -> None: ...

VERSION: tuple[typing.Any, ...]
