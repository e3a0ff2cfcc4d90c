"""Values during an import: constants and edges, seen one sample at a time.

A source network is read for a batch of one sample, so that every shape is static and shape
arithmetic folds; the batch axis is then put in front of every edge (what ``vmap`` does). A value
therefore has two shapes: the source's for one sample, and the native one with the batch in front.
They hold the same numbers in the same order, so going from one arrangement to another is a reshape,
never a transpose.

This is right only for networks that treat samples independently. Every value therefore knows where
the source holds its batch (:class:`Batch`), and what depends on the size of the batch is read for
``WIDE`` samples as well; a node that brings different samples together is refused.
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
WIDE = 6  # samples of the second reading; unlike one in every divisor that networks ask for
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Where the source holds the batch: `axis` runs over [..., batch, inner]."""

    axis: int
    inner: int = 1  # more where the batch is merged with heads or windows behind it

    def at(self, axis: int) -> Batch:
        """The same on another axis."""
        return Batch(axis, self.inner)


LEADING = Batch(0)


def mixed(what: str, why: str = "") -> UnsupportedError:
    """The refusal of a node that brings the samples of a batch together."""
    return UnsupportedError(
        f"{what} mixes the samples of a batch{why and f' ({why})'}; only networks that treat "
        f"samples independently can be imported with an open batch dimension"
    )


@dataclass(eq=False)
class Codes:
    """Integer codes behind a dequantized constant."""

    array: NDArray[Any]
    scale: NDArray[np.float32]  # flat, or of the array's rank where there are groups
    zero_point: NDArray[np.int32]  # likewise
    axis: int  # -1: per tensor
    bits: int = 8
    group_size: int = 0  # along the axis

    def qparams(self) -> Any:
        """Native parameters."""
        return signed_qparams(
            self.scale.reshape(-1),
            self.zero_point.reshape(-1),
            self.bits,
            self.axis,
            self.group_size,
            narrow=self._is_narrow(),
        )

    def _is_narrow(self) -> bool:
        """Symmetric codes, of which weights never use the lowest."""
        if self.array.dtype != np.int8 or self.zero_point.any():
            return False
        return self.array.size > 0 and int(self.array.min()) > -(1 << (self.bits - 1))

    def transposed(self, perm: Sequence[int]) -> Codes:
        """The same codes with permuted axes."""
        scale, zero = self.scale, self.zero_point
        if self.group_size:
            scale, zero = scale.transpose(perm), zero.transpose(perm)
        axis = self.axis if self.axis < 0 else list(perm).index(self.axis)
        return Codes(self.array.transpose(perm), scale, zero, axis, self.bits, self.group_size)


def signed_qparams(
    scale: Any,
    zero_point: Any,
    bits: int = 8,
    axis: int = -1,
    group_size: int = 0,
    *,
    narrow: bool = False,
) -> Any:
    """Native parameters of signed codes."""
    return _core.quantization.QParams(
        scale=[float(s) for s in scale],
        zero_point=[int(z) for z in zero_point],
        bits=bits,
        axis=None if axis < 0 else axis,
        group_size=group_size,
        narrow=narrow,
    )


@dataclass(eq=False)
class Constant:
    """An array known at import."""

    array: NDArray[Any]
    name: str = ""  # of the value in the source
    origin: str = ""  # of the parameter that it came from
    codes: Codes | None = None
    wide: NDArray[Any] | None = None  # for WIDE samples, where that differs
    batch: Batch | None = None  # where it repeats one sample over the batch

    @property
    def shape(self) -> Shape:
        return tuple(self.array.shape)

    def transposed(self, perm: Sequence[int]) -> Constant:
        """The same parameter with permuted axes."""
        codes = None if self.codes is None else self.codes.transposed(perm)
        return Constant(self.array.transpose(perm), self.name, self.origin, codes)

    def reshaped(self, shape: Sequence[int]) -> Constant:
        """The same parameter in another shape; per-channel codes survive unit axes only."""
        codes = self.codes
        if codes is not None and tuple(shape) != self.shape:
            codes = (
                None
                if codes.axis >= 0
                else Codes(
                    codes.array.reshape(shape), codes.scale, codes.zero_point, -1, codes.bits
                )
            )
        return Constant(self.array.reshape(shape), self.name, self.origin, codes)


