# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy

import tersor._core.graph
import tersor._core.quantization

__all__: list[str] = [
    "BREAK_EVEN_VERSION",
    "Calibrator",
    "LayerProfile",
    "Session",
    "sparse_pays",
    "winograd_pays",
]

class LayerProfile:
    @property
    def bytes(self) -> int: ...
    @property
    def kernel(self) -> str: ...
    @property
    def macs(self) -> int: ...
    @property
    def node(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def output_shape(self) -> tuple[typing.Any, ...]: ...
    @property
    def time_us(self) -> float: ...

class Session:
    def __init__(
        self,
        graph: tersor._core.graph.Graph,
        threads: typing.SupportsInt | typing.SupportsIndex,
        arithmetic: str,
        precision: str,
        provider: str,
        micro_batch: typing.SupportsInt | typing.SupportsIndex,
        check_finite: bool,
        choices: collections.abc.Mapping[str, str],
    ) -> None: ...
    def profile(
        self,
        inputs: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]],
        repeats: typing.SupportsInt | typing.SupportsIndex,
    ) -> list[LayerProfile]: ...
    def run(
        self,
        inputs: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]],
        out: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]] | None,
    ) -> tuple[typing.Any, ...]: ...
    def run_edges(
        self,
        input_edges: collections.abc.Sequence[str],
        inputs: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]],
        output_edges: collections.abc.Sequence[str],
    ) -> tuple[typing.Any, ...]: ...
    def run_tapped(
        self,
        inputs: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]],
        edges: collections.abc.Sequence[str],
        tap: collections.abc.Callable[..., typing.Any],
    ) -> None: ...
    def update_weights(
        self, name: str, value: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]
    ) -> None: ...
    @property
    def graph(self) -> tersor._core.graph.Graph: ...
    @property
    def micro_batch(self) -> int: ...
    @property
    def peak_memory_bytes(self) -> int: ...

class Calibrator:
    def __init__(
        self,
        graph: tersor._core.graph.Graph,
        histograms: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        means: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
        threads: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def correct_biases(
        self,
        graph: tersor._core.graph.Graph,
        placement: tersor._core.graph.Placement,
        qparams: collections.abc.Sequence[tersor._core.quantization.QParams],
        dense_per_channel: bool,
        search_weight_range: bool,
        weight_bits: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex] = {},
        conv_per_tensor: bool = False,
    ) -> tersor._core.graph.Graph:
        """A copy of the graph with corrected biases; edge ids stay valid."""
    def mean(
        self, edge: typing.SupportsInt | typing.SupportsIndex
    ) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def observe(
        self, inputs: collections.abc.Sequence[numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]]
    ) -> None: ...
    def range(self, edge: typing.SupportsInt | typing.SupportsIndex) -> tuple[float, float]: ...
    def ranges(
        self,
        placement: tersor._core.graph.Placement,
        method: str,
        percentile: typing.SupportsFloat | typing.SupportsIndex,
    ) -> list[tuple[float, float]]: ...
    @property
    def samples(self) -> int: ...

def sparse_pays(
    batch: typing.SupportsInt | typing.SupportsIndex,
    input: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
    ],
    output: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
    ],
    kernel: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    strides: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    dilations: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    pads: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    int8: bool,
    density: typing.SupportsFloat | typing.SupportsIndex,
) -> bool: ...
def winograd_pays(
    batch: typing.SupportsInt | typing.SupportsIndex,
    input: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
    ],
    output: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
    ],
    kernel: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    strides: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    dilations: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    pads: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(2)"
    ],
    int8: bool,
) -> bool: ...

BREAK_EVEN_VERSION: int
