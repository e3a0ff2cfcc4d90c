"""A graph evaluated with PyTorch in float64: a truth that shares no code with the runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

import tersor


def evaluate(graph: tersor.Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of a float graph."""
    values: dict[int, torch.Tensor] = {}
    edges = graph.edges
    for i, edge in enumerate(edges):
        if edge.is_constant:
            values[i] = _wide(torch.from_numpy(np.array(edge.constant)))
    for i, x in zip(graph.input_ids, inputs, strict=True):
        values[i] = _wide(torch.from_numpy(np.array(x)))
    batch = len(inputs[0])
    with torch.no_grad():
        for node in graph.nodes:
            x = [values[i] if i >= 0 else None for i in node.inputs]
            y = activate(
                OPERATORS[node.op](node.attributes, batch, *x), node.attributes.get("activation")
            )
            shape = tuple(batch if d is None else d for d in edges[node.outputs[0]].shape)
            assert tuple(y.shape) == shape, (node, tuple(y.shape), shape)
            values[node.outputs[0]] = y
    return [values[i].numpy() for i in graph.output_ids]


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x.double() if x.is_floating_point() else x


def activate(x: torch.Tensor, name: str | None) -> torch.Tensor:
    return {"relu": F.relu, "relu6": F.relu6}.get(name or "none", lambda t: t)(x)


def _padded(x: torch.Tensor, pads: list[int], value: float = 0.0) -> torch.Tensor:
    """`pads` in front of the trailing axes, then behind them."""
    n = len(pads) // 2
    return F.pad(x, [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])], value=value)


def _conv(
    a: dict[str, Any], batch: int, x: torch.Tensor, w: torch.Tensor, b: Any = None
) -> torch.Tensor:
    f = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[x.dim()]
    return f(_padded(x, a["pads"]), w, b, a["strides"], 0, a["dilations"], a["groups"])


def _conv_transpose(
    a: dict[str, Any], batch: int, x: torch.Tensor, w: torch.Tensor, b: Any = None
) -> torch.Tensor:
    f = {3: F.conv_transpose1d, 4: F.conv_transpose2d}[x.dim()]
    y = f(x, w, b, a["strides"], 0, 0, a["groups"], a["dilations"])
    n = x.dim() - 2
    cut = [-p for p in a["pads"][:n]] + [
        o - p for o, p in zip(a["output_padding"], a["pads"][n:], strict=True)
    ]
    grown = _padded(y, [max(0, c) for c in cut])
    if b is not None and any(c > 0 for c in cut):  # cells that no input reaches hold the bias
        mask = _padded(torch.ones_like(y), [max(0, c) for c in cut])
        grown = grown + (1 - mask) * b.reshape(-1, *[1] * n)
    return _padded(grown, [min(0, c) for c in cut])


