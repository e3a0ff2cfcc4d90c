"""Every operator in NumPy float64, channels first: the truth of the reference kernels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Attributes = dict[str, Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _activation(y: Array, a: Attributes) -> Array:
    name = a.get("activation", "none")
    return y if name == "none" else np.maximum(y, 0) if name == "relu" else np.clip(y, 0, 6)


def conv(a: Attributes, x: Array, w: Array, b: Array | None = None) -> Array:
    groups, rank = a["groups"], x.ndim - 2
    pads = a["pads"]
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
    size = [
        (x.shape[i + 2] - a["dilations"][i] * (w.shape[i + 2] - 1) - 1) // a["strides"][i] + 1
        for i in range(rank)
    ]
    y = np.zeros((x.shape[0], w.shape[0], *size), x.dtype)
    ci, co = x.shape[1] // groups, w.shape[0] // groups
    for g, k in itertools.product(range(groups), np.ndindex(*w.shape[2:])):
        window = tuple(
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip(k, a["dilations"], size, a["strides"], strict=True)
        )
        part = x[(slice(None), slice(g * ci, (g + 1) * ci), *window)]
        taps = w[(slice(g * co, (g + 1) * co), slice(None), *k)]
        y[:, g * co : (g + 1) * co] += np.einsum("nc...,oc->no...", part, taps)
    if b is not None:
        y += b.reshape(-1, *[1] * rank)
    return _activation(y, a)


def conv_transpose(a: Attributes, x: Array, w: Array, b: Array | None = None) -> Array:
    groups, rank = a["groups"], x.ndim - 2
    pads, extra = a["pads"], a["output_padding"]
    full = [
        (x.shape[i + 2] - 1) * a["strides"][i]
        + a["dilations"][i] * (w.shape[i + 2] - 1)
        + 1
        + extra[i]
        for i in range(rank)
    ]
    ci, co = x.shape[1] // groups, w.shape[1]
    y = np.zeros((x.shape[0], co * groups, *full), x.dtype)
    for g, k in itertools.product(range(groups), np.ndindex(*w.shape[2:])):
        window = tuple(
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip(k, a["dilations"], x.shape[2:], a["strides"], strict=True)
        )
        part = x[:, g * ci : (g + 1) * ci]
        taps = w[(slice(g * ci, (g + 1) * ci), slice(None), *k)]
        y[(slice(None), slice(g * co, (g + 1) * co), *window)] += np.einsum(
            "nc...,co->no...", part, taps
        )
    y = y[(..., *(slice(pads[i], full[i] - pads[rank + i]) for i in range(rank)))]
    if b is not None:
        y = y + b.reshape(-1, *[1] * rank)
    return _activation(y, a)


def dense(a: Attributes, x: Array, w: Array, b: Array | None = None) -> Array:
    y = x @ w.T
    return _activation(y if b is None else y + b, a)


def batch_norm(
    a: Attributes, x: Array, scale: Array, bias: Array, mean: Array, var: Array
) -> Array:
    s, b, m, v = (p.reshape(-1, *[1] * (x.ndim - 2)) for p in (scale, bias, mean, var))
    return (x - m) / np.sqrt(v + a["epsilon"]) * s + b


def layer_norm(a: Attributes, x: Array, gamma: Array, beta: Array | None = None) -> Array:
    axes = tuple(range(a["axis"] % x.ndim, x.ndim))
    d = x - x.mean(axes, keepdims=True)
    y = d / np.sqrt((d * d).mean(axes, keepdims=True) + a["epsilon"]) * gamma
    return y if beta is None else y + beta


def softmax(a: Attributes, x: Array) -> Array:
    e = np.exp(x - x.max(a["axis"], keepdims=True))
    return e / e.sum(a["axis"], keepdims=True)


def _windows(a: Attributes, x: Array, fill: float) -> tuple[Array, Array, Array]:
    """Values, inside-the-input and inside-the-padding flags of every window, on a last axis."""
    rank = x.ndim - 2
    pads, kernel, strides = a["pads"], a["kernel"], a["strides"]
    size = []
    for i in range(rank):
        room = x.shape[i + 2] + pads[i] + pads[rank + i] - kernel[i]
        count = room // strides[i] + 1
        if a["ceil_mode"] and room % strides[i] and count * strides[i] < x.shape[i + 2] + pads[i]:
            count += 1
        size.append(count)
    slack = [(0, 0), (0, 0), *((pads[i], pads[rank + i] + kernel[i]) for i in range(rank))]
    inside = np.pad(np.ones(x.shape[2:], bool), slack[2:])
    whole = [n + pads[i] + pads[rank + i] for i, n in enumerate(x.shape[2:])]
    padded = np.pad(np.ones(whole, bool), [(0, kernel[i]) for i in range(rank)])
    x = np.pad(x, slack, constant_values=fill)

    def cut(v: Array, k: tuple[int, ...]) -> Array:
        return v[
            (
                ...,
                *(
                    slice(o, o + (n - 1) * s + 1, s)
                    for o, n, s in zip(k, size, strides, strict=True)
                ),
            )
        ]

    taps = list(np.ndindex(*kernel))
    return tuple(np.stack([cut(v, k) for k in taps], -1) for v in (x, inside, padded))  # type: ignore[return-value]


def max_pool(a: Attributes, x: Array) -> Array:
    return _windows(a, x, -np.inf)[0].max(-1)


def avg_pool(a: Attributes, x: Array) -> Array:
    values, inside, padded = _windows(a, x, 0.0)
    return values.sum(-1) / (padded if a["count_include_pad"] else inside).sum(-1)


def concat(a: Attributes, *x: Array) -> Array:
    return np.concatenate(x, a["axis"])


def slice_(a: Attributes, x: Array) -> Array:
    cuts = [slice(None)] * x.ndim
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        cuts[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(cuts)]


def pad(a: Attributes, x: Array) -> Array:
    before, after = a["pads"][: x.ndim], a["pads"][x.ndim :]
    x = x[
        tuple(
            slice(max(0, -b), n - max(0, -e))
            for b, e, n in zip(before, after, x.shape, strict=True)
        )
    ]
    widths = [(max(0, b), max(0, e)) for b, e in zip(before, after, strict=True)]
    if a["mode"] == "constant":
        return np.pad(x, widths, constant_values=a["value"])
    return np.pad(x, widths, mode=a["mode"])


def _resize_axis(a: Attributes, x: Array, axis: int, out: int) -> Array:
    n, o = x.shape[axis], np.arange(out, dtype=np.float64)
    if n == out:
        return x
    mode = a["coordinates"]
    if mode == "align_corners":
        at = o * (n - 1) / (out - 1) if out > 1 else o * 0
    elif mode == "asymmetric":
        at = o * n / out
    else:
        at = (o + 0.5) * n / out - 0.5
        if mode == "pytorch_half_pixel" and out == 1:
            at = at * 0
    if a["mode"] == "nearest":
        rounding = {
            "round_prefer_floor": lambda v: np.ceil(v - 0.5),
            "round_prefer_ceil": lambda v: np.floor(v + 0.5),
            "floor": np.floor,
            "ceil": np.ceil,
        }
        return x.take(np.clip(rounding[a["nearest"]](at), 0, n - 1).astype(int), axis)
    below = np.floor(at)
    shape = [1] * x.ndim
    shape[axis] = out
    weight = (at - below).reshape(shape)
    low, high = (np.clip(below + i, 0, n - 1).astype(int) for i in (0, 1))
    return x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight


def resize(a: Attributes, x: Array) -> Array:
    for i, size in enumerate(a["sizes"]):
        x = _resize_axis(a, x, i + 2, size)
    return x


def _nan_through(f: Any, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.where(np.isnan(x), x, f(x))


def gelu(a: Attributes, x: Array) -> Array:
    if a["approximate"] == "tanh":
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * _erfc(-x / np.sqrt(2))


def sigmoid(_: Attributes, x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


TRUTH: dict[str, Any] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "dense": dense,
    "matmul": lambda _, x, y: x @ y,
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "add": lambda a, x, y: _activation(x + y, a),
    "sub": lambda a, x, y: _activation(x - y, a),
    "mul": lambda a, x, y: _activation(x * y, a),
    "div": lambda a, x, y: _activation(x / y, a),
    "minimum": lambda _, x, y: np.minimum(x, y),
    "maximum": lambda _, x, y: np.maximum(x, y),
    "pow": lambda _, x, y: np.power(x, y),
    "prelu": lambda _, x, y: np.where(x < 0, x * y, x),
    "relu": lambda _, x: np.maximum(x, 0),
    "clip": lambda a, x: np.clip(x, a["min"], a["max"]),
    "leaky_relu": lambda a, x: np.where(x < 0, a["alpha"] * x, x),
    "elu": lambda a, x: np.where(x < 0, a["alpha"] * np.expm1(np.minimum(x, 0)), x),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda a, x: np.clip(a["alpha"] * x + a["beta"], 0, 1),
    "hard_swish": lambda _, x: x * np.clip(x / 6 + 0.5, 0, 1),
    "silu": lambda a, x: x * sigmoid(a, x),
    "gelu": gelu,
    "tanh": lambda _, x: np.tanh(x),
    "erf": lambda _, x: _erf(x),
    "exp": lambda _, x: np.exp(x),
    "log": lambda _, x: np.log(x),
    "sqrt": lambda _, x: np.sqrt(x),
    "neg": lambda _, x: -x,
    "abs": lambda _, x: np.abs(x),
    "softplus": lambda _, x: np.logaddexp(x, 0),
    "softmax": softmax,
    "log_softmax": lambda a, x: np.log(softmax(a, x)),
    "max_pool": max_pool,
    "avg_pool": avg_pool,
    "reduce_mean": lambda a, x: x.mean(tuple(a["axes"]), keepdims=bool(a["keepdims"])),
    "reduce_sum": lambda a, x: x.sum(tuple(a["axes"]), keepdims=bool(a["keepdims"])),
    "reduce_max": lambda a, x: x.max(tuple(a["axes"]), keepdims=bool(a["keepdims"])),
    "concat": concat,
    "slice": slice_,
    "pad": pad,
    "gather": lambda a, x, i: np.take(x, i.astype(int), a["axis"]),
    "resize": resize,
    "reshape": lambda a, x: x.reshape([x.shape[0], *a["shape"][1:]]),
    "transpose": lambda a, x: x.transpose(a["perm"]),
    "expand": lambda a, x: np.broadcast_to(x, [x.shape[0], *a["shape"][1:]]),
    "identity": lambda _, x: x,
    "cast": lambda a, x: x.astype(a["to"]),
}
