"""Values of a TFLite network as edges: each lies in some order of axes, transposed when needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import UnsupportedError
from ..graph.graph import Graph
from ..quantization import dequantize
from .errors import ImportFormatError
from .tflite_reader import FileModel, FileOperator, FileTensor

BATCH = -1
Order = tuple[int, ...]


def channels_first(rank: int) -> Order:
    """Axes of a channels-last tensor in the order batch, channels, spatial."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))


@dataclass(eq=False)
class Value:
    """A computed tensor: axis i of the edge is axis order[i] of the tensor."""

    edge: int
    order: Order
    shape: tuple[int, ...]  # of the tensor; the batch is BATCH
    parameters: Any = None


@dataclass(eq=False)
class Known:
    """A constant; its codes stand for reals where `wide` (a DEQUANTIZE in the file)."""

    array: NDArray[Any]
    tensor: FileTensor
    wide: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


Operand = Value | Known


class TfliteBuilder:
    """The graph under construction."""

    def __init__(self, model: FileModel, batched: bool) -> None:
        self.model, self.batched = model, batched
        self.graph = Graph()
        self.values: dict[int, Operand] = {
            i: Known(t.data, t) for i, t in enumerate(model.tensors) if t.data is not None
        }
        self._moved: dict[tuple[int, Order], int] = {}
        self._constants: dict[Any, int] = {}

    # -- operands

    def operand(self, operator: FileOperator, index: int) -> Operand:
        """An input that must be there."""
        if index >= len(operator.inputs) or operator.inputs[index] < 0:
            raise ImportFormatError(f"{operator}: input {index} is missing")
        place = operator.inputs[index]
        if place not in self.values:
            name = self.model.tensors[place].name
            raise ImportFormatError(f"{operator}: tensor {name!r} is made by no operator before it")
        return self.values[place]

    def optional(self, operator: FileOperator, index: int) -> Operand | None:
        """An input that may be absent."""
        if index >= len(operator.inputs) or operator.inputs[index] < 0:
            return None
        return self.operand(operator, index)

    def value(self, operator: FileOperator, index: int = 0) -> Value:
        """A computed input."""
        x = self.operand(operator, index)
        if isinstance(x, Known):
            raise UnsupportedError(f"{operator}: input {index} is constant")
        return x

    def known(self, operator: FileOperator, index: int) -> Known:
        """A constant input."""
        x = self.operand(operator, index)
        if isinstance(x, Value):
            raise UnsupportedError(f"{operator}: input {index} must be constant")
        return x

    def integers(self, operator: FileOperator, index: int) -> list[int]:
        """A constant vector of integers."""
        array = self.known(operator, index).array
        if array.dtype.kind != "i":
            raise ImportFormatError(f"{operator}: input {index} must hold integers")
        return [int(v) for v in array.reshape(-1)]

    # -- edges

    def edge(self, x: Value, order: Order) -> int:
        """The edge of a value in an order."""
        if x.order == order:
            return x.edge
        key = (x.edge, order)
        if key not in self._moved:
            perm = [x.order.index(i) for i in order]
            sizes = [x.shape[i] for i in order]
            units = [i for i in x.order if x.shape[i] != 1] == [i for i in order if x.shape[i] != 1]
            name = f"{self.graph.edge(x.edge).name}:order"
            op, attributes = (
                ("reshape", {"shape": sizes}) if units else ("transpose", {"perm": perm})
            )
            self._moved[key] = self.node(op, [x.edge], attributes, name, x.parameters)
        return self._moved[key]

    def natural(self, x: Value) -> int:
        """The edge in the order of the file."""
        return self.edge(x, tuple(range(len(x.shape))))

    def node(
        self, op: str, inputs: Sequence[int], attributes: dict[str, Any], name: str,
        parameters: Any = None,
    ) -> int:  # fmt: skip
        """Append a node."""
        return int(
            self.graph.add_node(op, list(inputs), attributes, name, name, qparams=parameters)
        )

    def bind(self, operator: FileOperator, edge: int, order: Order, index: int = 0) -> Value:
        """Say which edge an output of an operator is."""
        if index >= len(operator.outputs) or operator.outputs[index] < 0:
            raise ImportFormatError(f"{operator}: output {index} is missing")
        place = operator.outputs[index]
        if place in self.values:
            raise ImportFormatError(f"{operator}: its output exists already")
        shape = [BATCH if d is None else int(d) for d in self.graph.edge(edge).shape]
        placed = [0] * len(order)
        for i, axis in enumerate(order):
            placed[axis] = shape[i]
        value = Value(edge, order, tuple(placed), self.graph.edge(edge).qparams)
        self._check_shape(operator, value, self.model.tensors[place])
        self.values[place] = value
        return value

    def _check_shape(self, operator: FileOperator, value: Value, t: FileTensor) -> None:
        got = [1 if d == BATCH else d for d in value.shape]
        said = [abs(d) for d in t.shape]
        if t.shape and got != said:
            raise ImportFormatError(
                f"{operator}: its output has shape {tuple(got)}, but the file says {tuple(said)}"
            )

    # -- parameters and constants

    def output(self, operator: FileOperator, index: int = 0) -> FileTensor:
        """What the file says about an output."""
        if index >= len(operator.outputs) or operator.outputs[index] < 0:
            raise ImportFormatError(f"{operator}: output {index} is missing")
        return self.model.tensors[operator.outputs[index]]

    def parameters(self, t: FileTensor, what: str) -> Any:
        """Native parameters of an activation; None for floats."""
        if t.dtype not in ("int8", "uint8"):
            if t.dtype in ("int16",):
                raise UnsupportedError(f"{what}: activations of 16 bits are not supported")
            return None
        if t.scale is None or t.zero_point is None:
            raise UnsupportedError(f"{what}: tensor {t.name!r} has codes without parameters")
        if len(t.scale) != 1:
            raise UnsupportedError(f"{what}: activations must have one scale, got {len(t.scale)}")
        shift = 128 if t.dtype == "uint8" else 0
        return qparams(t.scale, t.zero_point - shift)

    def constant(self, array: NDArray[Any], name: str, parameters: Any = None) -> int:
        """Add a constant, once per tensor and arrangement."""
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (name, array.shape, array.dtype.str, array.tobytes())
        if key not in self._constants:
            self._constants[key] = int(self.graph.add_constant(name, array, name, parameters))
        return self._constants[key]

    def floats(self, x: Known) -> NDArray[np.float32]:
        """The reals of a constant."""
        t = x.tensor
        if x.array.dtype.kind == "f":
            return x.array.astype(np.float32)
        if x.array.dtype not in (np.int8, np.uint8, np.int32) or t.scale is None:
            raise UnsupportedError(f"import: constant {t.name!r} has codes without parameters")
        return real_values(x.array, t)


