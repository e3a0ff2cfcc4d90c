"""What the emitters of TFLite operators share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .physical import Order, Physical

Emit = Callable[[Physical, Any], None]
_ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 3}  # ActivationFunctionType
SAME, VALID = 0, 1  # Padding


def refuse(node: Any, why: str) -> UnsupportedError:
    """The refusal of a layer that TFLite has no form for.

    Parameters
    ----------
    node : Node
    why : str

    Returns
    -------
    UnsupportedError
    """
    return UnsupportedError(f"export: layer {node.name!r} ({node.op}) has no TFLite form: {why}")


def activation(node: Any) -> int:
    """Code of the activation that is fused into a node."""
    return _ACTIVATIONS[node.attributes.get("activation", "none")]


def coded(p: Physical, node: Any) -> bool:
    """Whether a node computes on codes."""
    return p.edges[node.outputs[0]].qparams is not None


def version(p: Physical, node: Any, on_codes: int = 2) -> int:
    """Version of an operator whose int8 form came later than its float form."""
    return on_codes if coded(p, node) else 1


def result(p: Physical, node: Any, order: Order | None = None) -> tuple[int, Order]:
    """Add the tensor of a node's output in an order and bind it."""
    out = node.outputs[0]
    order = p.identity(out) if order is None else order
    tensor = p.like(out, p.shape(out, order))
    p.bind(out, tensor, order)
    return tensor, order


def joint_order(p: Physical, node: Any) -> Order:
    """The order of an element-wise node: of the largest input that is not channels first."""
    out = node.outputs[0]
    rank = len(p.edges[out].shape)
    orders = [p.order_of(i) for i in node.inputs if i in p.homes and len(p.edges[i].shape) == rank]
    natural = p.identity(out)
    full = [
        p.order_of(i)
        for i in node.inputs
        if i in p.homes and p.edges[i].shape == p.edges[out].shape
    ]
    moved = [order for order in (*full, *orders) if order != natural]
    return moved[0] if moved else natural


def operand(p: Physical, edge: int, order: Order) -> int:
    """An operand of an element-wise node: broadcast to the rank of `order`, in that order."""
    rank = len(order)
    e = p.edges[edge]
    if e.is_constant:
        array = p.array(edge, order, rank)
        while array.ndim and array.shape[0] == 1:
            array = array[0]
        quantization = {}
        if e.qparams is not None:
            quantization = {
                "scale": np.asarray(e.qparams.scale, np.float32),
                "zero_point": np.asarray(e.qparams.zero_point, np.int64),
            }
        elif array.dtype.name in ("float16", "bfloat16"):
            array = array.astype(np.float32)
        return p.constant(array, e.name, **quantization)
    if len(e.shape) == rank:
        return p.ask(edge, order)
    tensor = p.ask(edge)
    shape = p.shape(edge, p.identity(edge))
    wide = (1,) * (rank - len(shape)) + shape
    tensor = p.reshaped(tensor, wide, e.name)
    if [i for i in order if wide[i] != 1] == [i for i in range(rank) if wide[i] != 1]:
        return p.reshaped(tensor, [wide[i] for i in order], e.name)
    moved = p.like(edge, [wide[i] for i in order])
    return p.operator(
        "TRANSPOSE", [tensor, p.integers(order, "permutation")], moved, 1, "Transpose"
    )


def unary(p: Physical, name: str, x: int, options: str = "", v: int = 1, **fields: Any) -> int:
    """Append a float operator of one tensor, of the same shape."""
    y = p.floats(p.model.tensors[x].shape, f"{p.model.tensors[x].name}/{name.lower()}")
    return p.operator(name, [x], y, v, options, **fields)


def binary(p: Physical, name: str, x: int, y: int | float, options: str = "", **fields: Any) -> int:
    """Append a float operator of a tensor and another one, or a number."""
    if isinstance(y, float):
        y = p.constant(np.asarray(y, np.float32), "number")
    shapes = [p.model.tensors[i].shape for i in (x, y)]
    shape = max(shapes, key=lambda s: (len(s), math.prod(abs(d) for d in s)))
    z = p.floats(shape, f"{p.model.tensors[x].name}/{name.lower()}")
    return p.operator(name, [x, y], z, 1, options or _ARITHMETIC.get(name, ""), **fields)


_ARITHMETIC = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div",
    "MINIMUM": "MaximumMinimum", "MAXIMUM": "MaximumMinimum",
}  # fmt: skip


def on_floats(body: Callable[[Physical, Any, int], int]) -> Emit:
    """A function of one value: `body` appends it on floats; codes are converted around it."""

    def emit(p: Physical, node: Any) -> None:
        x, out = node.inputs[0], node.outputs[0]
        order = p.order_of(x)
        tensor = p.ask(x, order)
        if not coded(p, node):
            finish(p, node, body(p, node, tensor), order)
            return
        real = p.floats(p.model.tensors[tensor].shape, f"{p.edges[x].name}/real")
        p.operator("DEQUANTIZE", [tensor], real, 2, "Dequantize")
        y = body(p, node, real)
        codes = p.like(out, p.shape(out, order))
        p.operator("QUANTIZE", [y], codes, 1, "Quantize")
        p.bind(out, codes, order)

    return emit


def finish(p: Physical, node: Any, tensor: int, order: Order) -> None:
    """Make a float tensor the output of a node."""
    out = node.outputs[0]
    made = p.model.tensors[tensor]
    made.shape = p.shape(out, order)
    made.name = p.name(p.edges[out].name)
    p.bind(out, tensor, order)


def windows(node: Any, name: str, rank: int, default: int) -> list[int]:
    """A list attribute of a spatial node; an empty one stands for the default."""
    values = [int(v) for v in node.attributes.get(name) or []]
    return values or [default] * rank


def padding_of(
    sizes: Sequence[int],
    outputs: Sequence[int],
    reach: Sequence[int],
    strides: Sequence[int],
    begins: Sequence[int],
) -> tuple[int | None, list[tuple[int, int]]]:
    """SAME or VALID where one of them is meant, else None; and the padding that is used."""
    ends = [
        max(0, (o - 1) * s + r - d - b)
        for d, o, r, s, b in zip(sizes, outputs, reach, strides, begins, strict=True)
    ]
    used = list(zip(begins, ends, strict=True))
    if not any(b or e for b, e in used):
        return VALID, used
    same = all(
        o == -(-d // s) and b == max(0, (o - 1) * s + r - d) // 2
        for d, o, r, s, b in zip(sizes, outputs, reach, strides, begins, strict=True)
    )
    return (SAME if same else None), used


__all__ = [
    "SAME", "VALID", "Emit", "activation", "binary", "coded", "finish", "joint_order", "on_floats",
    "operand", "padding_of", "refuse", "result", "unary", "version", "windows",
]  # fmt: skip
