# Written by tests/bindings/write_stubs.py (pybind11 3.1, pybind11-stubgen 3.0.0).
from __future__ import annotations

import collections.abc
import typing

import numpy

import tersor._core.quantization

__all__: list[str] = [
    "ChannelUnit",
    "Channels",
    "Edge",
    "EdgeGroup",
    "Graph",
    "MemoryPlan",
    "Node",
    "OPERATORS",
    "PASSES",
    "Placement",
    "WeightFormat",
    "apply_quantization",
    "calibration_edges",
    "correct_biases",
    "equalize",
    "find_channels",
    "group_qparams",
    "layer_inputs",
    "layer_names",
    "match_layers",
    "matches_pattern",
    "place_quantizers",
    "plan_memory",
    "remove_channels",
]

class Edge:
    def __repr__(self) -> str: ...
    @property
    def constant(self) -> typing.Any:
        """The weight as a read-only array, or None."""
    @property
    def dtype(self) -> str: ...
    @property
    def is_constant(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> str: ...
    @property
    def qparams(self) -> tersor._core.quantization.QParams | None: ...
    @property
    def shape(self) -> tuple[typing.Any, ...]:
        """Logical shape; a leading batch is None."""

class Node:
    def __repr__(self) -> str: ...
    @property
    def attributes(self) -> dict[str, typing.Any]: ...
    @property
    def inputs(self) -> list[int]:
        """Edge ids; -1 for an absent optional input."""
    @property
    def name(self) -> str: ...
    @property
    def op(self) -> str: ...
    @property
    def outputs(self) -> list[int]: ...

class Graph:
    description: str
    @typing.overload
    def __init__(self) -> None: ...
    @typing.overload
    def __init__(self, other: Graph) -> None: ...
    def add_constant(
        self,
        name: str,
        value: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        origin: str = "",
        qparams: tersor._core.quantization.QParams | None = None,
    ) -> int: ...
    def add_input(
        self, name: str, dtype: str, shape: collections.abc.Sequence[typing.Any]
    ) -> int: ...
    def add_node(
        self,
        op: str,
        inputs: collections.abc.Sequence[typing.Any],
        attributes: dict[str, typing.Any] = {},
        name: str = "",
        output_name: str = "",
        qparams: tersor._core.quantization.QParams | None = None,
    ) -> int:
        """Add an operator of the operator table; returns the id of its output edge."""
    def canonicalize(self) -> list[tuple[str, int]]:
        """Run all passes until nothing changes, then verify; returns [(pass, count), ...]."""
    def clone(self) -> Graph: ...
    def decode_codebooks(self) -> int:
        """Put the values of codebooks in their place, int8 or float32; returns how many."""
    def decode_weights(self) -> int: ...
    def edge(self, which: typing.Any) -> Edge:
        """The edge with that id, name or origin (a snapshot)."""
    def find_edge(self, name: str) -> int:
        """Id of the edge with that name or origin, -1 when there is none."""
    def fold_batch_norm(self) -> int: ...
    def fold_bias_add(self) -> int: ...
    def fold_constants(self) -> int: ...
    def fold_pad(self) -> int: ...
    def fold_quantization(self) -> int: ...
    def fuse_activation(self) -> int: ...
    def infer(self) -> None: ...
    def macs_of(self, node: typing.SupportsInt | typing.SupportsIndex) -> int: ...
    def merge_reshapes(self) -> int: ...
    def merge_transposes(self) -> int: ...
    def narrow_weights(
        self, dtype: str, nodes: collections.abc.Sequence[str] | None = None
    ) -> int: ...
    def quantize_weights_only(
        self, formats: collections.abc.Mapping[str, WeightFormat]
    ) -> dict[str, str]:
        """Returns why nodes were left, by name."""
    def recognize_patterns(self) -> int: ...
    def remove_dead_nodes(self) -> int: ...
    def remove_identities(self) -> int: ...
    def rename(self, edge: typing.Any, name: str) -> None:
        """Name an edge; another edge of that name gets an invented one."""
    def set_constant(
        self, edge: typing.Any, value: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]
    ) -> None: ...
    def set_origin(self, edge: typing.Any, origin: str) -> None: ...
    def set_outputs(self, edges: collections.abc.Sequence[typing.Any]) -> None: ...
    def set_qparams(
        self, edge: typing.Any, qparams: tersor._core.quantization.QParams | None
    ) -> None: ...
    def set_weight_codes(
        self,
        node: str,
        codes: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
        qparams: tersor._core.quantization.QParams,
    ) -> None:
        """Put codes that were chosen elsewhere in the place of a layer's weight."""
    def verify(self) -> None: ...
    def weight_code_qparams(
        self, node: str, format: WeightFormat
    ) -> tersor._core.quantization.QParams:
        """Parameters that the format gives to a layer's weight."""
    def widen_constants(self) -> int: ...
    @property
    def constant_bytes(self) -> int: ...
    @property
    def edges(self) -> list[Edge]: ...
    @property
    def input_ids(self) -> list[int]: ...
    @property
    def nodes(self) -> list[Node]: ...
    @property
    def output_ids(self) -> list[int]: ...

