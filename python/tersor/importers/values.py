"""Values during an import: constants and edges, seen one sample at a time.

A source network is read for a batch of one sample, so that every shape is static and shape
arithmetic folds; the batch axis is then put in front of every edge (what ``vmap`` does). A value
therefore has two shapes: the source's for one sample, and the native one with the batch in front.
They hold the same numbers in the same order, so going from one arrangement to another is a reshape,
never a transpose.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..base.error import GraphError, UnsupportedError
from ..graph.graph import Graph

BATCH = -1
Shape = tuple[int, ...]


@dataclass(eq=False)
class Codes:
    """Integer codes behind a dequantized constant."""

    array: NDArray[Any]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    axis: int  # -1: per tensor

    def qparams(self) -> Any:
        """Native parameters."""
        return signed_qparams(self.scale, self.zero_point, 8 * self.array.itemsize, self.axis)


def signed_qparams(scale: Any, zero_point: Any, bits: int = 8, axis: int = -1) -> Any:
    """Native parameters of signed codes."""
    return _core.quantization.QParams(
        scale=[float(s) for s in scale],
        zero_point=[int(z) for z in zero_point],
        bits=bits,
        axis=None if axis < 0 else axis,
    )


@dataclass(eq=False)
class Constant:
    """An array known at import."""

    array: NDArray[Any]
    name: str = ""  # of the value in the source
    origin: str = ""  # of the parameter that it came from
    codes: Codes | None = None

    @property
    def shape(self) -> Shape:
        return tuple(self.array.shape)

    def transposed(self, perm: Sequence[int]) -> Constant:
        """The same parameter with permuted axes."""
        codes = self.codes
        if codes is not None:
            axis = codes.axis if codes.axis < 0 else list(perm).index(codes.axis)
            codes = Codes(codes.array.transpose(perm), codes.scale, codes.zero_point, axis)
        return Constant(self.array.transpose(perm), self.name, self.origin, codes)

    def reshaped(self, shape: Sequence[int]) -> Constant:
        """The same parameter in another shape; per-channel codes survive unit axes only."""
        codes = self.codes
        if codes is not None and tuple(shape) != self.shape:
            codes = (
                None
                if codes.axis >= 0
                else Codes(codes.array.reshape(shape), codes.scale, codes.zero_point, -1)
            )
        return Constant(self.array.reshape(shape), self.name, self.origin, codes)


@dataclass(eq=False)
class Value:
    """An edge of the graph that is being built."""

    edge: int
    native: Shape  # of the edge; native[0] == BATCH in a batched import
    shape: Shape  # as the source sees it, for one sample
    batch_axis: int | None = None  # axis of `shape` that is the batch, where known
    name: str = ""


Operand = Value | Constant


@dataclass
class Form:
    """How a value is arranged for an operator: native shape, and native axis = axis + shift."""

    native: Shape
    shift: int


@dataclass
class SampleBuilder:
    """Builds a graph from operators that are given per sample."""

    graph: Graph
    batched: bool
    _constants: dict[tuple[int, Shape], int] = field(default_factory=dict)
    _keep: list[Constant] = field(default_factory=list)  # ids in the key above stay unique

    # -- forms

    def natural(self, shape: Shape) -> Form:
        """The batch takes the place of a leading unit axis, or stands in front of the others."""
        if not self.batched:
            return Form(shape, 0)
        if shape and shape[0] == 1:
            return Form((BATCH, *shape[1:]), 0)
        return Form((BATCH, *shape), 1)

    def form_for_axes(self, value: Value, axes: Sequence[int], what: str) -> Form:
        """A form in which `axes` are axes of their own (none is the batch)."""
        if not self.batched:
            return Form(value.shape, 0)
        if value.batch_axis is not None and value.batch_axis in axes:
            raise UnsupportedError(
                f"{what} mixes the samples of a batch; only networks that treat samples "
                f"independently can be imported with an open batch dimension"
            )
        form = self.natural(value.shape)
        return Form((BATCH, *value.shape), 1) if form.shift == 0 and 0 in axes else form

    def leading(self, value: Value, what: str) -> int:
        """The edge with the batch as axis 0 of the source's shape (convolution, pooling)."""
        form = self.natural(value.shape)
        if form.shift:
            raise UnsupportedError(
                f"{what} works on an axis 0 of size {value.shape[0] if value.shape else 0} that "
                f"is merged with the batch; this arrangement cannot be imported"
            )
        return self.arranged(value, form.native)

    def arranged(self, value: Value, native: Shape) -> int:
        """The edge of `value` in another native shape of the same numbers."""
        if value.native == native:
            return value.edge
        if math.prod(value.native) != math.prod(native):
            raise GraphError(
                f"import: reshape of {value.name!r} from {value.native} to {native} changes its "
                f"size"
            )
        return self.node("reshape", [value.edge], {"shape": list(native)}, output_name=value.name)

    # -- building

    def constant(self, constant: Constant, shape: Shape | None = None) -> int:
        """Edge of a constant, once per shape."""
        shape = constant.shape if shape is None else tuple(shape)
        key = (id(constant), shape)
        if key not in self._constants:
            self._constants[key] = self._add_constant(constant, shape)
            self._keep.append(constant)
        return self._constants[key]

    def _add_constant(self, constant: Constant, shape: Shape) -> int:
        moved = constant.reshaped(shape)
        name = constant.name or constant.origin
        if moved.codes is None:
            array = np.ascontiguousarray(moved.array)
            return int(self.graph.add_constant(name, array, constant.origin))
        codes = np.ascontiguousarray(moved.codes.array)
        edge = self.graph.add_constant(name, codes, constant.origin, moved.codes.qparams())
        return self.node("dequantize", [edge])

    def scalar(self, value: float) -> int:
        """Edge of a float32 scalar."""
        return self.constant(Constant(np.asarray(value, np.float32), "scalar"))

    def node(
        self,
        op: str,
        inputs: Sequence[int],
        attributes: dict[str, Any] | None = None,
        name: str = "",
        output_name: str = "",
    ) -> int:
        """Append a node; -1 stands for an absent input."""
        return int(self.graph.add_node(op, list(inputs), attributes or {}, name, output_name))

    def value(self, edge: int, shift: int, batch_axis: int | None = None, name: str = "") -> Value:
        """What the edge is to the source, given the shift of the form that it was computed in."""
        native = tuple(BATCH if d is None else d for d in self.graph.edge(edge).shape)
        shape = native
        if self.batched:
            shape = native[1:] if shift else (1, *native[1:])
        return Value(edge, native, shape, batch_axis, name)

    def reshaped(
        self, value: Value, shape: Sequence[int], batch_axis: int | None = None, name: str = ""
    ) -> Value:
        """The same edge under another source shape; a node appears when an operator needs it."""
        return Value(value.edge, value.native, tuple(shape), batch_axis, name or value.name)

    # -- broadcasting

    def broadcast(
        self, operands: Sequence[Operand], what: str
    ) -> tuple[list[int], Callable[[int, str], Value]]:
        """Edges of operands that broadcast together, and what their result is."""
        try:
            shape = np.broadcast_shapes(*(o.shape for o in operands))
        except ValueError:
            shapes = " and ".join(str(o.shape) for o in operands)
            raise GraphError(f"{what}: operands of shapes {shapes} do not broadcast") from None
        axes = {
            o.batch_axis + len(shape) - len(o.shape) if o.batch_axis is not None else None
            for o in operands
            if isinstance(o, Value)
        }
        batch_axis = axes.pop() if len(axes) == 1 else None
        native = self._common_native(operands, shape)
        if native is not None:
            edges = [
                o.edge if isinstance(o, Value) else self.constant(o, _stripped(o.shape))
                for o in operands
            ]
            return edges, lambda edge, name: Value(edge, native, shape, batch_axis, name)
        form = self.natural(shape)
        rank = len(shape)
        edges = []
        for o in operands:
            if isinstance(o, Constant):
                edges.append(self.constant(o, _stripped(o.shape)))
            else:
                padded = (1,) * (rank - len(o.shape)) + o.shape
                lead = () if not self.batched else (BATCH,)
                edges.append(self.arranged(o, lead + padded[len(lead) - form.shift :]))
        return edges, lambda edge, name: self.value(edge, form.shift, batch_axis, name)

    def _common_native(self, operands: Sequence[Operand], shape: Shape) -> Shape | None:
        """The native shape that all values share, if constants broadcast against it as is."""
        values = [o for o in operands if isinstance(o, Value)]
        native = values[0].native
        if any(v.native != native or v.shape != shape for v in values):
            return None
        for o in operands:
            if isinstance(o, Constant):
                k = len(_stripped(o.shape))
                if k and (k > len(native) - 1 or native[-k:] != shape[-k:]):
                    return None
        return native


def _stripped(shape: Shape) -> Shape:
    """Without leading unit axes, which broadcasting adds anyway."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


__all__ = [
    "BATCH",
    "Codes",
    "Constant",
    "Form",
    "Operand",
    "SampleBuilder",
    "Shape",
    "Value",
    "signed_qparams",
]
