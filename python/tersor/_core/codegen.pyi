# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import typing

import tersor._core.graph
import tersor._core.quantization

__all__: list[str] = [
    "activation_codes",
    "add_multipliers",
    "fixed_multiplier",
    "mean_multiplier",
    "softmax_table",
    "unary_table",
]

def activation_codes(activation: str, output: tersor._core.quantization.QParams) -> tuple[int, int]:
    """Lowest and highest code that it leaves."""

def add_multipliers(
    a: tersor._core.quantization.QParams,
    b: tersor._core.quantization.QParams,
    output: tersor._core.quantization.QParams,
) -> list[tuple[int, int]]:
    """(mantissa, shift) of a, b and their sum."""

def fixed_multiplier(value: typing.SupportsFloat | typing.SupportsIndex) -> tuple[int, int]:
    """(mantissa, shift): value = mantissa * 2^(shift - 31)."""

def mean_multiplier(
    input: tersor._core.quantization.QParams,
    output: tersor._core.quantization.QParams,
    count: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[int, int]: ...
def softmax_table(scale: typing.SupportsFloat | typing.SupportsIndex) -> list[int]: ...
def unary_table(
    graph: tersor._core.graph.Graph, node: typing.SupportsInt | typing.SupportsIndex
) -> list[int]:
    """Code of the output for each of the 256 input codes."""
