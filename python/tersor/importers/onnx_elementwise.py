"""ONNX operators that work on each element: activations, arithmetic, comparisons of known masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .onnx_node import OnnxNode, numpy_dtype
from .values import Constant, Operand, SampleBuilder, Value

Converter = Callable[[SampleBuilder, OnnxNode], Operand | list[Operand]]


def apply_unary(
    b: SampleBuilder,
    op: str,
    x: Operand,
    attributes: dict[str, Any] | None = None,
    name: str = "",
    output_name: str = "",
) -> Value:
    """A native operator of one operand in the arrangement that the operand has."""
    x = as_value(x, op)
    return Value(
        b.node(op, [x.edge], attributes, name, output_name),
        x.native,
        x.shape,
        x.batch,
        output_name,
    )


def apply_binary(
    b: SampleBuilder, op: str, x: Sequence[Operand], name: str = "", output_name: str = ""
) -> Value:
    """A native operator of two operands with broadcasting."""
    edges, result = b.broadcast(x, f"node {name!r} ({op})" if name else op)
    return result(b.node(op, edges, {}, name, output_name), output_name)


def as_value(x: Operand, what: str) -> Value:
    """A value that depends on the network's inputs."""
    if not isinstance(x, Value):
        raise UnsupportedError(
            f"{what} on constants only ({x.name!r}) cannot be evaluated at import"
        )
    return x


def scalar(value: float) -> Constant:
    """A float32 constant."""
    return Constant(np.asarray(value, np.float32), "scalar")


def unary(op: str, **attributes: tuple[str, float | str]) -> Converter:
    """A converter for a one-input operator; attributes: native name = (ONNX name, default)."""

    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        values = {
            native: node.real(name, default)
            if isinstance(default, float)
            else node.text(name, default)
            for native, (name, default) in attributes.items()
        }
        return apply_unary(b, op, node.operand(0), values, node.name, node.outputs[0])

    return convert


def binary(op: str) -> Converter:
    """A converter for an operator of two or more operands, applied from left to right."""

    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        result = node.operand(0)
        for i in range(1, len(node.inputs)):
            last = i + 1 == len(node.inputs)
            result = apply_binary(
                b,
                op,
                [result, node.operand(i)],
                node.name if last else "",
                node.outputs[0] if last else "",
            )
        return result

    return convert


def _alias(b: SampleBuilder, node: OnnxNode) -> Operand:
    return node.operand(0)


def _clip(b: SampleBuilder, node: OnnxNode) -> Operand:
    low, high = -math.inf, math.inf
    if node.opset < 11:
        low, high = node.real("min", low), node.real("max", high)
    else:
        given = [node.array(1), node.array(2)]
        low = low if given[0] is None else float(given[0].reshape(-1)[0])
        high = high if given[1] is None else float(given[1].reshape(-1)[0])
    if low == 0 and high == math.inf:
        return apply_unary(b, "relu", node.operand(0), {}, node.name, node.outputs[0])
    limit = float(np.finfo(np.float32).max)
    return apply_unary(
        b,
        "clip",
        node.operand(0),
        {"min": max(low, -limit), "max": min(high, limit)},
        node.name,
        node.outputs[0],
    )


def _cast(b: SampleBuilder, node: OnnxNode) -> Operand:
    if node.op == "CastLike":
        like = node.operand(1)
        target = (
            like.array.dtype
            if isinstance(like, Constant)
            else np.dtype(b.graph.edge(like.edge).dtype)
        )
        if isinstance(known := node.operand(0), Constant):
            wide = None if known.wide is None else known.wide.astype(target)
            return Constant(known.array.astype(target), known.name, known.origin, wide=wide)
    else:
        target = numpy_dtype(node.integer("to"), str(node))
    x = as_value(node.operand(0), str(node))
    source = str(b.graph.edge(x.edge).dtype)
    wanted = "float32" if target.kind == "f" or target.name == "bfloat16" else target.name
    if source == wanted:
        return x
    return apply_unary(b, "cast", x, {"to": wanted}, node.name, node.outputs[0])


