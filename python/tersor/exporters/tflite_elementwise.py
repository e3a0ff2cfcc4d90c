"""TFLite operators that work on each element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .physical import Physical
from .tflite_emit import (
    Emit,
    activation,
    binary,
    coded,
    joint_order,
    on_floats,
    operand,
    refuse,
    result,
    unary,
    version,
)


def _binary(name: str, options: str) -> Emit:
    def emit(p: Physical, node: Any) -> None:
        order = joint_order(p, node)
        inputs = [operand(p, i, order) for i in node.inputs]
        y, _ = result(p, node, order)
        fields = {}
        if "activation" in node.attributes:
            fields["FusedActivationFunction"] = activation(node)
        p.operator(name, inputs, y, version(p, node), options, **fields)

    return emit


def _kept(name: str, options: str = "", on_codes: int = 2, **fields: str) -> Emit:
    """An operator that TFLite has for floats and codes."""

    def emit(p: Physical, node: Any) -> None:
        x = node.inputs[0]
        order = p.order_of(x)
        tensor = p.ask(x, order)
        y, _ = result(p, node, order)
        given = {theirs: node.attributes[ours] for theirs, ours in fields.items()}
        p.operator(name, [tensor], y, version(p, node, on_codes), options, **given)

    return emit


def _float(name: str, options: str = "") -> Emit:
    return on_floats(lambda p, node, x: unary(p, name, x, options))


def _clip(p: Physical, node: Any, x: int) -> int:
    low, high = node.attributes["min"], node.attributes["max"]
    ready = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 1.0): "RELU_0_TO_1"}
    if (low, high) in ready:
        return unary(p, ready[low, high], x)
    return binary(p, "MINIMUM", binary(p, "MAXIMUM", x, float(low)), float(high))


def _hard_sigmoid(p: Physical, node: Any, x: int) -> int:
    scaled = binary(p, "MUL", x, float(node.attributes["alpha"]))
    return unary(p, "RELU_0_TO_1", binary(p, "ADD", scaled, float(node.attributes["beta"])))


def _silu(p: Physical, node: Any, x: int) -> int:
    return binary(p, "MUL", x, unary(p, "LOGISTIC", x))


def _softplus(p: Physical, node: Any, x: int) -> int:
    """max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    small = unary(p, "EXP", unary(p, "NEG", unary(p, "ABS", x, "Abs"), "Neg"), "Exp")
    tail = unary(p, "LOG", binary(p, "ADD", small, 1.0))
    return binary(p, "ADD", unary(p, "RELU", x), tail)


def _elu(p: Physical, node: Any, x: int) -> int:
    alpha = float(node.attributes["alpha"])
    if alpha == 1:
        return unary(p, "ELU", x)
    below = unary(p, "EXP", binary(p, "MINIMUM", x, 0.0), "Exp")
    scaled = binary(p, "MUL", binary(p, "SUB", below, 1.0), alpha)
    return binary(p, "ADD", unary(p, "RELU", x), scaled)


def _gelu(p: Physical, node: Any, x: int) -> int:
    shape = p.model.tensors[x].shape
    y = p.floats(shape, f"{node.name}/gelu")
    tanh = node.attributes["approximate"] == "tanh"
    return p.operator("GELU", [x], y, 1, "Gelu", Approximate=tanh)


def _prelu(p: Physical, node: Any) -> None:
    x, slope = node.inputs
    order = joint_order(p, node)
    inputs = [p.ask(x, order), operand(p, slope, order)]
    y, _ = result(p, node, order)
    p.operator("PRELU", inputs, y)


