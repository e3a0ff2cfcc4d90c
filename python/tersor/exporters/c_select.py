"""Operators of generated C that pick codes, and products of two activations.

Kernels: ``cpp/tersor/codegen/select_c99.h``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..graph.graph import Graph
from .c_plan import Constant, Layer

if TYPE_CHECKING:
    from .c_lower import Lowering

_MOST = 1 << 16  # places in a table of 16 bits
_EXACT = 1 << 24  # integers that float32 holds


def lower_move(walk: Lowering, index: int) -> None:
    """Turn a resize to the nearest pixel, or a padding that repeats the input, into layers.

    Parameters
    ----------
    walk : Lowering
    index : int
        Of the node.
    """
    node = walk.nodes[index]
    if node.op == "resize" and node.attributes["mode"] != "nearest":
        raise walk.refusal(
            index, f"the C kernel takes the nearest pixel, got mode {node.attributes['mode']}"
        )
    x = walk.activation(node.inputs[0])
    places = _places(walk, index, x.shape)
    shape, current = list(x.shape), x.buffer
    changed = [a for a in x.order if places[a].tolist() != list(range(x.shape[a]))]
    # The axis that grows least comes first: what lies between the steps stays small.
    changed.sort(key=lambda a: len(places[a]) / x.shape[a])
    if not changed:
        walk.define(node.outputs[0], x.order, x.buffer)
        return
    y = walk.define(node.outputs[0], x.order)
    for step, axis in enumerate(changed):
        last = step == len(changed) - 1
        before = [shape[a] for a in x.order]
        shape[axis] = len(places[axis])
        target = y.buffer if last else walk.new_buffer(math.prod(shape))
        name = node.name if last else f"{node.name} axis {axis + 1}"
        _select(walk, (name, node.op), (current, target), before, x.order.index(axis), places[axis])
        current = target


def lower_gather(walk: Lowering, index: int) -> None:
    """Turn a gather with constant indices into a layer.

    Parameters
    ----------
    walk : Lowering
    index : int
        Of the node.
    """
    node = walk.nodes[index]
    if not walk.edges[node.inputs[1]].is_constant or walk.edges[node.inputs[0]].is_constant:
        raise walk.refusal(index, "the C kernel takes constant indices of an activation")
    rank = len(walk.known[node.inputs[0]].shape)
    axis = int(node.attributes["axis"]) % (rank + 1) - 1
    if axis < 0:
        raise walk.refusal(index, "cannot gather along the batch")
    x = walk.ordered(node.inputs[0], range(rank))
    wanted = np.asarray(walk.edges[node.inputs[1]].constant, np.int64).ravel()
    wanted = np.where(wanted < 0, wanted + x.shape[axis], wanted)
    if wanted.size and not (wanted.min() >= 0 and wanted.max() < x.shape[axis]):
        raise walk.refusal(index, f"indices must be below {x.shape[axis]}, got {wanted.max()}")
    y = walk.define(node.outputs[0], range(len(walk.edges[node.outputs[0]].shape) - 1))
    _select(walk, (node.name, node.op), (x.buffer, y.buffer), x.shape, axis, wanted)


def lower_matmul(walk: Lowering, index: int) -> None:
    """Turn a product of matrices into a layer.

    Parameters
    ----------
    walk : Lowering
    index : int
        Of the node.
    """
    node = walk.nodes[index]
    left, right = (walk.edges[e] for e in node.inputs)
    if left.is_constant:
        raise walk.refusal(index, "the C kernel takes a constant on the right only")
    if len(right.qparams.scale) != 1:
        raise walk.refusal(index, "the C kernel has one scale for the right matrix")
    a = walk.ordered(node.inputs[0], range(len(walk.known[node.inputs[0]].shape)))
    constants, b_buffer = [], -1
    if right.is_constant:
        b_shape = tuple(int(d) for d in right.shape)
        constants = [Constant("weights", np.asarray(right.constant, np.int8).ravel())]
    else:
        b = walk.ordered(node.inputs[1], range(len(walk.known[node.inputs[1]].shape)))
        b_shape, b_buffer = b.shape, b.buffer
    y = walk.define(node.outputs[0], range(len(walk.edges[node.outputs[0]].shape) - 1))
    if len(a.shape) < 2 or len(b_shape) < 2:
        raise walk.refusal(index, f"matrices must have two axes, got {a.shape} and {b_shape}")
    batches = math.prod(y.shape[:-2])
    counts = [math.prod(shape[:-2]) for shape in (a.shape, b_shape)]
    if any(count not in (1, batches) for count in counts):
        raise walk.refusal(index, f"cannot repeat matrices of shapes {a.shape} and {b_shape}")
    (rows, depth), columns = a.shape[-2:], b_shape[-1]
    steps = [
        0 if n == 1 else size
        for n, size in zip(counts, (rows * depth, depth * columns), strict=True)
    ]
    real = np.float64(a.scale) * np.float64(right.qparams.scale[0]) / np.float64(y.scale)
    mantissa, shift = _core.codegen.fixed_multiplier(float(real))
    zeros = (a.zero_point, int(right.qparams.zero_point[0]), y.zero_point)
    fields = [batches, rows, depth, columns, *steps, mantissa, shift, *zeros]

    def body(at: Callable[[int], str], backwards: bool) -> list[str]:
        second = "weights" if b_buffer < 0 else at(b_buffer)
        return [
            f"static const tersor_matrices p = {{{', '.join(map(str, fields))}}};",
            f"tersor_multiply_matrices(&p, {at(a.buffer)}, {second}, {at(y.buffer)});",
        ]

    sources = (a.buffer,) if b_buffer < 0 else (a.buffer, b_buffer)
    macs = int(walk.graph.macs_of(index))
    walk.add(Layer(node.name, node.op, sources, y.buffer, body, constants, macs=macs))


def _places(walk: Lowering, index: int, shape: Sequence[int]) -> list[NDArray[np.int64]]:
    """Where a move takes each place of each axis from: by moving the places themselves."""
    node = walk.nodes[index]
    found = []
    for axis, size in enumerate(shape):
        if size > min(_MOST, _EXACT):
            raise walk.refusal(index, f"dimensions must be at most {_MOST}, got {size}")
        graph = Graph()
        x = graph.add_input("x", "float32", (None, *shape))
        graph.set_outputs([graph.add_node(node.op, [x], dict(node.attributes))])
        session = _core.runtime.Session(graph, 1, "exact", "fp32", "", 0, False, {})
        steps = np.arange(size, dtype=np.float32)
        line = steps.reshape([-1 if a == axis else 1 for a in _axes(shape)])
        (y,) = session.run([np.ascontiguousarray(np.broadcast_to(line, shape))[None]], None)
        first = [slice(None) if a == axis else 0 for a in _axes(shape)]
        found.append(np.asarray(y[0][tuple(first)], np.int64).ravel())
    return found


def _axes(shape: Sequence[int]) -> range:
    return range(len(shape))


def _select(
    walk: Lowering,
    names: tuple[str, str],
    buffers: tuple[int, int],
    physical: Sequence[int],
    place: int,
    wanted: NDArray[np.int64],
) -> None:
    """Add the layer that takes `wanted` along the axis at `place`."""
    (name, op), (source, target) = names, buffers
    outer, inner = math.prod(physical[:place]), math.prod(physical[place + 1 :])
    table = Constant("places", wanted.astype(np.uint16))
    sizes = f"{outer}, {physical[place]}, {len(wanted)}, {inner}"
    walk.add(
        Layer(
            name, op, (source,), target,
            lambda at, _: [f"tersor_select(places, {at(source)}, {at(target)}, {sizes});"],
            [table],
        )
    )  # fmt: skip


__all__ = ["lower_gather", "lower_matmul", "lower_move"]
