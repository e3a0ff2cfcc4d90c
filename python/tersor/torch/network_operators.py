"""Operators of a native graph as PyTorch functions (``docs/reference/operators.md``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

Tensor = torch.Tensor
Attributes = dict[str, Any]


def _pairs(pads: list[int]) -> list[int]:
    """`pads` of all axes, begins then ends, as PyTorch's pairs from the last axis on."""
    n = len(pads) // 2
    return [p for i in reversed(range(n)) for p in (pads[i], pads[n + i])]


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    return functional.pad(x, _pairs(pads), value=value) if any(pads) else x


def _conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    pads, n = list(a["pads"]), x.dim() - 2
    function: Any = (functional.conv1d, functional.conv2d, functional.conv3d)[n - 1]
    padding = pads[:n] if pads[:n] == pads[n:] else [0] * n
    x = x if padding == pads[:n] == pads[n:] else _padded(x, pads)
    y: Tensor = function(x, w, b, a["strides"], padding, a["dilations"], a["groups"])
    return y


def _conv_transpose(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    n = x.dim() - 2
    functions = (
        functional.conv_transpose1d,
        functional.conv_transpose2d,
        functional.conv_transpose3d,
    )
    function: Any = functions[n - 1]
    # The bias comes last: cells that no input reaches hold it too.
    y: Tensor = function(x, w, None, a["strides"], 0, 0, a["groups"], a["dilations"])
    begins, ends = a["pads"][:n], a["pads"][n:]
    grown = [o - p for o, p in zip(a["output_padding"], ends, strict=True)]
    y = _padded(y, [-p for p in begins] + grown)
    return y if b is None else y + b.reshape(-1, *[1] * n)


def _window_pads(a: Attributes, x: Tensor) -> tuple[list[int], list[int]]:
    """Pads of a pool, and what ceil_mode adds at the ends."""
    n = x.dim() - 2
    pads, kernel, strides = list(a["pads"]), a["kernel"], a["strides"]
    extra = [0] * n
    for i in range(n if a["ceil_mode"] else 0):
        size = x.shape[2 + i] + pads[i] + pads[n + i]
        count = -(-(size - kernel[i]) // strides[i]) + 1
        # A window that would start in the end padding does not count.
        count -= (count - 1) * strides[i] >= x.shape[2 + i] + pads[i]
        extra[i] = max(0, (count - 1) * strides[i] + kernel[i] - size)
    return pads, extra


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    n = x.dim() - 2
    pads, extra = _window_pads(a, x)
    grown = pads[:n] + [p + e for p, e in zip(pads[n:], extra, strict=True)]
    functions = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
    y: Tensor = functions[n - 1](_padded(x, grown, -torch.inf), a["kernel"], a["strides"])
    return y


def _avg_pool(a: Attributes, x: Tensor) -> Tensor:
    n = x.dim() - 2
    pads, extra = _window_pads(a, x)
    grown = pads[:n] + [p + e for p, e in zip(pads[n:], extra, strict=True)]
    function: Any = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[n - 1]
    y: Tensor = function(_padded(x, grown), a["kernel"], a["strides"])
    if not any(grown):
        return y
    inside = torch.ones_like(x[:1, :1])
    if a["count_include_pad"]:
        inside = _padded(_padded(inside, pads, 1.0), [0] * n + extra)
    else:
        inside = _padded(inside, grown)
    share: Tensor = function(inside, a["kernel"], a["strides"])
    return y / share


def _batch_norm(a: Attributes, x: Tensor, s: Tensor, b: Tensor, m: Tensor, v: Tensor) -> Tensor:
    return functional.batch_norm(x, m, v, s, b, False, 0.0, a["epsilon"])


def _layer_norm(a: Attributes, x: Tensor, s: Tensor, b: Tensor | None = None) -> Tensor:
    return functional.layer_norm(x, tuple(s.shape), s, b, a["epsilon"])


def _slice(a: Attributes, x: Tensor) -> Tensor:
    index = [slice(None)] * x.dim()
    for axis, start, end, step in zip(a["axes"], a["starts"], a["ends"], a["steps"], strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


def _pad(a: Attributes, x: Tensor) -> Tensor:
    n = x.dim()
    if a["mode"] == "constant":
        return _padded(x, list(a["pads"]), a["value"])
    for axis in range(n):  # PyTorch pads trailing axes only in these modes
        begin, end = a["pads"][axis], a["pads"][n + axis]
        at = torch.arange(-begin, x.shape[axis] + end, device=x.device)
        last = x.shape[axis] - 1
        if a["mode"] == "edge" or last == 0:
            at = at.clamp(0, last)
        else:
            at = (at % (2 * last)).abs()
            at = torch.where(at > last, 2 * last - at, at)
        x = x.index_select(axis, at)
    return x


def _gather(a: Attributes, x: Tensor, indices: Tensor) -> Tensor:
    axis, size = a["axis"], x.shape[a["axis"]]
    flat = indices.reshape(-1).long()
    chosen = x.index_select(axis, torch.where(flat < 0, flat + size, flat))
    return chosen.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _resize(a: Attributes, x: Tensor) -> Tensor:
    for i, size in enumerate(a["sizes"]):
        x = torch.movedim(_resize_last(a, torch.movedim(x, 2 + i, -1), size), -1, 2 + i)
    return x


def _resize_last(a: Attributes, x: Tensor, size: int) -> Tensor:
    n, mode = x.shape[-1], a["coordinates"]
    at = torch.arange(size, dtype=torch.float64, device=x.device)
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
    share = (at - low).to(x.dtype)
    left, right = low.clamp(0, n - 1).long(), (low + 1).clamp(0, n - 1).long()
    return x[..., left] * (1 - share) + x[..., right] * share


def _shape(a: Attributes, x: Tensor) -> list[int]:
    """A shape whose leading -1 is the batch."""
    return [x.shape[0] if i == 0 and d == -1 else d for i, d in enumerate(a["shape"])]


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, x: function(x, dim=tuple(a["axes"]), keepdim=bool(a["keepdims"]))


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda a, *x: function(*x)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "dense": _plain(functional.linear),
    "matmul": _plain(torch.matmul),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "slice": _slice,
    "pad": _pad,
    "gather": _gather,
    "resize": _resize,
    "add": _plain(torch.add),
    "sub": _plain(torch.sub),
    "mul": _plain(torch.mul),
    "div": _plain(torch.div),
    "pow": _plain(torch.pow),
    "minimum": _plain(torch.minimum),
    "maximum": _plain(torch.maximum),
    "relu": _plain(functional.relu),
    "clip": lambda a, x: x.clamp(a["min"], a["max"]),
    "leaky_relu": lambda a, x: torch.where(x < 0, a["alpha"] * x, x),
    "prelu": lambda a, x, slope: torch.where(x < 0, slope * x, x),
    "elu": lambda a, x: torch.where(x < 0, a["alpha"] * torch.expm1(x.clamp(max=0)), x),
    "sigmoid": _plain(torch.sigmoid),
    "tanh": _plain(torch.tanh),
    "hard_sigmoid": lambda a, x: (a["alpha"] * x + a["beta"]).clamp(0, 1),
    "hard_swish": _plain(functional.hardswish),
    "silu": _plain(functional.silu),
    "gelu": lambda a, x: functional.gelu(x, approximate=a["approximate"]),
    "erf": _plain(torch.erf),
    "exp": _plain(torch.exp),
    "log": _plain(torch.log),
    "neg": _plain(torch.neg),
    "sqrt": _plain(torch.sqrt),
    "abs": _plain(torch.abs),
    "softplus": _plain(functional.softplus),
    "softmax": lambda a, x: torch.softmax(x, a["axis"]),
    "log_softmax": lambda a, x: torch.log_softmax(x, a["axis"]),
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "reduce_max": _reduce(torch.amax),
    "concat": lambda a, *x: torch.cat(x, a["axis"]),
    "reshape": lambda a, x: x.reshape(_shape(a, x)),
    "transpose": lambda a, x: x.permute(a["perm"]),
    "expand": lambda a, x: x.expand(np.broadcast_shapes(tuple(x.shape), tuple(_shape(a, x)))),
    "identity": lambda a, x: x,
    "cast": lambda a, x: x.to(getattr(torch, a["to"])),
    "quantize": lambda a, x: x,
    "dequantize": lambda a, x: x,
    "requantize": lambda a, x: x,
}

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "relu6": functional.relu6,
}

__all__ = ["ACTIVATIONS", "OPERATORS"]
