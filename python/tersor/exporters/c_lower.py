"""From a graph to the layers of generated C: which codes lie where, and what the C leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .c_plan import Activation, Layer, Slide
from .c_stream import Stream

# Float operators that may follow the last int8 edge: the caller applies them, or not.
_TAIL = ("softmax", "log_softmax", "sigmoid", "tanh", "relu", "identity", "reshape")
_SPATIAL = ("conv", "conv_transpose", "max_pool", "avg_pool", "resize", "batch_norm")
_FOLLOWING = ("add", "sub", "mul", "pad", "slice", "concat", "identity", "quantize", "requantize")


@dataclass(frozen=True)
class End:
    """An input or output of the C network.

    Attributes
    ----------
    float_name : str
        Name of the float edge of the source network that it stands for, "" where codes are meant.
    tail : str
        Float operators behind it in the source network, such as ``softmax axis=1``.
    ties : {"even", "away"}
        How floats halfway between two codes of an input are rounded.
    """

    activation: Activation
    float_name: str = ""
    tail: str = ""
    ties: str = "even"


@dataclass
class Program:
    """A lowered network."""

    kernels: str
    layers: list[Layer] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    inputs: list[End] = field(default_factory=list)
    outputs: list[End] = field(default_factory=list)
    stream: Stream | None = None  # which layers run row by row
    fed: bool = False  # whether the first layer is the caller, who brings the input row by row


class Lowering:
    """The walk over a graph.

    Parameters
    ----------
    graph : Graph
    kernels : {"portable", "dsp"}
    """

    def __init__(self, graph: Any, kernels: str) -> None:
        self.graph = graph
        self.nodes = graph.nodes
        self.edges = graph.edges
        self.program = Program(kernels)
        self.known: dict[int, Activation] = {}
        self.consumers: dict[int, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for edge in node.inputs:
                self.consumers.setdefault(edge, []).append(index)
        self.fused: dict[int, int] = {}  # add -> convolution, and back

    def run(self) -> Program:
        """Lower every node, in order."""
        from .c_operators import OPERATORS, fusions

        if not self.nodes:
            raise ValueError("export c: graph must have at least one layer, got none")
        self.fused = fusions(self)
        skipped = self._ends()
        for index, node in enumerate(self.nodes):
            if index in skipped:
                continue
            if node.op not in OPERATORS or not self._is_codes(node):
                index = self._in_float(index)
                node = self.nodes[index]
                raise self.refusal(index, self._why_not(node, node.op in OPERATORS))
            OPERATORS[node.op](self, index)
        for edge in self.graph.output_ids:
            self._output(edge)
        return self.program

    # ---- what operators use

    def refusal(self, index: int, why: str) -> UnsupportedError:
        """Return the error that names a layer."""
        node = self.nodes[index]
        return UnsupportedError(f"export c: layer {node.name} ({node.op}): {why}")

    def activation(self, edge: int) -> Activation:
        """Return a lowered edge."""
        return self.known[edge]

    def ordered(self, edge: int, order: Sequence[int]) -> Activation:
        """Return an edge in the order that an operator needs, copied where it lies otherwise."""
        from .c_moves import reordered

        x = self.known[edge]
        if x.lies_as(order):
            return Activation(x.name, x.buffer, x.shape, tuple(order), x.qparams)
        return reordered(self, x, tuple(order))

    def define(self, edge: int, order: Sequence[int], buffer: int | None = None) -> Activation:
        """Give an output edge its memory: new, or that of another edge."""
        e = self.edges[edge]
        shape = tuple(int(d) for d in e.shape[1:])
        if buffer is None:
            buffer = self.new_buffer(math.prod(shape))
        made = Activation(e.name, buffer, shape, tuple(order), e.qparams)
        self.known[edge] = made
        return made

    def new_buffer(self, size: int) -> int:
        """Return a new piece of memory of `size` bytes."""
        self.program.sizes.append(size)
        return len(self.program.sizes) - 1

    def add(self, layer: Layer) -> None:
        """Append a layer; what slides must be read by it once only."""
        layer.slides = [s for s in layer.slides if layer.inputs.count(s.source) == 1]
        self.program.layers.append(layer)

    def in_place(self, *sources: int) -> list[Slide]:
        """Slides of an element-wise operator: its output may lie on an input."""
        return [Slide(s, 0, None) for s in sources]

    # ---- ends

    def _is_codes(self, node: Any) -> bool:
        read = node.inputs[:1] if node.op == "gather" else node.inputs  # indices are no codes
        edges = [self.edges[e] for e in (*read, *node.outputs) if e >= 0]
        data = [e for e in edges if not e.is_constant]
        tensor = all(
            e.qparams is not None and len(e.qparams.scale) == 1 and e.dtype == "int8" for e in data
        )
        weights = all(e.dtype in ("int8", "int32") and e.qparams for e in edges if e.is_constant)
        return tensor and weights

    def _in_float(self, index: int) -> int:
        """Return the layer that computes in float behind a dequantize, else the node itself."""
        while self.nodes[index].op == "dequantize":
            readers = self.consumers.get(self.nodes[index].outputs[0], [])
            if not readers:
                break
            index = readers[0]
        return index

    def _why_not(self, node: Any, known: bool) -> str:
        edges = [self.edges[e] for e in (*node.inputs, *node.outputs) if e >= 0]
        types = ", ".join(f"{e.dtype}{'' if e.qparams else ' without scale'}" for e in edges)
        if known or any(e.dtype == "float32" for e in edges):
            return (
                f"must have int8 edges for C, got {types}; compress with an int8 recipe that "
                "leaves no layer in float (summary() says why one was left)"
            )
        return f"there is no C kernel for this operator, got {types}"

    def _ends(self) -> set[int]:
        """Cut quantize off the inputs and float operators off the outputs; return those nodes."""
        skipped: set[int] = set()
        for edge in self.graph.input_ids:
            e = self.edges[edge]
            readers = self.consumers.get(edge, [])
            if e.dtype == "int8" and e.qparams is not None:
                made = self.define(edge, self._preferred(edge))
                self.program.inputs.append(End(made))
                continue
            quantizers = [i for i in readers if self.nodes[i].op == "quantize"]
            if e.dtype != "float32" or len(quantizers) != 1 or len(readers) != 1:
                floats = [self.nodes[i] for i in readers if self.nodes[i].op != "quantize"]
                by = ", ".join(f"layer {n.name} ({n.op})" for n in floats)
                raise UnsupportedError(
                    f"export c: input {e.name} must be int8, or float32 and quantized first, got "
                    f"{e.dtype} read by {by or 'nothing'}"
                )
            skipped.add(quantizers[0])
            codes = self.nodes[quantizers[0]].outputs[0]
            if self.edges[codes].dtype != "int8" or len(self.edges[codes].qparams.scale) != 1:
                raise self.refusal(quantizers[0], "codes must be int8 with one scale")
            made = self.define(codes, self._preferred(codes))
            ties = str(self.nodes[quantizers[0]].attributes["ties"])
            self.program.inputs.append(End(made, e.name, ties=ties))
        for edge in self.graph.output_ids:
            skipped |= set(self._tail(edge)[1])
        return skipped

    def _tail(self, edge: int) -> tuple[int, list[int]]:
        """Return the last int8 edge before an output, and the nodes between both."""
        producers = {node.outputs[0]: i for i, node in enumerate(self.nodes)}
        path: list[int] = []
        while self.edges[edge].dtype != "int8" and edge in producers:
            index = producers[edge]
            node = self.nodes[index]
            alone = self.consumers.get(edge, []) == path[-1:]
            if node.op not in (*_TAIL, "dequantize") or not alone:
                return edge, []
            path.append(index)
            edge = node.inputs[0]
        return edge, path

    def _output(self, edge: int) -> None:
        codes, path = self._tail(edge)
        if codes not in self.known:
            raise UnsupportedError(
                f"export c: output {self.edges[edge].name} must come from an int8 layer"
            )
        words = []
        for index in reversed(path):
            node = self.nodes[index]
            if node.op != "dequantize":
                attributes = (f" {k}={_plain(v)}" for k, v in node.attributes.items())
                words.append(node.op + "".join(attributes))
        name = self.edges[edge].name if path else ""
        self.program.outputs.append(End(self.known[codes], name, "; ".join(words)))

    def _preferred(self, edge: int, depth: int = 0) -> tuple[int, ...]:
        """Return the order that the readers of an edge want: channels last before convolutions."""
        rank = len(self.edges[edge].shape) - 1
        plain = tuple(range(rank))
        for index in self.consumers.get(edge, []) if depth < 8 else []:
            node = self.nodes[index]
            if node.op in _SPATIAL and rank > 1:
                return (*plain[1:], 0)
            wanted = self._preferred(node.outputs[0], depth + 1)
            if node.op == "transpose" and node.attributes["perm"][0] == 0:
                return tuple(int(node.attributes["perm"][a + 1]) - 1 for a in wanted)
            if node.op in _FOLLOWING and len(wanted) == rank:
                return wanted
        return plain


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple, np.ndarray)):
        return ",".join(str(int(v)) for v in value)
    return str(value)


def channels_last(rank: int) -> tuple[int, ...]:
    """Order of an activation whose first axis are channels."""
    return (*range(1, rank), 0) if rank > 1 else (0,)


__all__ = ["End", "Lowering", "Program", "channels_last"]