def _layer_norm(p: Physical, node: Any) -> None:
    source, gamma, *beta = node.inputs
    e = p.edges[source]
    shape = p.shape(source, p.identity(source))
    axis = int(node.attributes["axis"]) % len(shape)
    axes = p.integers(range(axis, len(shape)), "axes")
    means = (*shape[:axis], *[1] * (len(shape) - axis))
    x = p.ask(source)

    def mean(of: int, name: str) -> int:
        made = p.floats(means, f"{e.name}/{name}")
        return p.operator("MEAN", [of, axes], made, 1, "Reducer", KeepDims=True)

    centered = p.floats(shape, f"{e.name}/centered")
    p.operator("SUB", [x, mean(x, "mean")], centered, 1, "Sub")
    squared = binary(p, "MUL", centered, centered)
    wide = binary(p, "ADD", mean(squared, "variance"), float(node.attributes["epsilon"]))
    factor = unary(p, "RSQRT", wide)
    normal = p.floats(shape, f"{e.name}/normal")
    p.operator("MUL", [centered, factor], normal, 1, "Mul")
    y, _ = result(p, node)
    g = operand(p, gamma, p.identity(source))
    if not beta or beta[0] < 0:
        p.operator("MUL", [normal, g], y, 1, "Mul")
        return
    scaled = p.floats(shape, f"{e.name}/scaled")
    p.operator("MUL", [normal, g], scaled, 1, "Mul")
    p.operator("ADD", [scaled, operand(p, beta[0], p.identity(source))], y, 1, "Add")


def _cast(p: Physical, node: Any) -> None:
    x, out = node.inputs[0], node.outputs[0]
    order = p.order_of(x)
    tensor = p.ask(x, order)
    types = [_type(p, node, i) for i in (x, out)]
    y, _ = result(p, node, order)
    p.operator("CAST", [tensor], y, 1, "Cast", InDataType=types[0], OutDataType=types[1])


def _type(p: Physical, node: Any, edge: int) -> int:
    from .tflite_writer import require_tflite

    name = str(p.edges[edge].dtype).upper()
    code = getattr(require_tflite().TensorType, name, None)
    if code is None:
        raise refuse(node, f"the type {name.lower()}")
    return int(code)


def _convert(name: str, options: str) -> Emit:
    """QUANTIZE and DEQUANTIZE."""

    def emit(p: Physical, node: Any) -> None:
        x, out = node.inputs[0], node.outputs[0]
        if p.edges[x].is_constant:
            order = p.identity(x)
            tensor = p.weight(x, lambda a: a, 0)
        else:
            order = p.order_of(x)
            tensor = p.ask(x, order)
        y, _ = result(p, node, order)
        q: Any = p.edges[x].qparams or p.edges[out].qparams
        if len(q.scale) > 1:
            raise refuse(node, "activations with several scales")
        v = 2 if p.edges[x].qparams is not None else 1
        p.operator(name, [tensor], y, v, options)

    return emit


def _refused(why: str) -> Emit:
    def emit(p: Physical, node: Any) -> None:
        raise refuse(node, why)

    return emit


def _on_codes(kept: Emit, otherwise: Emit) -> Callable[[Physical, Any], None]:
    """`kept` for codes, `otherwise` for floats."""

    def emit(p: Physical, node: Any) -> None:
        (kept if coded(p, node) else otherwise)(p, node)

    return emit


ELEMENTWISE: dict[str, Emit] = {
    "abs": _float("ABS", "Abs"),
    "add": _binary("ADD", "Add"),
    "cast": _cast,
    "clip": on_floats(_clip),
    "dequantize": _convert("DEQUANTIZE", "Dequantize"),
    "div": _binary("DIV", "Div"),
    "elu": on_floats(_elu),
    "erf": _refused("TFLite has no error function; gelu it has"),
    "exp": _float("EXP", "Exp"),
    "gelu": on_floats(_gelu),
    "hard_sigmoid": on_floats(_hard_sigmoid),
    "hard_swish": _on_codes(_kept("HARD_SWISH", on_codes=1), _float("HARD_SWISH")),
    "layer_norm": _layer_norm,
    "leaky_relu": _kept("LEAKY_RELU", "LeakyRelu", Alpha="alpha"),
    "log": _float("LOG"),
    "maximum": _binary("MAXIMUM", "MaximumMinimum"),
    "minimum": _binary("MINIMUM", "MaximumMinimum"),
    "mul": _binary("MUL", "Mul"),
    "neg": _float("NEG", "Neg"),
    "pow": _binary("POW", "Pow"),
    "prelu": _prelu,
    "quantize": _convert("QUANTIZE", "Quantize"),
    "relu": _kept("RELU"),
    "requantize": _convert("QUANTIZE", "Quantize"),
    "sigmoid": _kept("LOGISTIC"),
    "silu": on_floats(_silu),
    "softplus": on_floats(_softplus),
    "sqrt": _float("SQRT"),
    "sub": _binary("SUB", "Sub"),
    "tanh": _kept("TANH"),
}

__all__ = ["ELEMENTWISE"]
