"""Mean inputs of layers, from what BatchNorm keeps: all that is known without samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reconstruction import clipped_normal_mean

Values = NDArray[np.float64]

# Points of a standard normal distribution and their weights, to integrate functions over it.
_POINTS = np.linspace(-6, 6, 241)
_WEIGHTS = np.exp(-0.5 * _POINTS**2) / np.exp(-0.5 * _POINTS**2).sum()


@dataclass(frozen=True)
class _Channels:
    """Mean and variance of every channel (axis 1) of an edge."""

    mean: Values
    variance: Values


def input_means(graph: Any) -> dict[str, Values]:
    """Estimate the mean input of every layer behind a BatchNorm.

    Parameters
    ----------
    graph : Graph
        Whose BatchNorm is not folded yet.

    Returns
    -------
    dict of str to ndarray of float64, shape (channels,)
        By the name of a conv or dense node. Channels are taken as normal where BatchNorm, an
        activation or a sum stands in front, and as independent in sums.

    References
    ----------
    .. [1] Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
       ICCV 2019, section 4.2.1 and appendix C.
    """
    edges, nodes = graph.edges, graph.nodes
    if not any(node.op == "batch_norm" for node in nodes):
        return {}
    known: dict[int, _Channels] = {}
    found: dict[str, Values] = {}
    for node in nodes:
        data = known.get(node.inputs[0]) if node.inputs and node.inputs[0] >= 0 else None
        if node.op in ("conv", "dense") and data is not None:
            found[node.name] = data.mean
        made = _outputs(node, edges, known, data)
        out = node.outputs[0]
        if made is not None and len(made.mean) == _width(edges[out]):
            known[out] = _activated(node, made)
    return found


def _width(edge: Any) -> int | None:
    return edge.shape[1] if len(edge.shape) > 1 else None


def _outputs(
    node: Any, edges: Any, known: dict[int, _Channels], data: _Channels | None
) -> _Channels | None:
    """Statistics of a node's output before the activation that is part of it."""
    if node.op == "batch_norm":
        if not all(edges[i].is_constant for i in node.inputs[1:3]):
            return None
        gamma, beta = (np.asarray(edges[i].constant, np.float64) for i in node.inputs[1:3])
        return _Channels(beta, gamma**2)
    if node.op == "add":
        first, second = (
            known.get(i) or _constant(edges[i], edges[node.outputs[0]]) for i in node.inputs
        )
        if first is None or second is None:
            return None
        return _Channels(first.mean + second.mean, first.variance + second.variance)
    if node.op == "concat" and node.attributes.get("axis") == 1:
        joined = [known.get(i) for i in node.inputs]
        if any(part is None for part in joined):
            return None
        return _Channels(
            np.concatenate([p.mean for p in joined if p is not None]),
            np.concatenate([p.variance for p in joined if p is not None]),
        )
    if data is None:
        return None
    function = _function(node)
    if function is not None:
        return _through(data, function, _bounds(node))
    if node.op == "reshape":
        return _flattened(edges[node.inputs[0]], edges[node.outputs[0]], data)
    if node.op == "reduce_mean":
        rank = len(edges[node.inputs[0]].shape)
        return None if {0, 1} & {axis % rank for axis in node.attributes["axes"]} else data
    return data if node.op in ("avg_pool", "identity", "resize") else None


def _constant(edge: Any, like: Any) -> _Channels | None:
    """A constant per channel of an edge."""
    if not edge.is_constant:
        return None
    values = np.asarray(edge.constant, np.float64)
    same_rank = values.ndim == len(like.shape) > 1
    if values.size != 1 and not (same_rank and values.size == values.shape[1]):
        return None
    return _Channels(values.ravel(), np.zeros(values.size))


def _flattened(before: Any, after: Any, data: _Channels) -> _Channels | None:
    """[N, C, ...] to [N, C * rest]."""
    width = _width(after)
    if len(after.shape) != 2 or len(before.shape) < 2 or width is None or width % len(data.mean):
        return None
    times = width // len(data.mean)
    return _Channels(np.repeat(data.mean, times), np.repeat(data.variance, times))


def _activated(node: Any, x: _Channels) -> _Channels:
    activation = node.attributes.get("activation", "none")
    bounds = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}.get(activation)
    return x if bounds is None else _through(x, lambda v: np.clip(v, *bounds), bounds)


def _bounds(node: Any) -> tuple[float, float] | None:
    if node.op == "relu":
        return 0.0, math.inf
    if node.op == "clip":
        return float(node.attributes["min"]), float(node.attributes["max"])
    return None


def _function(node: Any) -> Callable[[Values], Values] | None:
    """What an activation does to a value."""
    bounds = _bounds(node)
    if bounds is not None:
        return lambda v: np.clip(v, *bounds)
    a = node.attributes
    table: dict[str, Callable[[Values], Values]] = {
        "leaky_relu": lambda v: np.where(v > 0, v, a.get("alpha", 0.01) * v),
        "hard_swish": lambda v: v * np.clip(v / 6 + 0.5, 0, 1),
        "hard_sigmoid": lambda v: np.clip(a.get("alpha", 1 / 6) * v + a.get("beta", 0.5), 0, 1),
        "sigmoid": lambda v: 1 / (1 + np.exp(-np.clip(v, -60, 60))),
        "silu": lambda v: v / (1 + np.exp(-np.clip(v, -60, 60))),
        "tanh": np.tanh,
    }
    return table.get(node.op)


def _through(
    x: _Channels, function: Callable[[Values], Values], bounds: tuple[float, float] | None
) -> _Channels:
    """Moments of a function of normal values."""
    std = np.sqrt(x.variance)
    values = function(x.mean[:, None] + std[:, None] * _POINTS)
    mean = values @ _WEIGHTS
    variance = np.maximum(0.0, (values**2) @ _WEIGHTS - mean**2)
    if bounds is not None and bounds[0] < bounds[1]:
        mean = clipped_normal_mean(x.mean, std, low=bounds[0], high=bounds[1])
    return _Channels(mean, variance)


__all__ = ["input_means"]