def real_values(array: NDArray[Any], t: FileTensor) -> NDArray[np.float32]:
    """The reals of codes."""
    assert t.scale is not None
    assert t.zero_point is not None
    if array.dtype == np.int8:
        axis = t.axis if len(t.scale) > 1 else -1
        return dequantize(array, qparams(t.scale, t.zero_point, axis))
    wide = [1] * array.ndim
    if len(t.scale) > 1:
        wide[t.axis] = len(t.scale)
    zero = np.broadcast_to(t.zero_point, t.scale.shape).reshape(wide)
    return ((array.astype(np.float64) - zero) * t.scale.reshape(wide)).astype(np.float32)


def qparams(
    scale: Any, zero_point: Any, axis: int = -1, bits: int = 8, narrow: bool = False
) -> Any:
    """Native parameters of signed codes."""
    scales = [float(s) for s in scale]
    zeros = [int(z) for z in np.broadcast_to(zero_point, (len(scales),))]
    return _core.quantization.QParams(
        scale=scales, zero_point=zeros, bits=bits, axis=None if axis < 0 else axis, narrow=narrow
    )


def same_size(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two shapes hold as many elements for one sample."""
    return math.prod(abs(d) for d in a) == math.prod(abs(d) for d in b)


__all__ = [
    "BATCH", "Known", "Operand", "Order", "TfliteBuilder", "Value", "channels_first", "qparams",
    "real_values", "same_size",
]  # fmt: skip