def _mish(b: SampleBuilder, node: OnnxNode) -> Operand:
    gate = apply_unary(b, "tanh", apply_unary(b, "softplus", node.operand(0)))
    return apply_binary(b, "mul", [node.operand(0), gate], node.name, node.outputs[0])


def _reciprocal(b: SampleBuilder, node: OnnxNode) -> Operand:
    return apply_binary(b, "div", [scalar(1), node.operand(0)], node.name, node.outputs[0])


def _mean(b: SampleBuilder, node: OnnxNode) -> Operand:
    total = binary("add")(b, node) if len(node.inputs) > 1 else node.operand(0)
    assert not isinstance(total, list)
    return apply_binary(b, "mul", [total, scalar(1 / len(node.inputs))])


def _where(b: SampleBuilder, node: OnnxNode) -> Operand:
    """A choice by a known mask: x * keep + other; masking infinities stay an addend."""
    mask = node.array(0)
    assert mask is not None
    mask = mask.astype(bool)
    chosen, other = node.operand(1), node.operand(2)
    operands = [node.operand(0), chosen, other]
    b.common_batch(operands, max(len(o.shape) for o in operands), str(node))
    if isinstance(chosen, Value) and isinstance(other, Value):
        a = apply_binary(b, "mul", [chosen, Constant(mask.astype(np.float32), "mask")])
        c = apply_binary(b, "mul", [other, Constant((~mask).astype(np.float32), "mask")])
        return apply_binary(b, "add", [a, c], node.name, node.outputs[0])
    keep, x, constant = (
        (mask, chosen, other) if isinstance(chosen, Value) else (~mask, other, chosen)
    )
    assert isinstance(constant, Constant)
    x = as_value(x, str(node))
    fill = np.where(np.broadcast_arrays(keep, constant.array)[0], 0, constant.array).astype(
        np.float32
    )
    if not np.isneginf(
        fill[fill != 0]
    ).all():  # x + -inf needs no multiplication, and 0 * inf would be NaN
        x = apply_binary(b, "mul", [x, Constant(keep.astype(np.float32), "mask")])
    return apply_binary(b, "add", [x, Constant(fill, "mask")], node.name, node.outputs[0])


ELEMENTWISE: dict[str, Converter] = {
    "Abs": unary("abs"),
    "Add": binary("add"),
    "Cast": _cast,
    "CastLike": _cast,
    "Clip": _clip,
    "Div": binary("div"),
    "Dropout": _alias,
    "Elu": unary("elu", alpha=("alpha", 1.0)),
    "Erf": unary("erf"),
    "Exp": unary("exp"),
    "Gelu": unary("gelu", approximate=("approximate", "none")),
    "HardSigmoid": unary("hard_sigmoid", alpha=("alpha", 0.2), beta=("beta", 0.5)),
    "HardSwish": unary("hard_swish"),
    "Identity": _alias,
    "LeakyRelu": unary("leaky_relu", alpha=("alpha", 0.01)),
    "Log": unary("log"),
    "Max": binary("maximum"),
    "Mean": _mean,
    "Min": binary("minimum"),
    "Mish": _mish,
    "Mul": binary("mul"),
    "Neg": unary("neg"),
    "PRelu": binary("prelu"),
    "Pow": binary("pow"),
    "Reciprocal": _reciprocal,
    "Relu": unary("relu"),
    "Sigmoid": unary("sigmoid"),
    "Softplus": unary("softplus"),
    "Sqrt": unary("sqrt"),
    "Sub": binary("sub"),
    "Sum": binary("add"),
    "Tanh": unary("tanh"),
    "Where": _where,
}

__all__ = ["ELEMENTWISE", "Converter", "apply_binary", "apply_unary", "as_value", "scalar"]