def _pool(kind: str) -> Any:
    def pool(a: dict[str, Any], batch: int, x: torch.Tensor) -> torch.Tensor:
        n = x.dim() - 2
        pads, kernel, strides = list(a["pads"]), a["kernel"], a["strides"]
        extra = [0] * n
        if a["ceil_mode"]:
            for i in range(n):
                size = x.shape[2 + i] + pads[i] + pads[n + i]
                count = -(-(size - kernel[i]) // strides[i]) + 1
                if (count - 1) * strides[i] >= x.shape[2 + i] + pads[i]:
                    count -= 1
                extra[i] = max(0, (count - 1) * strides[i] + kernel[i] - size)
        grown = pads[:n] + [p + e for p, e in zip(pads[n:], extra, strict=True)]
        if kind == "max":
            f = {1: F.max_pool1d, 2: F.max_pool2d}[n]
            return f(_padded(x, grown, -torch.inf), kernel, strides)
        f = {1: F.avg_pool1d, 2: F.avg_pool2d}[n]
        inside = torch.ones_like(x)
        if a["count_include_pad"]:
            inside = _padded(inside, pads, 1.0)
            inside = _padded(inside, [0] * n + extra)
        else:
            inside = _padded(inside, grown)
        return f(_padded(x, grown), kernel, strides) / f(inside, kernel, strides)

    return pool


def _batch_norm(
    a: dict[str, Any], batch: int, x: torch.Tensor, s: Any, b: Any, m: Any, v: Any
) -> torch.Tensor:
    return F.batch_norm(x, m, v, s, b, False, 0.0, a["epsilon"])


def _layer_norm(
    a: dict[str, Any], batch: int, x: torch.Tensor, s: torch.Tensor, b: Any = None
) -> torch.Tensor:
    return F.layer_norm(x, s.shape, s, b, a["epsilon"])


def _slice(a: dict[str, Any], batch: int, x: torch.Tensor) -> torch.Tensor:
    index = [slice(None)] * x.dim()
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _pad(a: dict[str, Any], batch: int, x: torch.Tensor) -> torch.Tensor:
    n = x.dim()
    pairs = [(a["pads"][i], a["pads"][n + i]) for i in range(n)]
    kind = {"constant": {"constant_values": a["value"]}}.get(a["mode"], {})
    return torch.from_numpy(np.pad(x.numpy(), pairs, a["mode"], **kind))


def _gather(a: dict[str, Any], batch: int, x: torch.Tensor, i: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.take(x.numpy(), i.numpy(), a["axis"]))


def _resize(a: dict[str, Any], batch: int, x: torch.Tensor) -> torch.Tensor:
    for i, size in enumerate(a["sizes"]):
        x = torch.movedim(_resize_last(a, torch.movedim(x, 2 + i, -1), size), -1, 2 + i)
    return x


def _resize_last(a: dict[str, Any], x: torch.Tensor, size: int) -> torch.Tensor:
    n, mode = x.shape[-1], a["coordinates"]
    at = torch.arange(size, dtype=torch.float64)
    if mode == "align_corners":
        at = at * ((n - 1) / (size - 1) if size > 1 else 0)
    elif mode == "asymmetric":
        at = at * (n / size)
    elif mode == "pytorch_half_pixel" and size == 1:
        at = at * 0
    else:
        at = (at + 0.5) * (n / size) - 0.5
    if a["mode"] == "nearest":
        rounded = {
            "floor": torch.floor(at),
            "ceil": torch.ceil(at),
            "round_prefer_floor": torch.ceil(at - 0.5),
            "round_prefer_ceil": torch.floor(at + 0.5),
        }[a["nearest"]]
        return x[..., rounded.clamp(0, n - 1).long()]
    low = torch.floor(at)
    share = at - low
    left, right = low.clamp(0, n - 1).long(), (low + 1).clamp(0, n - 1).long()
    return x[..., left] * (1 - share) + x[..., right] * share


def _shape(a: dict[str, Any], batch: int) -> list[int]:
    return [batch if i == 0 and d == -1 else d for i, d in enumerate(a["shape"])]


def _axes(a: dict[str, Any]) -> dict[str, Any]:
    return {"dim": tuple(a["axes"]), "keepdim": bool(a["keepdims"])}


OPERATORS: dict[str, Any] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool("max"),
    "avg_pool": _pool("avg"),
    "dense": lambda a, n, x, w, b=None: F.linear(x, w, b),
    "matmul": lambda a, n, x, y: x @ y,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "slice": _slice,
    "pad": _pad,
    "gather": _gather,
    "resize": _resize,
    "add": lambda a, n, x, y: x + y,
    "sub": lambda a, n, x, y: x - y,
    "mul": lambda a, n, x, y: x * y,
    "div": lambda a, n, x, y: x / y,
    "pow": lambda a, n, x, y: x**y,
    "minimum": lambda a, n, x, y: torch.minimum(x, y),
    "maximum": lambda a, n, x, y: torch.maximum(x, y),
    "relu": lambda a, n, x: F.relu(x),
    "clip": lambda a, n, x: x.clamp(a["min"], a["max"]),
    "leaky_relu": lambda a, n, x: torch.where(x < 0, a["alpha"] * x, x),
    "prelu": lambda a, n, x, s: torch.where(x < 0, s * x, x),
    "elu": lambda a, n, x: torch.where(x < 0, a["alpha"] * torch.expm1(x), x),
    "sigmoid": lambda a, n, x: torch.sigmoid(x),
    "tanh": lambda a, n, x: torch.tanh(x),
    "hard_sigmoid": lambda a, n, x: (a["alpha"] * x + a["beta"]).clamp(0, 1),
    "hard_swish": lambda a, n, x: F.hardswish(x),
    "silu": lambda a, n, x: F.silu(x),
    "gelu": lambda a, n, x: F.gelu(x, approximate=a["approximate"]),
    "erf": lambda a, n, x: torch.erf(x),
    "exp": lambda a, n, x: torch.exp(x),
    "log": lambda a, n, x: torch.log(x),
    "neg": lambda a, n, x: -x,
    "sqrt": lambda a, n, x: torch.sqrt(x),
    "abs": lambda a, n, x: x.abs(),
    "softplus": lambda a, n, x: F.softplus(x),
    "softmax": lambda a, n, x: torch.softmax(x, a["axis"]),
    "log_softmax": lambda a, n, x: torch.log_softmax(x, a["axis"]),
    "reduce_mean": lambda a, n, x: x.mean(**_axes(a)),
    "reduce_sum": lambda a, n, x: x.sum(**_axes(a)),
    "reduce_max": lambda a, n, x: x.amax(**_axes(a)),
    "concat": lambda a, n, *x: torch.cat(x, a["axis"]),
    "reshape": lambda a, n, x: x.reshape(_shape(a, n)),
    "transpose": lambda a, n, x: x.permute(a["perm"]),
    "expand": lambda a, n, x: x.expand(_shape(a, n)),
    "identity": lambda a, n, x: x,
    "cast": lambda a, n, x: _wide(torch.from_numpy(x.numpy().astype(a["to"]))),
}
