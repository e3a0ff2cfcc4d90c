"""A graph evaluated node by node in NumPy float64 and logical order: the truth for plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Values = list[Any]
Attributes = dict[str, Any]


def _windows(x, kernel, strides, pads, fill):
    rank = len(kernel)
    width = [(0, 0), (0, 0), *[(pads[i], pads[rank + i]) for i in range(rank)]]
    padded = np.pad(x, width, constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=tuple(range(2, 2 + rank)))
    return view[(slice(None), slice(None), *[slice(None, None, s) for s in strides])]


def _activate(y, attributes):
    kind = attributes.get("activation", "none")
    if kind == "none":
        return y
    return np.clip(y, 0, 6) if kind == "relu6" else np.maximum(y, 0)


def _conv(v: Values, a: Attributes):
    x, w = v[0], v[1]
    groups, rank = a["groups"], w.ndim - 2
    windows = _windows(x, w.shape[2:], a["strides"], a["pads"], 0.0)
    parts = []
    for xg, wg in zip(np.split(windows, groups, 1), np.split(w, groups), strict=True):
        y = np.tensordot(xg, wg, ([1, *range(2 + rank, 2 + 2 * rank)], list(range(1, 2 + rank))))
        parts.append(np.moveaxis(y, -1, 1))
    y = np.concatenate(parts, 1)
    if len(v) > 2 and v[2] is not None:
        y = y + v[2].reshape(1, -1, *[1] * rank)
    return _activate(y, a)


def _dense(v: Values, a: Attributes):
    y = v[0] @ v[1].T
    return _activate(y + v[2] if len(v) > 2 and v[2] is not None else y, a)


def _max_pool(v: Values, a: Attributes):
    x = _windows(v[0], a["kernel"], a["strides"], a["pads"], -np.inf)
    return x.max(tuple(range(-len(a["kernel"]), 0)))


def _slice(v: Values, a: Attributes):
    index = [slice(None)] * v[0].ndim
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        index[axis] = slice(start, end, step)
    return v[0][tuple(index)]


def _pad(v: Values, a: Attributes):
    rank = v[0].ndim
    pads = list(zip(a["pads"][:rank], a["pads"][rank:], strict=True))
    return np.pad(v[0], pads, constant_values=a["value"])


def _softmax(v: Values, a: Attributes):
    e = np.exp(v[0] - v[0].max(a["axis"], keepdims=True))
    return e / e.sum(a["axis"], keepdims=True)


def _reduce(function: Callable[..., Any]):
    return lambda v, a: function(v[0], axis=tuple(a["axes"]), keepdims=bool(a["keepdims"]))


def _reshape(v: Values, a: Attributes):
    shape = list(a["shape"])
    shape[0] = v[0].shape[0] if shape[0] == -1 else shape[0]
    return v[0].reshape(shape)


OPERATORS: dict[str, Callable[[Values, Attributes], Any]] = {
    "conv": _conv,
    "dense": _dense,
    "matmul": lambda v, a: v[0] @ v[1],
    "add": lambda v, a: _activate(v[0] + v[1], a),
    "sub": lambda v, a: _activate(v[0] - v[1], a),
    "mul": lambda v, a: _activate(v[0] * v[1], a),
    "maximum": lambda v, a: np.maximum(v[0], v[1]),
    "relu": lambda v, a: np.maximum(v[0], 0),
    "sigmoid": lambda v, a: 1 / (1 + np.exp(-v[0])),
    "tanh": lambda v, a: np.tanh(v[0]),
    "identity": lambda v, a: v[0],
    "max_pool": _max_pool,
    "concat": lambda v, a: np.concatenate(v, a["axis"]),
    "slice": _slice,
    "pad": _pad,
    "softmax": _softmax,
    "reduce_mean": _reduce(np.mean),
    "reduce_sum": _reduce(np.sum),
    "reduce_max": _reduce(np.max),
    "transpose": lambda v, a: np.transpose(v[0], a["perm"]),
    "reshape": _reshape,
}


def evaluate(graph, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation of `graph` by name."""
    edges = graph.edges
    values: dict[int, Any] = {
        i: e.constant.astype(float) for i, e in enumerate(edges) if e.is_constant
    }
    for edge, x in zip(graph.input_ids, inputs, strict=True):
        values[edge] = x.astype(float)
    for node in graph.nodes:
        operands = [None if i < 0 else values[i] for i in node.inputs]
        values[node.outputs[0]] = OPERATORS[node.op](operands, node.attributes)
    return {edges[i].name: v for i, v in values.items() if not edges[i].is_constant}


def outputs(graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of `graph` in order."""
    values = evaluate(graph, *inputs)
    return [values[graph.edges[i].name] for i in graph.output_ids]
