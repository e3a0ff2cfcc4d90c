"""Tensors of a Keras model in conversion: channels move to the front once, back at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from ..graph.graph import Graph

Array = NDArray[np.float32]


@dataclass(eq=False)
class Tensor:
    """An edge; `shape` is Keras's (-1: batch), `first` whether the edge has channels at axis 1."""

    edge: int
    shape: tuple[int, ...]
    first: bool = False
    other: int | None = None  # the edge in the other order, once it was needed

    @property
    def rank(self) -> int:
        return len(self.shape)

    def axis(self, axis: int) -> int:
        """The axis of the edge that is this axis of Keras's shape."""
        axis += self.rank if axis < 0 else 0
        if not self.first or axis == 0:
            return axis
        return 1 if axis == self.rank - 1 else axis + 1


@dataclass
class KerasBuilder:
    """The graph under construction and the layer whose nodes are added."""

    graph: Graph
    layer: str = ""
    _named: set[str] = field(default_factory=set)
    _constants: dict[tuple[int, str], tuple[Any, int]] = field(default_factory=dict)

    def node(self, op: str, inputs: Sequence[int], attributes: dict[str, Any] | None = None) -> int:
        """Append a node: the layer's first has the layer's name, others add their operator's."""
        name = self.layer if self.layer not in self._named else f"{self.layer}/{op}"
        self._named.add(name)
        return int(self.graph.add_node(op, list(inputs), attributes or {}, name))

    def constant(self, array: Any, name: str = "constant") -> int:
        """A constant without a parameter behind it."""
        return int(self.graph.add_constant(name, np.ascontiguousarray(array, np.float32)))

    def weight(
        self, variable: Any, change: Callable[[Array], Array] | None = None, form: str = ""
    ) -> int:
        """A parameter of the layer, rearranged by `change` (`form`: which, if several)."""
        key = (id(variable), form)
        if key not in self._constants:
            path = str(variable.path)
            array = value_of(variable)
            array = change(array) if change else array
            edge = int(self.graph.add_constant(path, np.ascontiguousarray(array), path))
            self._constants[key] = (variable, edge)  # held, so that its id is not used again
        return self._constants[key][1]

    # -- order of axes

    def channels_first(self, x: Tensor) -> int:
        """The edge with channels at axis 1."""
        return x.edge if x.first else self._turned(x)

    def source_order(self, x: Tensor) -> int:
        """The edge in Keras's order."""
        return self._turned(x) if x.first else x.edge

    def _turned(self, x: Tensor) -> int:
        if x.rank < 3:
            return x.edge
        if x.other is None:
            spatial = x.shape[1:-1]
            if math.prod(spatial) == 1 or x.shape[-1] == 1:  # nothing changes its place
                shape = x.shape if x.first else (x.shape[0], x.shape[-1], *spatial)
                x.other = self._helper("reshape", x.edge, {"shape": list(shape)})
            else:
                last = x.rank - 1
                perm = [0, *range(2, x.rank), 1] if x.first else [0, last, *range(1, last)]
                x.other = self._helper("transpose", x.edge, {"perm": perm})
        return x.other

    def _helper(self, op: str, edge: int, attributes: dict[str, Any]) -> int:
        return int(self.graph.add_node(op, [edge], attributes, f"{self.layer}/order"))

    def shape(self, edge: int) -> tuple[int, ...]:
        """Shape of an edge, -1 for the batch."""
        return tuple(-1 if d is None else int(d) for d in self.graph.edge(edge).shape)

    def tensor(self, edge: int, first: bool = False) -> Tensor:
        """What an edge is to Keras."""
        shape = self.shape(edge)
        if first and len(shape) >= 3:
            return Tensor(edge, (shape[0], *shape[2:], shape[1]), True)
        return Tensor(edge, shape)

    def unary(self, op: str, x: Tensor, attributes: dict[str, Any] | None = None) -> Tensor:
        """An operator on each element, in whatever order the tensor has."""
        return Tensor(self.node(op, [x.edge], attributes), x.shape, x.first)

    def binary(self, op: str, x: Any, y: Any) -> Tensor:
        """An operator on two operands, tensors or arrays, in a common order."""
        if not isinstance(x, (Tensor, float, int, np.ndarray, np.generic)) or not isinstance(
            y, (Tensor, float, int, np.ndarray, np.generic)
        ):
            raise UnsupportedError(
                f"from_keras: {self.layer!r} has operands of type {type(x).__name__} and "
                f"{type(y).__name__}"
            )
        tensors = [t for t in (x, y) if isinstance(t, Tensor)]
        rank = max(t.rank for t in tensors)
        first = any(t.first for t in tensors) and all(
            t.rank == rank if isinstance(t, Tensor) else np.ndim(t) in (0, rank) for t in (x, y)
        )
        edges = []
        for t in (x, y):
            if isinstance(t, Tensor):
                edges.append(self.channels_first(t) if first else self.source_order(t))
            else:
                array = np.asarray(t, np.float32)
                edges.append(
                    self.constant(np.moveaxis(array, -1, 1) if first and array.ndim else array)
                )
        return self.tensor(self.node(op, edges), first)


def value_of(variable: Any) -> Array:
    """A Keras variable or backend tensor as a float32 array."""
    import keras  # type: ignore[import-untyped]

    value = getattr(variable, "value", variable)
    return np.asarray(keras.ops.convert_to_numpy(value), np.float32)


__all__ = ["Array", "KerasBuilder", "Tensor", "value_of"]
