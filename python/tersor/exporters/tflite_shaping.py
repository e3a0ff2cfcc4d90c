"""TFLite operators that move values, and reductions, which work on axes in any order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .physical import Order, Physical
from .tflite_emit import Emit, coded, joint_order, operand, refuse, result, version


def _reshape(p: Physical, node: Any) -> None:
    x, out = node.inputs[0], node.outputs[0]
    shape = p.shape(out, p.identity(out))
    if x in p.flat:  # still in physical order: only where it stays flat
        p.flat[out] = p.flat[x]
        p.bind(out, p.reshaped(p.homes[x][0], shape, p.edges[out].name), p.identity(out))
        return
    home, lies = p.homes[x]
    if p.only_units_move(x, lies, p.identity(x)):
        p.bind(out, p.reshaped(home, shape, p.edges[out].name), p.identity(out))
        return
    if _only_dense(p, out) and len(shape) == 2:
        sizes = tuple(int(d) for d in p.edges[x].shape[1:])
        p.flat[out] = sizes, tuple(i - 1 for i in lies[1:])
        p.bind(out, p.reshaped(home, shape, p.edges[out].name), p.identity(out))
        return
    p.bind(out, p.reshaped(p.ask(x), shape, p.edges[out].name), p.identity(out))


def _only_dense(p: Physical, edge: int) -> bool:
    """Whether all that reads an edge are dense layers, whose columns can be reordered."""
    users = [n for n in p.graph.nodes if edge in n.inputs]
    return (
        edge not in p.graph.output_ids
        and bool(users)
        and all(n.op == "dense" and edge not in n.inputs[1:] for n in users)
        and all(_free_columns(p.edges[n.inputs[1]]) for n in users)
    )


def _free_columns(weight: Any) -> bool:
    q = weight.qparams
    return bool(weight.is_constant) and (q is None or not q.group_size)


def _transpose(p: Physical, node: Any) -> None:
    """Nothing moves: the same tensor under another order."""
    tensor, lies = p.homes[node.inputs[0]]
    perm = list(node.attributes["perm"])
    p.bind(node.outputs[0], tensor, tuple(perm.index(i) for i in lies))


def _identity(p: Physical, node: Any) -> None:
    p.bind(node.outputs[0], *p.homes[node.inputs[0]])


def _concat(p: Physical, node: Any) -> None:
    order = joint_order(p, node)
    inputs = [
        operand(p, i, order) if p.edges[i].is_constant else p.ask(i, order) for i in node.inputs
    ]
    y, _ = result(p, node, order)
    axis = order.index(_axis(p, node, node.attributes["axis"]))
    kind = version(p, node)
    p.operator("CONCATENATION", inputs, y, kind, "Concatenation", Axis=axis)


def _axis(p: Physical, node: Any, axis: int) -> int:
    rank = len(p.edges[node.inputs[0]].shape)
    return int(axis) % rank


def _slice(p: Physical, node: Any) -> None:
    x, a = node.inputs[0], node.attributes
    order = p.order_of(x)
    sizes = [1 if d is None else int(d) for d in p.edges[x].shape]
    begin, end, step = [0] * len(sizes), list(sizes), [1] * len(sizes)
    steps = list(a["steps"]) or [1] * len(a["axes"])
    for axis, start, stop, stride in zip(a["axes"], a["starts"], a["ends"], steps, strict=True):
        i, size = _axis(p, node, axis), sizes[_axis(p, node, axis)]
        begin[i] = min(max(start + size if start < 0 else start, 0), size)
        end[i] = min(max(stop + size if stop < 0 else stop, 0), size)
        step[i] = stride
    tensor = p.ask(x, order)
    y, _ = result(p, node, order)
    limits = [
        p.integers([v[i] for i in order], name)
        for v, name in ((begin, "begin"), (end, "end"), (step, "strides"))
    ]
    mask = 1 if p.edges[x].shape[0] is None else 0  # the batch, whatever its size
    p.operator(
        "STRIDED_SLICE", [tensor, *limits], y, version(p, node), "StridedSlice",
        BeginMask=mask, EndMask=mask,
    )  # fmt: skip


def _pad(p: Physical, node: Any) -> None:
    x, a = node.inputs[0], node.attributes
    order, rank = p.order_of(x), len(p.edges[x].shape)
    tensor = p.ask(x, order)
    pads = [(int(a["pads"][i]), int(a["pads"][i + rank])) for i in range(rank)]
    mode, value = a["mode"], float(a["value"])
    if mode == "edge":
        raise refuse(node, "padding that repeats the edge")
    sizes = [1 if d is None else int(d) for d in p.edges[x].shape]
    if any(min(pair) < 0 for pair in pads):
        cut = [d + min(b, 0) + min(e, 0) for d, (b, e) in zip(sizes, pads, strict=True)]
        if p.edges[x].shape[0] is None:
            cut[0] = -1
        shape = [cut[i] for i in order]
        part = p.like(x, shape)
        begin = p.integers([max(0, -pads[i][0]) for i in order], "begin")
        size = p.integers(shape, "size")
        tensor = p.operator("SLICE", [tensor, begin, size], part, version(p, node), "Slice")
    y, _ = result(p, node, order)
    amounts = np.asarray([[max(0, v) for v in pads[i]] for i in order], np.int32)
    paddings = p.constant(amounts, "paddings")
    if mode == "reflect":
        kind = version(p, node)
        p.operator("MIRROR_PAD", [tensor, paddings], y, kind, "MirrorPad", Mode=0)
    elif value == 0:
        p.operator("PAD", [tensor, paddings], y, version(p, node), "Pad")
    else:
        fill = _fill(p, node, value)
        p.operator("PADV2", [tensor, paddings, fill], y, version(p, node), "PadV2")


def _fill(p: Physical, node: Any, value: float) -> int:
    if not coded(p, node):
        return p.constant(np.asarray(value, np.float32), "padding")
    q: Any = p.edges[node.outputs[0]].qparams
    code = np.clip(np.rint(value / q.scale[0]) + q.zero_point[0], -128, 127)
    return p.constant(
        np.asarray(code, np.int8), "padding",
        scale=np.asarray(q.scale, np.float32), zero_point=np.asarray(q.zero_point, np.int64),
    )  # fmt: skip


def _gather(p: Physical, node: Any) -> None:
    data, indices = node.inputs
    e = p.edges[data]
    axis = _axis(p, node, node.attributes["axis"])
    if e.is_constant:
        x = p.weight(data, lambda a: a, 0)
        if e.qparams is not None and not coded(p, node):
            x = p.decoded_weight(data, lambda a: a, 0, node.name)
    else:
        x = p.ask(data)
    i = p.edges[indices]
    if i.is_constant:
        array = np.asarray(i.constant)
        array = np.where(array < 0, array + int(e.shape[axis] or 1), array)
        chosen = p.constant(array.astype(np.int32), i.name)
    else:
        chosen = p.ask(indices)
    y, _ = result(p, node)
    p.operator("GATHER", [x, chosen], y, version(p, node), "Gather", Axis=axis)


def _expand(p: Physical, node: Any) -> None:
    x, out = node.inputs[0], node.outputs[0]
    order = p.identity(out)
    tensor = operand(p, x, order)
    y, _ = result(p, node, order)
    if coded(p, node):
        sizes = p.integers([abs(d) for d in p.shape(out, order)], "shape")
        p.operator("BROADCAST_TO", [tensor, sizes], y, 3, "BroadcastTo")
        return
    shape = [1 if d < 0 else d for d in p.shape(out, order)]
    ones = p.constant(np.ones(shape, p.edges[x].dtype), "ones")  # keeps the batch open
    p.operator("MUL", [tensor, ones], y, 1, "Mul")


def _reduce(name: str) -> Emit:
    def emit(p: Physical, node: Any) -> None:
        x, out = node.inputs[0], node.outputs[0]
        lies = p.order_of(x)
        axes = {_axis(p, node, axis) for axis in node.attributes["axes"]}
        keep = bool(node.attributes["keepdims"])
        order: Order = lies
        if not keep:
            rest = [i for i in range(len(lies)) if i not in axes]
            order = tuple(rest.index(i) for i in lies if i in rest)
        tensor = p.ask(x, lies)
        y, _ = result(p, node, order)
        chosen = p.integers(sorted(lies.index(i) for i in axes), "axes")
        assert len(p.edges[out].shape) == len(order)
        p.operator(name, [tensor, chosen], y, version(p, node), "Reducer", KeepDims=keep)

    return emit


def _softmax(name: str, options: str) -> Emit:
    def emit(p: Physical, node: Any) -> None:
        """Along the last axis; another one is brought there."""
        x, out = node.inputs[0], node.outputs[0]
        axis = _axis(p, node, node.attributes["axis"])
        lies = p.order_of(x)
        order = (*(i for i in lies if i != axis), axis)
        tensor = p.ask(x, order)
        if math.prod(p.shape(out, order)) == 0:
            raise refuse(node, "a tensor without elements")
        y, _ = result(p, node, order)
        fields = {"Beta": 1.0} if name == "SOFTMAX" else {}
        p.operator(name, [tensor], y, version(p, node), options, **fields)

    return emit


SHAPING: dict[str, Emit] = {
    "concat": _concat,
    "expand": _expand,
    "gather": _gather,
    "identity": _identity,
    "log_softmax": _softmax("LOG_SOFTMAX", "LogSoftmax"),
    "pad": _pad,
    "reduce_max": _reduce("REDUCE_MAX"),
    "reduce_mean": _reduce("MEAN"),
    "reduce_sum": _reduce("SUM"),
    "reshape": _reshape,
    "slice": _slice,
    "softmax": _softmax("SOFTMAX", "Softmax"),
    "transpose": _transpose,
}

__all__ = ["SHAPING"]
