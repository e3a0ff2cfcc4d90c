"""TFLite operators with weights or windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .tflite_reader import FileOperator
from .tflite_values import BATCH, Known, TfliteBuilder, Value, channels_first, qparams

Converter = Callable[[TfliteBuilder, FileOperator], None]
_ACTIVATIONS = {0: "none", 1: "relu", 3: "relu6"}
_LARGEST = 1 << 20  # strides and windows beyond this are hostile, not networks


def activation(operator: FileOperator) -> str:
    """The activation that is fused into an operator."""
    code = operator.option("FusedActivationFunction", 0)
    if code not in _ACTIVATIONS:
        raise UnsupportedError(f"{operator}: fused activation {code} is not supported")
    return _ACTIVATIONS[code]


def matched(b: TfliteBuilder, operator: FileOperator, x: Value, parameters: Any) -> Value:
    """`x` with parameters that its output must share; codes and floats must not meet."""
    if (x.parameters is None) != (parameters is None):
        raise UnsupportedError(f"{operator}: its input is {'not ' * (x.parameters is None)}int8")
    if parameters is None or same_parameters(x.parameters, parameters):
        return x
    edge = b.node("requantize", [x.edge], {}, "", parameters)
    return Value(edge, x.order, x.shape, parameters)


def same_parameters(a: Any, b: Any) -> bool:
    """Whether two activations have the same scale and zero point."""
    return bool(a.scale[0] == b.scale[0] and a.zero_point[0] == b.zero_point[0])


def _positive(operator: FileOperator, *values: int) -> list[int]:
    if any(not 1 <= v <= _LARGEST for v in values):
        raise ImportFormatError(f"{operator}: strides and windows must be positive, got {values}")
    return [int(v) for v in values]


def _pads(
    operator: FileOperator, x: Value, window: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """Begins, then ends, of height and width."""
    padding = operator.option("Padding", 0)
    if padding == 1:
        return [0, 0, 0, 0]
    if padding != 0:
        raise ImportFormatError(f"{operator}: padding {padding} is unknown")
    begins, ends = [], []
    for d, k, s, e in zip(x.shape[1:3], window, strides, dilations, strict=True):
        total = max(0, (-(-d // s) - 1) * s + e * (k - 1) + 1 - d)
        begins.append(total // 2)
        ends.append(total - total // 2)
    return begins + ends


def _image(b: TfliteBuilder, operator: FileOperator, index: int = 0) -> tuple[Value, int]:
    x = b.value(operator, index)
    if len(x.shape) != 4:
        raise ImportFormatError(f"{operator}: input must have 4 dimensions, got {x.shape}")
    return x, b.edge(x, channels_first(4))


def _weight(
    b: TfliteBuilder, operator: FileOperator, index: int, arrange: Callable[[Any], NDArray[Any]],
    x: Value, axes: dict[int, int],
) -> tuple[int, Known]:  # fmt: skip
    """Add a weight; `axes`: axis of the scales in the file -> in the graph."""
    w = b.known(operator, index)
    t = w.tensor
    codes = w.array.dtype == np.int8 and t.scale is not None
    held = codes and (x.parameters is not None or w.wide)
    if x.parameters is not None and not codes:
        raise UnsupportedError(f"{operator}: its weight {t.name!r} must be int8 with parameters")
    if not held:
        array = w.array if w.array.dtype == np.float16 else b.floats(w)
        return b.constant(arrange(array), t.name), w
    assert t.scale is not None
    assert t.zero_point is not None
    if t.zero_point.any():
        if x.parameters is not None:
            raise UnsupportedError(f"{operator}: zero points of weights must be 0")
        return b.constant(arrange(b.floats(w)), t.name), w
    axis = -1
    if len(t.scale) > 1:
        if t.axis not in axes:
            raise UnsupportedError(f"{operator}: scales of weights along axis {t.axis}")
        axis = axes[t.axis]
    narrow = bool(w.array.size) and int(w.array.min()) > -128
    parameters = qparams(t.scale, t.zero_point, axis, narrow=narrow)
    return b.constant(arrange(w.array), t.name, parameters), w


def _bias(b: TfliteBuilder, operator: FileOperator, index: int, x: Value, w: Known) -> list[int]:
    bias = b.optional(operator, index)
    if bias is None:
        return []
    if isinstance(bias, Value):
        raise UnsupportedError(f"{operator}: its bias must be constant")
    array = bias.array.reshape(-1)
    if x.parameters is None:
        return [b.constant(b.floats(bias).reshape(-1), bias.tensor.name)]
    if array.dtype != np.int32:
        raise UnsupportedError(f"{operator}: its bias must be int32, got {array.dtype}")
    assert w.tensor.scale is not None
    expected = np.float32(x.parameters.scale[0]) * w.tensor.scale
    given = bias.tensor.scale
    scale = expected
    # A file may state it rounded; runtimes compute with the product.
    if given is not None and given.shape == expected.shape:
        scale = given if np.allclose(given, expected, rtol=1e-6, atol=0) else expected
    axis = 0 if len(expected) > 1 else -1
    parameters = qparams(scale, np.zeros(len(expected), int), axis, 32)
    return [b.constant(array, bias.tensor.name, parameters)]


def _name(operator: FileOperator, b: TfliteBuilder) -> str:
    return b.output(operator).name or f"{operator.op.lower()}_{operator.index}"


def _finish(
    b: TfliteBuilder, operator: FileOperator, op: str, inputs: list[int],
    attributes: dict[str, Any], order: tuple[int, ...],
) -> None:  # fmt: skip
    parameters = b.parameters(b.output(operator), str(operator))
    edge = b.node(op, inputs, attributes, _name(operator, b), parameters)
    b.bind(operator, edge, order)


def _conv(b: TfliteBuilder, operator: FileOperator) -> None:
    x, edge = _image(b, operator)
    depthwise = operator.op == "DEPTHWISE_CONV_2D"
    shape = b.known(operator, 1).shape
    if len(shape) != 4:
        raise ImportFormatError(f"{operator}: its weight must have 4 dimensions, got {shape}")
    window = _positive(operator, *shape[1:3])
    strides = _positive(operator, operator.option("StrideH", 1), operator.option("StrideW", 1))
    dilations = _positive(
        operator, operator.option("DilationHFactor", 1), operator.option("DilationWFactor", 1)
    )
    channels = x.shape[3]
    if depthwise:
        if shape[0] != 1 or channels < 1 or shape[3] % channels:
            raise ImportFormatError(f"{operator}: weight {shape} does not fit {channels} channels")
        groups, perm, axes = channels, (3, 0, 1, 2), {3: 0}
    else:
        if shape[3] < 1 or channels % shape[3]:
            raise ImportFormatError(f"{operator}: weight {shape} does not fit {channels} channels")
        groups, perm, axes = channels // shape[3], (0, 3, 1, 2), {0: 0}
    weight, w = _weight(b, operator, 1, lambda a: a.transpose(perm), x, axes)
    attributes = {
        "strides": strides,
        "dilations": dilations,
        "pads": _pads(operator, x, window, strides, dilations),
        "groups": groups,
        "activation": activation(operator),
    }
    inputs = [edge, weight, *_bias(b, operator, 2, x, w)]
    _finish(b, operator, "conv", inputs, attributes, channels_first(4))


def _conv_transpose(b: TfliteBuilder, operator: FileOperator) -> None:
    x, edge = _image(b, operator, 2)
    sizes = b.integers(operator, 0)
    shape = b.known(operator, 1).shape
    if len(shape) != 4 or len(sizes) != 4 or shape[3] != x.shape[3] or shape[0] != sizes[3]:
        raise ImportFormatError(f"{operator}: weight {shape} does not fit {x.shape} to {sizes}")
    strides = _positive(operator, operator.option("StrideH", 1), operator.option("StrideW", 1))
    same = operator.option("Padding", 0) == 0
    begins, ends, extra = [], [], []
    for d, k, s, o in zip(x.shape[1:3], shape[1:3], strides, sizes[1:3], strict=True):
        full = (d - 1) * s + k
        begin = max(0, full - o) // 2 if same else 0
        begins.append(begin)
        ends.append(max(0, full - o - begin))
        extra.append(max(0, o - full))
    weight, w = _weight(b, operator, 1, lambda a: a.transpose(3, 0, 1, 2), x, {0: 1})
    attributes = {
        "strides": strides,
        "pads": begins + ends,
        "output_padding": extra,
        "activation": activation(operator) if operator.options is not None else "none",
    }
    inputs = [edge, weight, *_bias(b, operator, 3, x, w)]
    _finish(b, operator, "conv_transpose", inputs, attributes, channels_first(4))


def _dense(b: TfliteBuilder, operator: FileOperator) -> None:
    x = b.value(operator)
    if operator.option("WeightsFormat", 0) != 0:
        raise UnsupportedError(f"{operator}: shuffled weights are not supported")
    weight, w = _weight(b, operator, 1, lambda a: a, x, {0: 0})
    if len(w.shape) != 2:
        raise ImportFormatError(f"{operator}: its weight must be a matrix, got {w.shape}")
    edge = b.natural(x)
    columns = w.shape[1]
    wide = bool(operator.option("KeepNumDims", False)) and x.shape[-1] == columns
    if not wide and (len(x.shape) != 2 or x.shape[-1] != columns):
        if b.batched and int(np.prod(x.shape[1:])) != columns:
            raise UnsupportedError(f"{operator}: it brings the samples of a batch together")
        rows = BATCH if b.batched else int(np.prod(x.shape)) // max(1, columns)
        edge = b.node("reshape", [edge], {"shape": [rows, columns]}, "", x.parameters)
    inputs = [edge, weight, *_bias(b, operator, 2, x, w)]
    order = tuple(range(len(x.shape) if wide else 2))
    _finish(b, operator, "dense", inputs, {"activation": activation(operator)}, order)


def _matmul(b: TfliteBuilder, operator: FileOperator) -> None:
    edges = []
    for index, flag in ((0, "AdjX"), (1, "AdjY")):
        x = b.operand(operator, index)
        if isinstance(x, Known):
            coded = isinstance(first := b.operand(operator, 0), Value) and first.parameters
            if coded:
                raise UnsupportedError(f"{operator}: a constant int8 operand is not supported")
            array = b.floats(x)
            array = array.swapaxes(-1, -2) if operator.option(flag, False) else array
            edges.append(b.constant(array, x.tensor.name))
            continue
        order = list(range(len(x.shape)))
        if operator.option(flag, False):
            order[-2:] = order[:-3:-1]
        edges.append(b.edge(x, tuple(order)))
    rank = len(b.output(operator).shape)
    _finish(b, operator, "matmul", edges, {}, tuple(range(rank)))


def _pool(op: str) -> Converter:
    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        x = b.value(operator)
        parameters = b.parameters(b.output(operator), str(operator))
        x = matched(b, operator, x, parameters)
        if len(x.shape) != 4:
            raise ImportFormatError(f"{operator}: input must have 4 dimensions, got {x.shape}")
        window = _positive(
            operator, operator.option("FilterHeight", 1), operator.option("FilterWidth", 1)
        )
        strides = _positive(operator, operator.option("StrideH", 1), operator.option("StrideW", 1))
        attributes = {
            "kernel": window,
            "strides": strides,
            "pads": _pads(operator, x, window, strides, [1, 1]),
        }
        edge = b.edge(x, channels_first(4))
        edge = b.node(op, [edge], attributes, _name(operator, b), parameters)
        if (kind := activation(operator)) != "none":
            if kind == "relu":
                edge = b.node("relu", [edge], {}, "", parameters)
            else:
                edge = b.node("clip", [edge], {"min": 0.0, "max": 6.0}, "", parameters)
        b.bind(operator, edge, channels_first(4))

    return convert


def _resize(mode: str) -> Converter:
    def convert(b: TfliteBuilder, operator: FileOperator) -> None:
        parameters = b.parameters(b.output(operator), str(operator))
        x = matched(b, operator, b.value(operator), parameters)
        sizes = b.integers(operator, 1)
        if len(sizes) != 2 or len(x.shape) != 4:
            raise ImportFormatError(f"{operator}: sizes {sizes} do not fit {x.shape}")
        corners, half = operator.option("AlignCorners", False), operator.option("HalfPixelCenters")
        coordinates = "align_corners" if corners else "half_pixel" if half else "asymmetric"
        if mode == "nearest" and half:
            raise UnsupportedError(f"{operator}: half-pixel centers are not supported")
        attributes = {
            "sizes": _positive(operator, *sizes),
            "mode": mode,
            "coordinates": coordinates,
            "nearest": "round_prefer_ceil" if corners else "floor",
        }
        edge = b.edge(x, channels_first(4))
        edge = b.node("resize", [edge], attributes, _name(operator, b), parameters)
        b.bind(operator, edge, channels_first(4))

    return convert


LAYERS: dict[str, Converter] = {
    "AVERAGE_POOL_2D": _pool("avg_pool"),
    "BATCH_MATMUL": _matmul,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _pool("max_pool"),
    "RESIZE_BILINEAR": _resize("linear"),
    "RESIZE_NEAREST_NEIGHBOR": _resize("nearest"),
    "TRANSPOSE_CONV": _conv_transpose,
}

__all__ = ["LAYERS", "Converter", "activation", "matched", "same_parameters"]