@dataclass(eq=False)
class Value:
    """An edge of the graph that is being built."""

    edge: int
    native: Shape  # of the edge; native[0] == BATCH in a batched import
    shape: Shape  # as the source sees it, for one sample
    batch: Batch | None = None  # where known: always in an open import
    name: str = ""

    @property
    def wide_shape(self) -> Shape:
        """As the source sees it, for WIDE samples."""
        axis = None if self.batch is None else self.batch.axis
        return tuple(WIDE * d if i == axis else d for i, d in enumerate(self.shape))


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
    open: bool = False  # batched, and the source allows any number of samples
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
        if value.batch is not None and value.batch.axis in axes:
            raise mixed(what)
        form = self.natural(value.shape)
        return Form((BATCH, *value.shape), 1) if form.shift == 0 and 0 in axes else form

    def leading(self, value: Value, what: str) -> int:
        """The edge with the batch as axis 0 of the source's shape (convolution, pooling)."""
        self.check_leading(value, what)
        form = self.natural(value.shape)
        if form.shift:
            raise UnsupportedError(
                f"{what} works on an axis 0 of size {value.shape[0] if value.shape else 0} that "
                f"is merged with the batch; this arrangement cannot be imported"
            )
        return self.arranged(value, form.native)

    def check_leading(self, value: Value, what: str) -> None:
        """The batch is axis 0 of the source's shape, and nothing else."""
        if self.open and (value.batch != LEADING or value.shape[0] != 1):
            raise mixed(what, f"its input of shape {_with_batch(value)} must have the batch first")

    def check_apart(self, value: Value, axis: int, what: str) -> None:
        """The batch is not in `axis`."""
        if self.open and value.batch is not None and value.batch.axis == axis:
            raise mixed(what)

    def arranged(self, value: Value, native: Shape) -> int:
        """The edge of `value` in another native shape of the same numbers."""
        if value.native == native:
            return value.edge
        if math.prod(value.native) != math.prod(native):
            raise GraphError(
                f"import: reshape of {value.name!r} from {value.native} to {native} changes its "
                f"size"
            )
        q = self.graph.edge(value.edge).qparams
        edge = self.node("reshape", [value.edge], {"shape": list(native)}, output_name=value.name)
        if q is not None:
            self.graph.set_qparams(edge, q)
        return edge

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

    def value(self, edge: int, shift: int, batch: Batch | None = None, name: str = "") -> Value:
        """What the edge is to the source, given the shift of the form that it was computed in."""
        native = tuple(BATCH if d is None else d for d in self.graph.edge(edge).shape)
        shape = native
        if self.batched:
            shape = native[1:] if shift else (1, *native[1:])
        return Value(edge, native, shape, batch, name)

    def reshaped(
        self, value: Value, shape: Sequence[int], batch: Batch | None = None, name: str = ""
    ) -> Value:
        """The same edge under another source shape; a node appears when an operator needs it."""
        return Value(value.edge, value.native, tuple(shape), batch, name or value.name)

    def batch_after(
        self, value: Value, shape: Shape, wide: Shape | None, what: str
    ) -> Batch | None:
        """Where a change of shape leaves the batch; `wide` is the new shape for WIDE samples.

        The numbers keep their order, so as many lie behind the batch as before: an axis holds it
        if that many fill the axes behind and a divisor of its own entries. None for `wide` is a
        file that fixes the shape of one sample; the source then has no meaning for more.
        """
        if not self.open or value.batch is None:
            kept = value.batch == LEADING and shape[:1] == (1,)
            return LEADING if kept else None
        behind = math.prod(value.shape[value.batch.axis + 1 :]) * value.batch.inner
        axes = sorted(range(len(shape)), key=lambda i: shape[i] != 1)
        if wide is not None:
            axes = [i for i in axes if wide[i] != shape[i]]
            if len(axes) != 1 or wide[axes[0]] != WIDE * shape[axes[0]]:
                raise mixed(what)
        for axis in axes:
            rest = max(1, math.prod(shape[axis + 1 :]))
            if behind % rest == 0 and shape[axis] % (behind // rest) == 0:
                return Batch(axis, behind // rest)
        raise mixed(what, f"it turns shape {_with_batch(value)} into {shape} per sample")

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
        batch = self.common_batch(operands, len(shape), what)
        native = self._common_native(operands, shape)
        if native is not None:
            edges = [
                o.edge if isinstance(o, Value) else self.constant(o, _stripped(o.shape))
                for o in operands
            ]
            return edges, lambda edge, name: Value(edge, native, shape, batch, name)
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
        return edges, lambda edge, name: self.value(edge, form.shift, batch, name)

    def common_batch(self, operands: Sequence[Operand], rank: int, what: str) -> Batch | None:
        """Where operands that are aligned at their last axes hold the batch."""
        found = {
            None if o.batch is None else o.batch.at(o.batch.axis + rank - len(o.shape))
            for o in operands
            if isinstance(o, Value) or o.batch is not None
        }
        batch = found.pop() if len(found) == 1 else None
        if not self.open:
            return batch
        if batch is None:
            shapes = " and ".join(_with_batch(o) for o in operands)
            raise mixed(what, f"the batch of shapes {shapes} is in different places")
        sizes = {
            o.shape[batch.axis - rank]
            for o in operands
            if rank - len(o.shape) <= batch.axis and (isinstance(o, Value) or o.batch is not None)
        }
        known = {o.shape[batch.axis - rank] for o in operands if rank - len(o.shape) <= batch.axis}
        if len(sizes) > 1 or known - sizes - {1}:
            shapes = " and ".join(_with_batch(o) for o in operands)
            raise mixed(what, f"shapes {shapes} differ where the batch is")
        return batch

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


def _with_batch(x: Operand) -> str:
    """The shape as a reader of the source knows it."""
    axis = None if x.batch is None else x.batch.axis
    sizes = (
        str(d) if i != axis else "batch" if d == 1 else f"{d} * batch"
        for i, d in enumerate(x.shape)
    )
    return f"[{', '.join(sizes)}]"


def _stripped(shape: Shape) -> Shape:
    """Without leading unit axes, which broadcasting adds anyway."""
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape


__all__ = [
    "BATCH",
    "LEADING",
    "WIDE",
    "Batch",
    "Codes",
    "Constant",
    "Form",
    "Operand",
    "SampleBuilder",
    "Shape",
    "Value",
    "mixed",
    "signed_qparams",
]
