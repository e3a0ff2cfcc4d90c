# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy
import numpy.typing

__all__: list[str] = [
    "Moments",
    "NormalEquations",
    "PruningOptions",
    "RoundingOptions",
    "code_bits",
    "gather_patches",
    "normal_equations",
    "prune_matrix",
    "removal_curve",
    "round_by_rate",
    "round_matrix",
]

class PruningOptions:
    """What prune_matrix removes."""

    def __init__(
        self,
        sparsity: typing.SupportsFloat | typing.SupportsIndex,
        per_row: bool,
        n: typing.SupportsInt | typing.SupportsIndex,
        m: typing.SupportsInt | typing.SupportsIndex,
        block_rows: typing.SupportsInt | typing.SupportsIndex,
        block_columns: typing.SupportsInt | typing.SupportsIndex,
        damping: typing.SupportsFloat | typing.SupportsIndex,
        swaps: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...

class RoundingOptions:
    """How kept weights are rounded."""

    def __init__(
        self,
        bits: typing.SupportsInt | typing.SupportsIndex,
        narrow: bool,
        group_size: typing.SupportsInt | typing.SupportsIndex,
        one_scale: bool,
        half_scales: bool,
        threads: typing.SupportsInt | typing.SupportsIndex,
        least_scale: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    ) -> None: ...

class Moments:
    """Sums of x x^T and t x^T of a linear layer."""

    def __init__(
        self,
        groups: typing.SupportsInt | typing.SupportsIndex,
        columns: typing.SupportsInt | typing.SupportsIndex,
        outputs: typing.SupportsInt | typing.SupportsIndex,
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def add_patches(
        self,
        x: numpy.typing.NDArray[numpy.float32],
        targets: numpy.typing.NDArray[numpy.float32] | None,
        output: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        kernel: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        strides: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        dilations: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        pads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        transposed: bool,
    ) -> None: ...
    def add_rows(
        self,
        x: numpy.typing.NDArray[numpy.float32],
        targets: numpy.typing.NDArray[numpy.float32] | None,
    ) -> None: ...
    def merge(self, other: Moments) -> None: ...
    @property
    def columns(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def outputs(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def t(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def tt(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def tx(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def x(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def xx(self) -> numpy.typing.NDArray[numpy.float64]: ...

class NormalEquations:
    """A layer's least-squares problem."""

    def best_bias(
        self, w: numpy.typing.NDArray[numpy.float32]
    ) -> numpy.typing.NDArray[numpy.float64]:
        """mean(target) - w mean(x)"""
    @property
    def hessian(self) -> numpy.typing.NDArray[numpy.float64]: ...
    @property
    def target(self) -> numpy.typing.NDArray[numpy.float64]: ...

def code_bits(
    codes: numpy.typing.NDArray[numpy.uint8], k: typing.SupportsInt | typing.SupportsIndex
) -> float: ...
def gather_patches(
    x: numpy.typing.NDArray[numpy.float32],
    output: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    kernel: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    strides: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    dilations: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    pads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    transposed: bool,
) -> numpy.typing.NDArray[numpy.float32]:
    """The rows that add_patches sees, as a matrix."""

def normal_equations(
    moments: Moments,
    group: typing.SupportsInt | typing.SupportsIndex,
    w: numpy.typing.NDArray[numpy.float32],
    centred: bool,
    ridge: typing.SupportsFloat | typing.SupportsIndex,
) -> NormalEquations: ...
def prune_matrix(
    w: numpy.typing.NDArray[numpy.float64],
    hessian: numpy.typing.NDArray[numpy.float64],
    options: PruningOptions,
    rounding: RoundingOptions | None,
    mask: numpy.typing.NDArray[numpy.bool] | None,
) -> tuple[typing.Any, ...]:
    """(mask, values, error, error of the mask alone, codes or None, scale or None)"""

def removal_curve(
    w: numpy.typing.NDArray[numpy.float64],
    hessian: numpy.typing.NDArray[numpy.float64],
    options: PruningOptions,
) -> numpy.typing.NDArray[numpy.float64]:
    """Errors after 0, 1, 2 ... removals."""

def round_by_rate(
    w: numpy.typing.NDArray[numpy.float64],
    hessian: numpy.typing.NDArray[numpy.float64],
    levels: numpy.typing.NDArray[numpy.float64],
    scale: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    mask: numpy.typing.NDArray[numpy.bool] | None,
    price: typing.SupportsFloat | typing.SupportsIndex,
    one_step: bool,
    reorder: bool,
    damping: typing.SupportsFloat | typing.SupportsIndex,
    passes: typing.SupportsInt | typing.SupportsIndex,
    sweeps: typing.SupportsInt | typing.SupportsIndex,
    refits: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[typing.Any, ...]: ...
def round_matrix(
    w: numpy.typing.NDArray[numpy.float64],
    hessian: numpy.typing.NDArray[numpy.float64],
    bits: typing.SupportsInt | typing.SupportsIndex,
    narrow: bool,
    group_size: typing.SupportsInt | typing.SupportsIndex,
    one_scale: bool,
    half_scales: bool,
    float_zero_point: bool,
    reorder: bool,
    damping: typing.SupportsFloat | typing.SupportsIndex,
    candidates: typing.SupportsInt | typing.SupportsIndex,
    sweeps: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
    least_scale: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
) -> tuple[typing.Any, ...]:
    """(codes, scale, zero points or None, error, error of rounding to nearest)"""
