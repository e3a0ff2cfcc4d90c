"""TFLite operators without weights: element-wise ones, reductions, and those that move values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .tflite_layers import Converter, activation, matched, same_parameters
from .tflite_reader import FileOperator
from .tflite_values import BATCH, Known, TfliteBuilder, Value, qparams


def _name(b: TfliteBuilder, operator: FileOperator) -> str:
    return b.output(operator).name or f"{operator.op.lower()}_{operator.index}"


TIES: dict[str, Any] = {"ties": "away"}  # how TFLite rounds floats to codes


def _real(b: TfliteBuilder, x: Value) -> Value:
    if x.parameters is None:
        return x
    return Value(b.node("dequantize", [x.edge], {}, ""), x.order, x.shape)


def _give(
    b: TfliteBuilder, operator: FileOperator, edge: int, order: tuple[int, ...], parameters: Any
) -> None:
    """Bind an output; a float edge that the file has as codes is quantized."""
    if parameters is not None and b.graph.edge(edge).qparams is None:
        edge = b.node("quantize", [edge], TIES, "", parameters)
    b.bind(operator, edge, order)


def _function(op: str, native: bool = True, **fields: str) -> Converter:
    """One value at a time; `native`: the graph has it on codes."""

    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        x = b.value(operator)
        parameters = b.parameters(b.output(operator), str(operator))
        attributes: dict[str, Any] = {k: float(operator.option(f)) for k, f in fields.items()}
        if not native or (x.parameters is None) != (parameters is None):
            x = _real(b, x)
        on_codes = parameters if x.parameters is not None else None
        edge = b.node(op, [x.edge], attributes, _name(b, operator), on_codes)
        _give(b, operator, edge, x.order, parameters)

    return convert


def _clip(low: float, high: float) -> Converter:
    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        x = b.value(operator)
        parameters = b.parameters(b.output(operator), str(operator))
        limits = {"min": low, "max": high}
        edge = b.node("clip", [x.edge], limits, _name(b, operator), parameters)
        b.bind(operator, edge, x.order)

    return convert


def _gelu(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    parameters = b.parameters(b.output(operator), str(operator))
    attributes = {"approximate": "tanh" if operator.option("Approximate", False) else "none"}
    edge = b.node("gelu", [x.edge], attributes, _name(b, operator), parameters)
    b.bind(operator, edge, x.order)


def _square(b: TfliteBuilder, operator: FileOperator) -> None:
    x = _real(b, b.value(operator))
    parameters = b.parameters(b.output(operator), str(operator))
    edge = b.node("mul", [x.edge, x.edge], {}, _name(b, operator))
    _give(b, operator, edge, x.order, parameters)


def _rsqrt(b: TfliteBuilder, operator: FileOperator) -> None:
    x = _real(b, b.value(operator))
    parameters = b.parameters(b.output(operator), str(operator))
    root = b.node("sqrt", [x.edge], {}, "")
    one = b.constant(np.asarray(1, np.float32), "one")
    edge = b.node("div", [one, root], {}, _name(b, operator))
    _give(b, operator, edge, x.order, parameters)


def _binary(op: str, native: bool = True) -> Converter:
    """Two values that broadcast; `native`: the graph has it on codes."""

    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        operands = [b.operand(operator, 0), b.operand(operator, 1)]
        values = [x for x in operands if isinstance(x, Value)]
        if not values:
            raise UnsupportedError(f"{operator}: all of its inputs are constant")
        parameters = b.parameters(b.output(operator), str(operator))
        codes = native and parameters is not None and all(v.parameters for v in values)
        rank = max(len(x.shape) for x in operands)
        full = [v for v in values if len(v.shape) == rank]
        largest = max(full, key=lambda v: math.prod(map(abs, v.shape)), default=None)
        order = tuple(range(rank)) if largest is None else largest.order
        edges = [_operand(b, operator, x, order, codes) for x in operands]
        attributes = {}
        if op in ("add", "sub", "mul", "div"):
            attributes["activation"] = activation(operator)
        edge = b.node(op, edges, attributes, _name(b, operator), parameters if codes else None)
        if op == "sub" and operator.op == "SQUARED_DIFFERENCE":
            edge = b.node("mul", [edge, edge], {}, "")
        _give(b, operator, edge, order, parameters)

    return convert


def _operand(
    b: TfliteBuilder, operator: FileOperator, x: Any, order: tuple[int, ...], codes: bool
) -> int:
    """An edge that broadcasts against others in `order`."""
    rank = len(order)
    if isinstance(x, Known):
        t = x.tensor
        array = x.array if codes else b.floats(x)
        parameters = None
        if codes:
            if array.dtype != np.int8 or t.scale is None or len(t.scale) != 1:
                raise UnsupportedError(f"{operator}: constant {t.name!r} must be int8, one scale")
            parameters = qparams(t.scale, t.zero_point)
        array = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(order)
        while array.ndim and array.shape[0] == 1:
            array = array[0]
        return b.constant(array, t.name, parameters)
    if not codes:
        x = _real(b, x)
    if len(x.shape) == rank:
        return b.edge(x, order)
    edge = b.natural(x)
    if b.batched:
        raise UnsupportedError(f"{operator}: operands of ranks {len(x.shape)} and {rank}")
    wide = [1] * (rank - len(x.shape)) + list(x.shape)
    edge = b.node("reshape", [edge], {"shape": wide}, "", x.parameters)
    return b.edge(Value(edge, tuple(range(rank)), tuple(wide), x.parameters), order)


def _softmax(op: str) -> Converter:
    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        x = b.value(operator)
        parameters = b.parameters(b.output(operator), str(operator))
        if op == "softmax" and operator.option("Beta", 1.0) != 1.0:
            raise UnsupportedError(f"{operator}: beta must be 1")
        if op == "log_softmax" or (x.parameters is None) != (parameters is None):
            x = _real(b, x)
        axis = x.order.index(len(x.shape) - 1)
        on_codes = parameters if x.parameters is not None else None
        edge = b.node(op, [x.edge], {"axis": axis}, _name(b, operator), on_codes)
        _give(b, operator, edge, x.order, parameters)

    return convert


def _axes(operator: FileOperator, axes: Sequence[int], rank: int) -> list[int]:
    if any(not -rank <= a < rank for a in axes):
        raise ImportFormatError(f"{operator}: axes {list(axes)} do not exist in {rank} dimensions")
    return sorted({a % rank for a in axes})


def _apart(b: TfliteBuilder, operator: FileOperator, axes: Sequence[int]) -> None:
    if b.batched and 0 in axes:
        raise UnsupportedError(f"{operator}: it brings the samples of a batch together")


def _reduce(op: str) -> Converter:
    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        x = b.value(operator)
        parameters = b.parameters(b.output(operator), str(operator))
        if op == "reduce_sum":
            x = _real(b, x)
        elif op == "reduce_max":
            x = matched(b, operator, x, parameters)
        axes = _axes(operator, b.integers(operator, 1), len(x.shape))
        _apart(b, operator, axes)
        keep = bool(operator.option("KeepDims", False))
        attributes = {"axes": sorted(x.order.index(a) for a in axes), "keepdims": int(keep)}
        on_codes = parameters if x.parameters is not None else None
        edge = b.node(op, [x.edge], attributes, _name(b, operator), on_codes)
        order = x.order
        if not keep:
            rest = [a for a in range(len(x.shape)) if a not in axes]
            order = tuple(rest.index(a) for a in x.order if a in rest)
        _give(b, operator, edge, order, parameters)

    return convert


def _reshape(b: TfliteBuilder, operator: FileOperator) -> None:
    parameters = b.parameters(b.output(operator), str(operator))
    x = matched(b, operator, b.value(operator), parameters)
    shape = [abs(d) if d != -1 else 1 for d in b.output(operator).shape]
    if b.batched:
        if not shape or shape[0] != 1:
            raise UnsupportedError(f"{operator}: it brings the samples of a batch together")
        shape[0] = BATCH
    if math.prod(map(abs, shape)) != math.prod(map(abs, x.shape)):
        raise ImportFormatError(f"{operator}: {x.shape} does not fit {tuple(shape)}")
    edge = b.node("reshape", [b.natural(x)], {"shape": shape}, _name(b, operator), parameters)
    b.bind(operator, edge, tuple(range(len(shape))))


def _transpose(b: TfliteBuilder, operator: FileOperator) -> None:
    parameters = b.parameters(b.output(operator), str(operator))
    x = matched(b, operator, b.value(operator), parameters)
    perm = b.integers(operator, 1)
    if sorted(perm) != list(range(len(x.shape))):
        raise ImportFormatError(f"{operator}: {perm} is no permutation of {x.shape}")
    if b.batched and perm[0] != 0:
        raise UnsupportedError(f"{operator}: it moves the batch")
    b.bind(operator, x.edge, tuple(perm.index(a) for a in x.order))


def _concat(b: TfliteBuilder, operator: FileOperator) -> None:
    parameters = b.parameters(b.output(operator), str(operator))
    operands = [b.operand(operator, i) for i in range(len(operator.inputs))]
    values = [x for x in operands if isinstance(x, Value)]
    if not values or activation(operator) != "none":
        raise UnsupportedError(f"{operator}: constants alone or a fused activation")
    order, rank = values[0].order, len(values[0].shape)
    (axis,) = _axes(operator, [operator.option("Axis", 0)], rank)
    _apart(b, operator, [axis])
    edges = []
    for x in operands:
        if isinstance(x, Known):
            raise UnsupportedError(f"{operator}: a constant among its inputs")
        edges.append(b.edge(matched(b, operator, x, parameters), order))
    attributes = {"axis": order.index(axis)}
    edge = b.node("concat", edges, attributes, _name(b, operator), parameters)
    b.bind(operator, edge, order)


def _cut(
    b: TfliteBuilder, operator: FileOperator, begin: list[int], end: list[int], step: list[int]
) -> tuple[int, Value]:
    parameters = b.parameters(b.output(operator), str(operator))
    x = matched(b, operator, b.value(operator), parameters)
    axes = [
        i for i, d in enumerate(x.shape)
        if (begin[i], end[i], step[i]) != (0, abs(d) if d != BATCH else 1, 1)
    ]  # fmt: skip
    _apart(b, operator, axes)
    if any(step[i] < 1 for i in axes):
        raise UnsupportedError(f"{operator}: steps must be positive, got {step}")
    if not axes:
        return x.edge, x
    attributes = {
        "axes": [x.order.index(i) for i in axes],
        "starts": [begin[i] for i in axes],
        "ends": [end[i] for i in axes],
        "steps": [step[i] for i in axes],
    }
    return b.node("slice", [x.edge], attributes, _name(b, operator), parameters), x


def _slice(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    begin, size = b.integers(operator, 1), b.integers(operator, 2)
    if not len(begin) == len(size) == len(x.shape):
        raise ImportFormatError(f"{operator}: {begin} and {size} do not fit {x.shape}")
    full = [1 if d == BATCH else d for d in x.shape]
    end = [d if s == -1 else i + s for i, s, d in zip(begin, size, full, strict=True)]
    edge, x = _cut(b, operator, begin, end, [1] * len(full))
    b.bind(operator, edge, x.order)


def _strided_slice(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    begin, end, step = (b.integers(operator, i) for i in (1, 2, 3))
    rank = len(x.shape)
    if not len(begin) == len(end) == len(step) == rank:
        raise UnsupportedError(f"{operator}: limits must be given for all {rank} dimensions")
    if operator.option("EllipsisMask", 0) or operator.option("NewAxisMask", 0):
        raise UnsupportedError(f"{operator}: ellipses and new axes are not supported")
    masks = [operator.option(f"{m}Mask", 0) for m in ("Begin", "End", "ShrinkAxis")]
    full = [1 if d == BATCH else d for d in x.shape]
    for i, d in enumerate(full):
        first = begin[i] + d if begin[i] < 0 else begin[i]
        last = end[i] + d if end[i] < 0 else end[i]
        first = 0 if masks[0] >> i & 1 else min(max(first, 0), d)
        last = d if masks[1] >> i & 1 else min(max(last, 0), d)
        if masks[2] >> i & 1:
            last = first + 1
        begin[i], end[i] = first, last
    edge, x = _cut(b, operator, begin, end, step)
    shrunk = [i for i in range(rank) if masks[2] >> i & 1]
    if not shrunk:
        b.bind(operator, edge, x.order)
        return
    _apart(b, operator, shrunk)
    sizes = [-(-(e - s) // t) for s, e, t in zip(begin, end, step, strict=True)]
    value = Value(edge, x.order, (x.shape[0], *sizes[1:]) if b.batched else tuple(sizes))
    value.parameters = x.parameters
    shape = [d for i, d in enumerate(value.shape) if i not in shrunk]
    edge = b.node("reshape", [b.natural(value)], {"shape": shape}, "", x.parameters)
    b.bind(operator, edge, tuple(range(len(shape))))


def _pad(b: TfliteBuilder, operator: FileOperator) -> None:
    parameters = b.parameters(b.output(operator), str(operator))
    x = matched(b, operator, b.value(operator), parameters)
    pads = b.integers(operator, 1)
    rank = len(x.shape)
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise ImportFormatError(f"{operator}: pads {pads} do not fit {x.shape}")
    _apart(b, operator, [i for i in range(rank) if pads[2 * i] or pads[2 * i + 1]])
    attributes: dict[str, Any] = {
        "pads": [pads[2 * i] for i in x.order] + [pads[2 * i + 1] for i in x.order],
    }
    if operator.op == "MIRROR_PAD":
        if operator.option("Mode", 0) != 0:
            raise UnsupportedError(f"{operator}: symmetric padding is not supported")
        attributes["mode"] = "reflect"
    elif operator.op == "PADV2":
        attributes["value"] = float(b.floats(b.known(operator, 2)).reshape(-1)[0])
    edge = b.node("pad", [x.edge], attributes, _name(b, operator), parameters)
    b.bind(operator, edge, x.order)


def _gather(b: TfliteBuilder, operator: FileOperator) -> None:
    data, index = b.operand(operator, 0), b.operand(operator, 1)
    if operator.option("BatchDims", 0):
        raise UnsupportedError(f"{operator}: batch dimensions are not supported")
    (axis,) = _axes(operator, [operator.option("Axis", 0)], len(data.shape))
    parameters = b.parameters(b.output(operator), str(operator))
    if isinstance(data, Known):
        if isinstance(index, Known) or axis or parameters is not None:
            raise UnsupportedError(f"{operator}: this lookup in a constant is not supported")
        edges = [b.constant(b.floats(data), data.tensor.name), b.natural(index)]
    else:
        _apart(b, operator, [axis])
        if isinstance(index, Value):
            raise UnsupportedError(f"{operator}: computed indices are not supported")
        chosen = index.array.astype(np.int64)
        if chosen.size and not -data.shape[axis] <= chosen.min() <= chosen.max() < data.shape[axis]:
            raise ImportFormatError(f"{operator}: indices beyond axis {axis} of {data.shape}")
        x = matched(b, operator, data, parameters)
        edges = [b.natural(x), b.constant(chosen, index.tensor.name)]
    edge = b.node("gather", edges, {"axis": axis}, _name(b, operator), parameters)
    b.bind(operator, edge, tuple(range(len(b.graph.edge(edge).shape))))


def _quantize(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    parameters = b.parameters(b.output(operator), str(operator))
    if parameters is None:
        raise UnsupportedError(f"{operator}: its output must be int8")
    if x.parameters is not None and same_parameters(x.parameters, parameters):
        b.bind(operator, x.edge, x.order)
        return
    op, how = ("quantize", TIES) if x.parameters is None else ("requantize", {})
    edge = b.node(op, [x.edge], how, _name(b, operator), parameters)
    b.bind(operator, edge, x.order)


def _dequantize(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.operand(operator, 0)
    if isinstance(x, Known):  # a weight that is stored narrow
        b.values[operator.outputs[0]] = Known(x.array, x.tensor, True)
        return
    if x.parameters is None:
        raise UnsupportedError(f"{operator}: its input must be int8")
    b.bind(operator, b.node("dequantize", [x.edge], {}, _name(b, operator)), x.order)


def _cast(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    to = b.output(operator).dtype
    if x.parameters is not None or to not in ("float32", "int32", "int64", "bool"):
        raise UnsupportedError(f"{operator}: a cast to {to}")
    edge = b.node("cast", [x.edge], {"to": to}, _name(b, operator))
    b.bind(operator, edge, x.order)


Table = dict[str, Callable[[TfliteBuilder, FileOperator], None]]

OPERATORS: Table = {
    "ABS": _function("abs"),
    "ADD": _binary("add"),
    "CAST": _cast,
    "CONCATENATION": _concat,
    "DEQUANTIZE": _dequantize,
    "DIV": _binary("div", native=False),
    "ELU": _function("elu"),
    "EXP": _function("exp"),
    "EXPAND_DIMS": _reshape,
    "GATHER": _gather,
    "GELU": _gelu,
    "HARD_SWISH": _function("hard_swish"),
    "LEAKY_RELU": _function("leaky_relu", alpha="Alpha"),
    "LOG": _function("log", native=False),
    "LOGISTIC": _function("sigmoid"),
    "LOG_SOFTMAX": _softmax("log_softmax"),
    "MAXIMUM": _binary("maximum", native=False),
    "MEAN": _reduce("reduce_mean"),
    "MINIMUM": _binary("minimum", native=False),
    "MIRROR_PAD": _pad,
    "MUL": _binary("mul"),
    "NEG": _function("neg"),
    "PAD": _pad,
    "PADV2": _pad,
    "POW": _binary("pow", native=False),
    "PRELU": _binary("prelu", native=False),
    "QUANTIZE": _quantize,
    "REDUCE_MAX": _reduce("reduce_max"),
    "RELU": _function("relu"),
    "RELU6": _clip(0.0, 6.0),
    "RELU_0_TO_1": _clip(0.0, 1.0),
    "RELU_N1_TO_1": _clip(-1.0, 1.0),
    "RESHAPE": _reshape,
    "RSQRT": _rsqrt,
    "SLICE": _slice,
    "SOFTMAX": _softmax("softmax"),
    "SQRT": _function("sqrt", native=False),
    "SQUARE": _square,
    "SQUARED_DIFFERENCE": _binary("sub", native=False),
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _binary("sub"),
    "SUM": _reduce("reduce_sum"),
    "TANH": _function("tanh"),
    "TRANSPOSE": _transpose,
}

__all__ = ["OPERATORS"]