class EdgeGroup:
    @property
    def edges(self) -> list[int]: ...
    @property
    def fixed(self) -> tersor._core.quantization.QParams | None: ...
    @property
    def sources(self) -> list[int]: ...

class Placement:
    """Which nodes are quantized and which edges share parameters."""

    @property
    def group_of(self) -> list[int]:
        """By edge id; -1: float only."""
    @property
    def groups(self) -> list[EdgeGroup]: ...
    @property
    def quantized(self) -> list[typing.Any]: ...
    @property
    def reasons(self) -> list[typing.Any]:
        """By node: why it stays in float, or an empty string."""

class WeightFormat:
    """What the weight of a float layer becomes."""

    def __init__(
        self,
        bits: typing.SupportsInt | typing.SupportsIndex,
        group_size: typing.SupportsInt | typing.SupportsIndex = 0,
        float_zero_point: bool = False,
        least_squares: bool = False,
        dynamic: bool = False,
    ) -> None: ...

class MemoryPlan:
    @property
    def lower_bound_bytes(self) -> int: ...
    @property
    def offsets(self) -> list[int]: ...
    @property
    def optimal(self) -> bool: ...
    @property
    def total_bytes(self) -> int: ...

class ChannelUnit:
    """Channels that can only be removed together."""

    @property
    def group(self) -> int:
        """Index of the unit's group."""
    @property
    def made(self) -> list[tuple[int, int]]:
        """(node, output channel) of every layer that makes it."""
    @property
    def read(self) -> list[tuple[int, int]]:
        """(node, input channel) of every layer that reads it."""

class Channels:
    """What find_channels tells."""

    def __repr__(self) -> str: ...
    @property
    def axes(self) -> list[int]:
        """Axis with channels of every edge, -1: none."""
    @property
    def cover(self) -> list[list[int]]:
        """Sets of units of which at least one has to stay each."""
    @property
    def fixed(self) -> list[str]:
        """Layers whose channels stay, and why."""
    @property
    def groups(self) -> list[list[int]]:
        """Nodes of the layers whose output channels are tied to each other."""
    @property
    def units(self) -> list[ChannelUnit]: ...
    @property
    def units_of(self) -> list[list[int]]:
        """Unit of every place on that axis, -1 where it stays."""

def apply_quantization(
    graph: Graph,
    placement: Placement,
    qparams: collections.abc.Sequence[tersor._core.quantization.QParams],
    dense_per_channel: bool = False,
    search_weight_range: bool = False,
    weight_bits: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex] = {},
    conv_per_tensor: bool = False,
) -> Graph: ...
def calibration_edges(graph: Graph, placement: Placement) -> list[int]: ...
def correct_biases(
    graph: Graph,
    placement: Placement,
    qparams: collections.abc.Sequence[tersor._core.quantization.QParams],
    means: collections.abc.Mapping[
        typing.SupportsInt | typing.SupportsIndex,
        numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    ],
    dense_per_channel: bool = False,
    search_weight_range: bool = False,
    weight_bits: collections.abc.Mapping[str, typing.SupportsInt | typing.SupportsIndex] = {},
    conv_per_tensor: bool = False,
) -> Graph:
    """A copy of the graph with corrected biases; edge ids stay valid."""

def equalize(graph: Graph, through_relu6: bool = False) -> tuple[typing.Any, ...]:
    """(equalized copy, pairs, reasons why other layers were left)."""

def find_channels(graph: Graph, excluded: collections.abc.Sequence[str]) -> Channels: ...
def group_qparams(
    graph: Graph,
    placement: Placement,
    ranges: collections.abc.Sequence[
        tuple[
            typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex
        ]
    ],
) -> list[tersor._core.quantization.QParams]: ...
def layer_inputs(graph: Graph, placement: Placement) -> list[int]: ...
def layer_names(graph: Graph) -> list[tuple[str, list[str]]]:
    """By node: its name, and all names that patterns match."""

def match_layers(graph: Graph, patterns: collections.abc.Sequence[str]) -> list[int]:
    """By node: index of the last pattern that matches, -1 where none does."""

def matches_pattern(pattern: str, text: str) -> bool:
    """Whether a pattern with * and ? matches all of text."""

def place_quantizers(
    graph: Graph, rules: collections.abc.Sequence[tuple[str, str]] = []
) -> Placement: ...
def plan_memory(
    buffers: collections.abc.Sequence[
        typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
        ]
    ],
    alignment: typing.SupportsInt | typing.SupportsIndex,
    overlaps: collections.abc.Sequence[
        typing.Annotated[
            collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(3)"
        ]
    ],
    node_limit: typing.SupportsInt | typing.SupportsIndex,
) -> MemoryPlan: ...
def remove_channels(
    graph: Graph, channels: Channels, keep: collections.abc.Sequence[bool]
) -> Graph: ...

OPERATORS: list[typing.Any]
PASSES: list[typing.Any]
