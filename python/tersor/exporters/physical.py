"""Tensors of a TFLite model in the order of axes that operators want.

The native IR counts axes channels first. A *home* is the order in which a tensor lies in the
model: axis i of the tensor is axis home[i] of the edge. Transposes of the network only change the
home; a TRANSPOSE appears where an operator needs another order, and a RESHAPE is enough where only
axes of one element move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph.graph import Graph
from ..quantization import dequantize
from .tflite_writer import Operator, Tensor, TfliteModel

Order = tuple[int, ...]
BATCH = -1


def channels_last(rank: int) -> Order:
    """Axes of an edge in the order batch, spatial, channels."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


class Physical:
    """The tensors of a graph's edges."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.edges = graph, graph.edges
        self.model = TfliteModel()
        self.decoded: dict[str, str] = {}
        self.homes: dict[int, tuple[int, Order]] = {}  # edge -> tensor, order
        self.flat: dict[int, tuple[tuple[int, ...], Order]] = {}  # flattened in physical order
        self._orders: dict[tuple[int, Order], int] = {}
        self._sources: dict[int, int] = {}  # result of a RESHAPE -> what it reshapes
        self._constants: dict[Any, int] = {}
        self._names: set[str] = set()

    # -- tensors

    def name(self, wanted: str) -> str:
        """Return a name that no tensor has."""
        number, result = 1, wanted
        while result in self._names:
            number += 1
            result = f"{wanted}_{number}"
        self._names.add(result)
        return result

    def like(self, edge: int, shape: Sequence[int], name: str = "") -> int:
        """Add a tensor of an edge's type and parameters in some shape."""
        e = self.edges[edge]
        tensor = Tensor(self.name(name or e.name), e.dtype, tuple(shape))
        if e.qparams is not None:
            set_parameters(tensor, e.qparams, 0)
        return self.model.tensor(tensor)

    def floats(self, shape: Sequence[int], name: str) -> int:
        """Add a float32 tensor."""
        return self.model.tensor(Tensor(self.name(name), "float32", tuple(shape)))

    def constant(self, array: NDArray[Any], name: str, **quantization: Any) -> int:
        """Add a constant, once per content."""
        array = np.asarray(array, order="C")
        key = (
            array.dtype.str, array.shape, array.tobytes(),
            *(np.asarray(v).tobytes() for v in quantization.values()),
        )  # fmt: skip
        if key not in self._constants:
            tensor = Tensor(self.name(name), array.dtype.name, array.shape, array, **quantization)
            self._constants[key] = self.model.tensor(tensor)
        return self._constants[key]

    def integers(self, values: Any, name: str) -> int:
        """Add a vector of int32."""
        return self.constant(np.asarray(values, np.int32).reshape(-1), name)

    def shape(self, edge: int, order: Order) -> tuple[int, ...]:
        """Sizes of an edge in an order; the batch is -1."""
        sizes = [BATCH if d is None else int(d) for d in self.edges[edge].shape]
        return tuple(sizes[i] for i in order)

    def operator(
        self,
        name: str,
        inputs: list[int],
        output: int,
        version: int = 1,
        options: str = "",
        **fields: Any,
    ) -> int:
        """Append an operator and return its output."""
        self.model.operators.append(Operator(name, inputs, [output], version, options, fields))
        return output

    # -- edges

    def bind(self, edge: int, tensor: int, order: Order) -> None:
        """Say where an edge lies."""
        self.homes[edge] = (tensor, order)
        self._orders[edge, order] = tensor

    def order_of(self, edge: int) -> Order:
        """The order in which an edge lies."""
        return self.homes[edge][1]

    def identity(self, edge: int) -> Order:
        """The order of the graph."""
        return tuple(range(len(self.edges[edge].shape)))

    def ask(self, edge: int, order: Order | None = None) -> int:
        """Return the tensor of an edge in an order, which may append a TRANSPOSE."""
        order = self.identity(edge) if order is None else order
        if (edge, order) not in self._orders:
            home, lies = self.homes[edge]
            self._orders[edge, order] = self.moved(edge, home, lies, order)
        return self._orders[edge, order]

    def moved(self, edge: int, tensor: int, lies: Order, order: Order) -> int:
        """Append what brings a tensor of an edge's shape from one order into another."""
        shape = self.shape(edge, order)
        if self.only_units_move(edge, lies, order):
            return self.reshaped(tensor, shape, self.edges[edge].name)
        result = self.like(edge, shape)
        permutation = self.integers([lies.index(i) for i in order], "permutation")
        coded = self.edges[edge].dtype == "int8"
        return self.operator(
            "TRANSPOSE", [tensor, permutation], result, 2 if coded else 1, "Transpose"
        )

    def only_units_move(self, edge: int, lies: Order, order: Order) -> bool:
        """Whether two orders hold the numbers in the same places."""
        sizes = self.edges[edge].shape
        return [i for i in lies if sizes[i] != 1] == [i for i in order if sizes[i] != 1]

    def reshaped(self, tensor: int, shape: Sequence[int], name: str) -> int:
        """Append a RESHAPE."""
        source = self._sources.get(tensor, tensor)
        before = self.model.tensors[source]
        if tuple(before.shape) == tuple(shape):
            return source
        after = Tensor(
            self.name(name), before.dtype, tuple(shape),
            scale=before.scale, zero_point=before.zero_point, axis=before.axis,
        )  # fmt: skip
        result = self.model.tensor(after)
        sizes = self.integers(shape, "shape")
        self.operator("RESHAPE", [source, sizes], result, 1, "Reshape")
        self._sources[result] = source
        return result

    # -- constants of the graph

    def array(self, edge: int, order: Order | None = None, rank: int = 0) -> NDArray[Any]:
        """A constant in an order, with leading axes of one up to `rank`."""
        array = np.asarray(self.edges[edge].constant)
        array = array.reshape((1,) * max(0, rank - array.ndim) + array.shape)
        return array if order is None else array.transpose(order)

    def weight(self, edge: int, arrange: Callable[[NDArray[Any]], NDArray[Any]], axis: int) -> int:
        """Add a weight for float arithmetic or its codes; `axis`: of the output channels then."""
        e: Any = self.edges[edge]
        array = np.asarray(e.constant)
        q = e.qparams
        if q is None:
            if e.dtype == "float16":
                stored = self.constant(arrange(array), f"{e.name}:float16")
                shape = self.model.tensors[stored].shape
                return self._widened(stored, shape, e.name, 3)
            return self.constant(arrange(array.astype(np.float32)), e.name)
        return self.constant(
            arrange(array), e.name, scale=np.asarray(q.scale, np.float32),
            zero_point=np.asarray(q.zero_point, np.int64), axis=axis if len(q.scale) > 1 else 0,
        )  # fmt: skip

    def decoded_weight(
        self, edge: int, arrange: Callable[[NDArray[Any]], NDArray[Any]], axis: int, layer: str
    ) -> int:
        """Add a weight whose codes stand for floats: held where the format can, else decoded."""
        e: Any = self.edges[edge]
        q = e.qparams
        if why := _not_held(e):
            self.decoded[layer] = f"float32 weights instead of {q.bits}-bit codes ({why})"
            real = dequantize(np.asarray(e.constant), q)
            return self.constant(arrange(real), e.name)
        stored = self.weight(edge, arrange, axis)
        # Versions: 5 has scales per channel.
        version = 5 if len(q.scale) > 1 else 2
        return self._widened(stored, self.model.tensors[stored].shape, f"{e.name}:real", version)

    def _widened(self, stored: int, shape: Sequence[int], name: str, version: int) -> int:
        key = ("widened", stored)
        if key not in self._constants:
            result = self.floats(shape, name)
            self._constants[key] = self.operator(
                "DEQUANTIZE", [stored], result, version, "Dequantize"
            )
        return self._constants[key]


def _not_held(edge: Any) -> str:
    q = edge.qparams
    if q.zero_point_float is not None:
        return "float zero points"
    if q.group_size:
        return "scales of groups"
    if edge.dtype != "int8":
        return "unsigned codes"
    return "scales over several axes" if isinstance(q.axis, tuple) else ""


def set_parameters(tensor: Tensor, q: Any, axis: int) -> None:
    """Give a tensor the parameters of an edge."""
    tensor.scale = np.asarray(q.scale, np.float32)
    tensor.zero_point = np.asarray(q.zero_point, np.int64)
    tensor.axis = axis


__all__ = ["BATCH", "Order", "Physical", "channels_last", "set_parameters"]
