"""TFLite operators with weights or windows, in NHWC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .physical import Physical, channels_last, set_parameters
from .tflite_emit import (
    SAME,
    VALID,
    Emit,
    activation,
    coded,
    padding_of,
    refuse,
    result,
    version,
    windows,
)  # fmt: skip
from .tflite_writer import Tensor


def _image(p: Physical, node: Any, edge: int) -> tuple[int, tuple[int, ...]]:
    """An input as NHWC and its shape; one spatial dimension becomes the second."""
    e = p.edges[edge]
    rank = len(e.shape)
    if rank not in (3, 4):
        raise refuse(node, f"it has {rank - 2} spatial dimensions, 1 and 2 are supported")
    tensor = p.ask(edge, channels_last(rank))
    shape = p.shape(edge, channels_last(rank))
    if rank == 3:
        shape = (shape[0], 1, *shape[1:])
        tensor = p.reshaped(tensor, shape, e.name)
    return tensor, shape


def _spatial(node: Any, name: str, rank: int, default: int) -> list[int]:
    """An attribute for height and width."""
    values = windows(node, name, rank, default)
    return [default, *values] if rank == 1 else values


def _output(p: Physical, node: Any) -> tuple[int, tuple[int, ...], Callable[[], None]]:
    """Add an NHWC output; call the last part when its operator is there."""
    out = node.outputs[0]
    rank = len(p.edges[out].shape)
    order = channels_last(rank)
    shape = p.shape(out, order)
    if rank == 4:
        tensor, _ = result(p, node, order)
        return tensor, shape, lambda: None
    wide = (shape[0], 1, *shape[1:])
    tensor = p.like(out, wide)
    return tensor, wide, lambda: p.bind(out, p.reshaped(tensor, shape, p.edges[out].name), order)


def _kernel(array: NDArray[Any]) -> NDArray[Any]:
    """Weights as [O, I, H, W]."""
    return array if array.ndim == 4 else array[:, :, None]


def _padded(
    p: Physical, edge: int, tensor: int, shape: Sequence[int], pads: list[tuple[int, int]],
    value: float | None = None,
) -> int:  # fmt: skip
    """Append explicit padding of height and width: zeros, or a value."""
    (top, bottom), (left, right) = pads
    n, h, w, c = shape
    wide = p.like(edge, (n, h + top + bottom, w + left + right, c))
    sizes = p.constant(
        np.asarray([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32), "paddings"
    )
    e = p.edges[edge]
    kind = 2 if e.qparams is not None else 1
    if value is None:
        return p.operator("PAD", [tensor, sizes], wide, kind, "Pad")
    if e.qparams is None:
        fill = p.constant(np.asarray(value, np.float32), "padding")
    else:
        made = Tensor(p.name("padding"), "int8", (), np.asarray(-128, np.int8))
        set_parameters(made, e.qparams, 0)
        fill = p.model.tensor(made)
    return p.operator("PADV2", [tensor, sizes, fill], wide, kind, "PadV2")


def _geometry(
    p: Physical, node: Any, kernel: Sequence[int], shape: Sequence[int], out: Sequence[int]
) -> tuple[int | None, list[tuple[int, int]], list[int], list[int]]:
    """(padding or None, pads, strides, dilations) of a window over NHWC shapes."""
    rank = len(p.edges[node.inputs[0]].shape) - 2
    strides = _spatial(node, "strides", rank, 1)
    dilations = _spatial(node, "dilations", rank, 1)
    begins = windows(node, "pads", 2 * rank, 0)[:rank]
    begins = [0, *begins] if rank == 1 else begins
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    padding, pads = padding_of(shape[1:3], out[1:3], reach, strides, begins)
    return padding, pads, strides, dilations


def _weights(
    p: Physical, node: Any, arrange: Callable[[NDArray[Any]], NDArray[Any]], axis: int
) -> int:
    edge = node.inputs[1]
    if not p.edges[edge].is_constant:
        raise refuse(node, "its weight is not constant")
    if p.edges[edge].qparams is not None and not coded(p, node):
        return p.decoded_weight(edge, arrange, axis, node.name)
    return p.weight(edge, arrange, axis)


def _bias(p: Physical, node: Any, channels: int) -> int:
    """The bias; zeros where there is none, which TFLite Micro's kernels want."""
    x, w = p.edges[node.inputs[0]], p.edges[node.inputs[1]]
    if len(node.inputs) > 2 and node.inputs[2] >= 0:
        e = p.edges[node.inputs[2]]
        if not e.is_constant:
            raise refuse(node, "its bias is not constant")
        array = np.asarray(e.constant)
        name = e.name
    else:
        name = f"{node.name}/bias"
        array = np.zeros(channels, np.int32 if coded(p, node) else np.float32)
    if not coded(p, node):
        return p.constant(array.astype(np.float32), name)
    scale = np.asarray(w.qparams.scale, np.float32) * np.float32(x.qparams.scale[0])
    if len(node.inputs) > 2 and node.inputs[2] >= 0:
        scale = np.asarray(p.edges[node.inputs[2]].qparams.scale, np.float32)
    zero = np.zeros(len(scale), np.int64)
    return p.constant(array, name, scale=scale, zero_point=zero)


def _conv(p: Physical, node: Any) -> None:
    x, shape = _image(p, node, node.inputs[0])
    kernel = p.edges[node.inputs[1]].shape
    outputs, per_group, *window = kernel
    window = [1, *window] if len(window) == 1 else list(window)
    y, out, done = _output(p, node)
    padding, pads, strides, dilations = _geometry(p, node, window, shape, out)
    if padding is None:
        x = _padded(p, node.inputs[0], x, shape, pads)
        padding = VALID
    groups = int(node.attributes["groups"])
    depthwise = groups > 1 and per_group == 1
    fields = {
        "Padding": padding,
        "StrideW": strides[1],
        "StrideH": strides[0],
        "FusedActivationFunction": activation(node),
        "DilationWFactor": dilations[1],
        "DilationHFactor": dilations[0],
    }
    bias = _bias(p, node, outputs)
    if depthwise:
        w = _weights(p, node, lambda a: _kernel(a).transpose(1, 2, 3, 0), 3)
        v = 3 if coded(p, node) else 2 if max(dilations) > 1 else 1
        p.operator(
            "DEPTHWISE_CONV_2D", [x, w, bias], y, v, "DepthwiseConv2D",
            **{**fields, "DepthMultiplier": outputs // groups},
        )  # fmt: skip
    else:
        w = _weights(p, node, lambda a: _kernel(a).transpose(0, 2, 3, 1), 0)
        v = 6 if groups > 1 else 3 if coded(p, node) else 2 if max(dilations) > 1 else 1
        p.operator("CONV_2D", [x, w, bias], y, v, "Conv2D", **fields)
    done()


def _conv_transpose(p: Physical, node: Any) -> None:
    if int(node.attributes["groups"]) != 1:
        raise refuse(node, "a transposed convolution with groups")
    x, shape = _image(p, node, node.inputs[0])
    _, outputs, *window = p.edges[node.inputs[1]].shape
    rank = len(window)
    window = [1, *window] if rank == 1 else list(window)
    if any(d != 1 for d in _spatial(node, "dilations", rank, 1)):
        raise refuse(node, "a dilated transposed convolution")
    strides = _spatial(node, "strides", rank, 1)
    pads = windows(node, "pads", 2 * rank, 0)
    begins = pads[:rank] if rank == 2 else [0, *pads[:rank]]
    final = result_shape = _nhwc(p, node)
    full = [
        max((d - 1) * s + k, b + o)
        for d, s, k, b, o in zip(
            shape[1:3], strides, window, begins, result_shape[1:3], strict=True
        )
    ]
    same = all(
        o == d * s and b == max(0, (d - 1) * s + k - o) // 2
        for d, s, k, b, o in zip(
            shape[1:3], strides, window, begins, result_shape[1:3], strict=True
        )
    )
    padding = SAME if same else VALID
    sizes = list(result_shape[1:3]) if same else full
    out = node.outputs[0]
    whole = (shape[0], *sizes, outputs)
    w = _weights(p, node, lambda a: _kernel(a).transpose(1, 2, 3, 0), 0)
    y = p.like(out, whole)
    wanted = p.integers([abs(d) for d in whole], "output_shape")
    inputs = [wanted, w, x]
    if len(node.inputs) > 2 and node.inputs[2] >= 0:
        inputs.append(_bias(p, node, outputs))
    v = 4 if activation(node) else 3 if len(inputs) == 4 else version(p, node)
    p.operator(
        "TRANSPOSE_CONV", inputs, y, v, "TransposeConv", Padding=padding, StrideW=strides[1],
        StrideH=strides[0], FusedActivationFunction=activation(node),
    )  # fmt: skip
    if whole != final:
        part = p.like(out, final)
        begin = p.integers([0, *begins, 0], "begin")
        size = p.integers([-1, *final[1:]], "size")
        y = p.operator("SLICE", [y, begin, size], part, version(p, node), "Slice")
    order = channels_last(rank + 2)
    if rank == 1:
        y = p.reshaped(y, p.shape(out, order), p.edges[out].name)
    p.bind(out, y, order)


def _nhwc(p: Physical, node: Any) -> tuple[int, ...]:
    out = node.outputs[0]
    shape = p.shape(out, channels_last(len(p.edges[out].shape)))
    return shape if len(shape) == 4 else (shape[0], 1, *shape[1:])


def _pool(name: str) -> Emit:
    def emit(p: Physical, node: Any) -> None:
        x, shape = _image(p, node, node.inputs[0])
        rank = len(p.edges[node.inputs[0]].shape) - 2
        kernel = _spatial(node, "kernel", rank, 1)
        y, out, done = _output(p, node)
        padding, pads, strides, _ = _geometry(p, node, kernel, shape, out)
        average = name == "AVERAGE_POOL_2D"
        counted = average and bool(node.attributes["count_include_pad"])
        given = [windows(node, "pads", 2 * rank, 0)[i::rank] for i in range(rank)]
        given = [[0, 0], *given] if rank == 1 else given
        if counted and any(max(g) for g in given):
            if any(e > g[1] for (_, e), g in zip(pads, given, strict=True)):
                raise refuse(node, "windows reach beyond the padding that is counted (ceil_mode)")
            x = _padded(p, node.inputs[0], x, shape, pads)
            padding = VALID
        elif padding is None and average:
            raise refuse(node, f"padding {pads} is neither SAME nor VALID and is not counted")
        elif padding is None:
            x = _padded(p, node.inputs[0], x, shape, pads, float(np.finfo(np.float32).min))
            padding = VALID
        p.operator(
            name, [x], y, version(p, node), "Pool2D", Padding=padding, StrideW=strides[1],
            StrideH=strides[0], FilterWidth=kernel[1], FilterHeight=kernel[0],
        )  # fmt: skip
        done()

    return emit


def _dense(p: Physical, node: Any) -> None:
    source = node.inputs[0]
    flat = p.flat.get(source)
    arrange = _as_is if flat is None else _columns_in(*flat)
    x = p.ask(source) if flat is None else p.homes[source][0]
    weight: Any = p.edges[node.inputs[1]]
    outputs = int(weight.shape[0])
    dynamic = bool(node.attributes.get("dynamic"))
    w = p.weight(node.inputs[1], arrange, 0) if dynamic else _weights(p, node, arrange, 0)
    bias = _bias(p, node, outputs)
    y, _ = result(p, node)
    rank = len(p.edges[node.outputs[0]].shape)
    channels = weight.qparams is not None and len(weight.qparams.scale) > 1
    v = 5 if rank > 2 else 4 if coded(p, node) else 9 if dynamic else 1
    if channels and (coded(p, node) or dynamic):
        v = 12
    fields = {"FusedActivationFunction": activation(node), "KeepNumDims": rank > 2}
    if dynamic:
        fields["AsymmetricQuantizeInputs"] = True
    p.operator("FULLY_CONNECTED", [x, w, bias], y, v, "FullyConnected", **fields)


def _columns_in(
    sizes: tuple[int, ...], order: tuple[int, ...]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Columns of a weight in the order of an image that was flattened as it lies."""

    def arrange(array: NDArray[Any]) -> NDArray[Any]:
        wide = array.reshape(len(array), *sizes).transpose(0, *(i + 1 for i in order))
        return np.asarray(wide.reshape(len(array), -1))

    return arrange


def _as_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def _matmul(p: Physical, node: Any) -> None:
    inputs = []
    for i in node.inputs:
        e = p.edges[i]
        if not e.is_constant:
            inputs.append(p.ask(i))
        elif e.qparams is not None and not coded(p, node):
            inputs.append(p.decoded_weight(i, _as_is, 0, node.name))
        else:
            inputs.append(p.weight(i, _as_is, 0))
    y, _ = result(p, node)
    p.operator("BATCH_MATMUL", inputs, y, version(p, node), "BatchMatMul")


def _batch_norm(p: Physical, node: Any) -> None:
    x, *parts = node.inputs
    scale, bias, mean, var = (np.asarray(p.edges[i].constant, np.float64) for i in parts)
    factor = scale / np.sqrt(var + node.attributes["epsilon"])
    offset = bias - mean * factor
    rank = len(p.edges[x].shape)
    order = channels_last(rank)
    tensor = p.ask(x, order)
    y, _ = result(p, node, order)
    scaled = p.floats(p.shape(x, order), f"{node.name}/scaled")
    factors = p.constant(factor.astype(np.float32), f"{node.name}/factor")
    p.operator("MUL", [tensor, factors], scaled, 1, "Mul")
    offsets = p.constant(offset.astype(np.float32), f"{node.name}/offset")
    p.operator("ADD", [scaled, offsets], y, 1, "Add")


def _indices(mode: str, coordinates: str, size: int, wanted: int) -> NDArray[np.int64]:
    """Which position of a dimension each output of a nearest resize takes."""
    at = np.arange(wanted, dtype=np.float64)
    if coordinates == "align_corners":
        at = at * (size - 1) / (wanted - 1) if wanted > 1 else np.zeros(1)
    elif coordinates == "asymmetric":
        at = at * size / wanted
    elif coordinates == "pytorch_half_pixel" and wanted == 1:
        at = np.zeros(1)
    else:
        at = (at + 0.5) * size / wanted - 0.5
    rounded = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
    }[mode]
    return np.clip(rounded, 0, size - 1).astype(np.int64)


def _resize(p: Physical, node: Any) -> None:
    a = node.attributes
    x, shape = _image(p, node, node.inputs[0])
    y, out, done = _output(p, node)
    sizes = p.integers(out[1:3], "size")
    corners = a["coordinates"] == "align_corners"
    if a["mode"] == "linear":
        half = a["coordinates"] in ("half_pixel", "pytorch_half_pixel")
        if a["coordinates"] == "pytorch_half_pixel" and 1 in out[1:3]:
            raise refuse(node, "pytorch_half_pixel to a size of 1")
        p.operator(
            "RESIZE_BILINEAR", [x, sizes], y, 3 if half else version(p, node), "ResizeBilinear",
            AlignCorners=corners, HalfPixelCenters=half,
        )  # fmt: skip
        done()
        return
    tables = [
        _indices(a["nearest"], a["coordinates"], d, o)
        for d, o in zip(shape[1:3], out[1:3], strict=True)
    ]
    plain = [
        np.arange(o) * d // o for d, o in zip(shape[1:3], out[1:3], strict=True)
    ]  # asymmetric, floor
    if all(np.array_equal(t, q) for t, q in zip(tables, plain, strict=True)):
        kind = version(p, node)
        p.operator("RESIZE_NEAREST_NEIGHBOR", [x, sizes], y, kind, "ResizeNearestNeighbor")
    else:  # rounding that TFLite does not have: a selection along each axis
        rows = p.like(node.outputs[0], (shape[0], out[1], shape[2], shape[3]))
        indices = [p.integers(t, "indices") for t in tables]
        p.operator("GATHER", [x, indices[0]], rows, version(p, node), "Gather", Axis=1)
        p.operator("GATHER", [rows, indices[1]], y, version(p, node), "Gather", Axis=2)
    done()


LAYERS: dict[str, Emit] = {
    "avg_pool": _pool("AVERAGE_POOL_2D"),
    "batch_norm": _batch_norm,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "dense": _dense,
    "matmul": _matmul,
    "max_pool": _pool("MAX_POOL_2D"),
    "resize": _resize,
}

__all__ = ["LAYERS"]
