"""ONNX operators with weights, windows or reductions."""

from __future__ import annotations

import math

import numpy as np

from ..base.error import UnsupportedError
from .errors import ImportFormatError
from .onnx_elementwise import Converter, apply_binary, apply_unary, as_value, scalar
from .onnx_folding import axes_of, axis_of
from .onnx_node import OnnxNode
from .onnx_shaping import apply_transpose
from .values import BATCH, LEADING, Batch, Constant, Operand, SampleBuilder, Shape, Value, mixed

_LARGEST = 1 << 20  # strides, kernels and pads beyond this are hostile, not networks


def _constant(node: OnnxNode, index: int) -> Constant:
    value = node.operand(index)
    if not isinstance(value, Constant):
        raise UnsupportedError(
            f"{node}: input {index} ({value.name!r}) must be a constant weight; computed weights "
            f"are not supported"
        )
    return value


def _window(node: OnnxNode, name: str, rank: int, default: int, least: int) -> list[int]:
    values = node.integers(name, [default] * rank)
    if len(values) != rank or any(not least <= v <= _LARGEST for v in values):
        raise ImportFormatError(
            f"{node}: {name} {values} must be {rank} values of at least {least}"
        )
    return values


def _pads(
    node: OnnxNode, spatial: Shape, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """Explicit pads, first those in front of each axis, then those behind."""
    mode = node.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return _window(node, "pads", 2 * len(spatial), 0, 0)
    if mode == "VALID":
        return [0] * (2 * len(spatial))
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise ImportFormatError(f"{node}: auto_pad {mode!r} is unknown")
    front, behind = [], []
    for d, k, s, e in zip(spatial, kernel, strides, dilations, strict=True):
        total = max(0, (-(-d // s) - 1) * s + e * (k - 1) + 1 - d)
        less, more = total // 2, total - total // 2
        front.append(less if mode == "SAME_UPPER" else more)
        behind.append(more if mode == "SAME_UPPER" else less)
    return front + behind


def _image(node: OnnxNode) -> tuple[Value, Shape]:
    x = as_value(node.operand(0), str(node))
    if len(x.shape) < 3:
        raise ImportFormatError(f"{node}: input must be [N, C, spatial...], got shape {x.shape}")
    return x, x.shape[2:]


def _conv(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, spatial = _image(node)
    weight = _constant(node, 1)
    rank = len(spatial)
    if len(weight.shape) != rank + 2:
        raise ImportFormatError(
            f"{node}: weight of shape {weight.shape} does not fit input of shape {x.shape}"
        )
    kernel = list(weight.shape[2:])
    strides, dilations = (
        _window(node, "strides", rank, 1, 1),
        _window(node, "dilations", rank, 1, 1),
    )
    attributes = {
        "strides": strides,
        "pads": _pads(node, spatial, kernel, strides, dilations),
        "dilations": dilations,
        "groups": node.integer("group", 1),
    }
    edges = [b.leading(x, str(node)), b.constant(weight)]
    if node.optional(2) is not None:
        edges.append(b.constant(_constant(node, 2)))
    return b.value(
        b.node("conv", edges, attributes, node.name, node.outputs[0]), 0, LEADING, node.outputs[0]
    )


def _conv_transpose(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, spatial = _image(node)
    weight = _constant(node, 1)
    rank = len(spatial)
    if len(weight.shape) != rank + 2:
        raise ImportFormatError(
            f"{node}: weight of shape {weight.shape} does not fit input of shape {x.shape}"
        )
    strides, dilations = (
        _window(node, "strides", rank, 1, 1),
        _window(node, "dilations", rank, 1, 1),
    )
    extra = _window(node, "output_padding", rank, 0, 0)
    reach = [e * (k - 1) + 1 for k, e in zip(weight.shape[2:], dilations, strict=True)]
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape") if node.has("output_shape") else None
    if wanted is None and mode.startswith("SAME"):
        wanted = [d * s for d, s in zip(spatial, strides, strict=True)]
    if wanted is None:
        pads = [0] * (2 * rank) if mode == "VALID" else _window(node, "pads", 2 * rank, 0, 0)
    else:
        total = [
            (d - 1) * s + r + o - w
            for d, s, r, o, w in zip(spatial, strides, reach, extra, wanted[-rank:], strict=True)
        ]
        if min(total) < 0:
            raise UnsupportedError(
                f"{node}: output_shape {wanted} is larger than the kernel reaches"
            )
        upper = mode == "SAME_UPPER"
        front = [t // 2 if upper else t - t // 2 for t in total]
        pads = front + [t - f for t, f in zip(total, front, strict=True)]
    attributes = {
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "output_padding": extra,
        "groups": node.integer("group", 1),
    }
    edges = [b.leading(x, str(node)), b.constant(weight)]
    if node.optional(2) is not None:
        edges.append(b.constant(_constant(node, 2)))
    return b.value(
        b.node("conv_transpose", edges, attributes, node.name, node.outputs[0]),
        0,
        LEADING,
        node.outputs[0],
    )


def _pool(op: str) -> Converter:
    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        x, spatial = _image(node)
        rank = len(spatial)
        kernel, strides = (
            _window(node, "kernel_shape", rank, 0, 1),
            _window(node, "strides", rank, 1, 1),
        )
        dilations = _window(node, "dilations", rank, 1, 1)
        if any(d != 1 for d in dilations) or len([o for o in node.outputs if o]) > 1:
            raise UnsupportedError(f"{node}: dilated pooling and pooling indices are not supported")
        attributes = {
            "kernel": kernel,
            "strides": strides,
            "ceil_mode": node.integer("ceil_mode", 0),
            "pads": _pads(node, spatial, kernel, strides, dilations),
        }
        if op == "avg_pool":
            attributes["count_include_pad"] = node.integer("count_include_pad", 0)
        edge = b.node(op, [b.leading(x, str(node))], attributes, node.name, node.outputs[0])
        return b.value(edge, 0, LEADING, node.outputs[0])

    return convert


def _global_pool(op: str) -> Converter:
    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        x, spatial = _image(node)
        return apply_reduce(b, op, x, tuple(range(2, 2 + len(spatial))), True, node)

    return convert


def apply_reduce(
    b: SampleBuilder, op: str, x: Value, axes: Shape, keepdims: bool, node: OnnxNode
) -> Value:
    """Reduce the given axes of the source's shape."""
    form = b.form_for_axes(x, axes, str(node))
    attributes = {"axes": [a + form.shift for a in axes], "keepdims": int(keepdims)}
    edge = b.node(op, [b.arranged(x, form.native)], attributes, node.name, node.outputs[0])
    batch = x.batch
    if batch is not None and not keepdims:
        batch = batch.at(batch.axis - sum(a < batch.axis for a in axes))
    return b.value(edge, form.shift, batch, node.outputs[0])


def _reduce(op: str) -> Converter:
    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        x = as_value(node.operand(0), str(node))
        rank = len(x.shape)
        axes = node.axes([node.array(1)])
        if not axes:
            if node.integer("noop_with_empty_axes", 0):
                return x
            axes = list(range(rank))
        keepdims = bool(node.integer("keepdims", 1))
        chosen = axes_of(axes, rank, str(node))
        if op == "l2":
            total = apply_reduce(
                b, "reduce_sum", apply_binary(b, "mul", [x, x]), chosen, keepdims, node
            )
            return apply_unary(b, "sqrt", total)
        if op == "min":
            return apply_unary(
                b,
                "neg",
                apply_reduce(b, "reduce_max", apply_unary(b, "neg", x), chosen, keepdims, node),
            )
        return apply_reduce(b, op, x, chosen, keepdims, node)

    return convert


def _batch_norm(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = as_value(node.operand(0), str(node))
    if node.integer("training_mode", 0):
        raise UnsupportedError(
            f"{node}: batch normalisation in training mode; export the network for inference"
        )
    edges = [b.leading(x, str(node)), *(b.constant(_constant(node, i)) for i in range(1, 5))]
    edge = b.node(
        "batch_norm", edges, {"epsilon": node.real("epsilon", 1e-5)}, node.name, node.outputs[0]
    )
    return b.value(edge, 0, LEADING, node.outputs[0])


def _layer_norm(b: SampleBuilder, node: OnnxNode) -> Operand:
    x = as_value(node.operand(0), str(node))
    axis = axis_of(node.integer("axis", -1), len(x.shape), str(node))
    if [o for o in node.outputs[1:] if o]:
        raise UnsupportedError(f"{node}: mean and deviation outputs are not supported")
    form = b.form_for_axes(x, tuple(range(axis, len(x.shape))), str(node))
    edges = [b.arranged(x, form.native), b.constant(_constant(node, 1), x.shape[axis:])]
    if node.optional(2) is not None:
        edges.append(b.constant(_constant(node, 2), x.shape[axis:]))
    attributes = {
        "axis": axis + form.shift - len(form.native),
        "epsilon": node.real("epsilon", 1e-5),
    }
    edge = b.node("layer_norm", edges, attributes, node.name, node.outputs[0])
    return b.value(edge, form.shift, x.batch, node.outputs[0])


def _group_norm(b: SampleBuilder, node: OnnxNode) -> Operand:
    """Instance and group normalisation: layer norm of each group, then scale and shift."""
    x, spatial = _image(node)
    channels = x.shape[1]
    groups = channels if node.op == "InstanceNormalization" else node.integer("num_groups")
    if groups < 1 or channels % groups:
        raise ImportFormatError(f"{node}: {groups} groups do not divide {channels} channels")
    b.check_leading(x, str(node))
    inner = math.prod(x.shape[1:]) // groups
    edge = b.arranged(x, (BATCH if b.batched else x.shape[0], groups, inner))
    ones = b.constant(Constant(np.ones(inner, np.float32), "ones"))
    edge = b.node("layer_norm", [edge, ones], {"axis": -1, "epsilon": node.real("epsilon", 1e-5)})
    y: Operand = b.reshaped(b.value(edge, 0), x.shape, LEADING)
    scale, shift = _constant(node, 1), _constant(node, 2)
    if scale.array.size == groups != channels:  # opset 18 has one value per group
        scale, shift = (
            Constant(np.repeat(c.array, channels // groups), c.name) for c in (scale, shift)
        )
    wide = (channels,) + (1,) * len(spatial)
    y = apply_binary(b, "mul", [y, scale.reshaped(wide)])
    return apply_binary(b, "add", [y, shift.reshaped(wide)], node.name, node.outputs[0])


def _softmax(op: str) -> Converter:
    def convert(b: SampleBuilder, node: OnnxNode) -> Operand:
        x = as_value(node.operand(0), str(node))
        axis = axis_of(node.integer("axis", 1 if node.opset < 13 else -1), len(x.shape), str(node))
        source = x
        if node.opset < 13:  # older opsets flatten everything from the axis on
            if b.open and x.batch is not None and x.batch.axis >= axis:
                raise mixed(str(node))
            x = b.reshaped(x, (*x.shape[:axis], math.prod(x.shape[axis:])), x.batch)
        form = b.form_for_axes(x, [axis], str(node))
        edge = b.node(
            op,
            [b.arranged(x, form.native)],
            {"axis": axis + form.shift},
            node.name,
            node.outputs[0],
        )
        return b.reshaped(
            b.value(edge, form.shift, x.batch),
            source.shape,
            source.batch,
            node.outputs[0],
        )

    return convert


def apply_dense(
    b: SampleBuilder,
    x: Value,
    weight: Constant,
    bias: Constant | None,
    name: str = "",
    output_name: str = "",
) -> Value:
    """X @ weight.T + bias over the last axis of x; weight [O, I]."""
    outputs, inputs = weight.shape
    if not x.shape or x.shape[-1] != inputs:
        raise ImportFormatError(
            f"{name or 'dense'}: input of shape {x.shape} does not fit a weight of shape "
            f"{weight.shape}"
        )
    b.check_apart(x, len(x.shape) - 1, f"node {name!r} (dense)")
    native = (
        x.native if len(x.native) >= 2 and x.native[-1] == inputs else b.natural(x.shape).native
    )
    if len(native) < 2:
        native = (BATCH, *x.shape) if b.batched else (1, *x.shape)
    edges = [b.arranged(x, native), b.constant(weight)]
    if bias is not None:
        edges.append(b.constant(bias, (outputs,)))
    edge = b.node("dense", edges, {}, name, output_name)
    return Value(edge, (*native[:-1], outputs), (*x.shape[:-1], outputs), x.batch, output_name)


def _gemm(b: SampleBuilder, node: OnnxNode) -> Operand:
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    a, weight, bias = node.operand(0), node.operand(1), node.optional(2)
    if len(a.shape) != 2 or len(weight.shape) != 2:
        raise ImportFormatError(
            f"{node}: Gemm needs matrices, got shapes {a.shape} and {weight.shape}"
        )
    x = as_value(a, str(node))
    if node.integer("transA", 0):
        x = apply_transpose(b, x, [1, 0])
    if not isinstance(weight, Constant):
        y: Operand = apply_matmul(
            b,
            x,
            apply_transpose(b, weight, [1, 0]) if node.integer("transB", 0) else weight,
            str(node),
        )
        y = y if alpha == 1 else apply_binary(b, "mul", [y, scalar(alpha)])
    else:
        w = weight if node.integer("transB", 0) else weight.transposed([1, 0])
        if alpha != 1:
            w = Constant(w.array * np.float32(alpha), w.name, w.origin)
        flat = (
            isinstance(bias, Constant)
            and beta == 1
            and bias.array.size == w.shape[0] == (bias.shape or (0,))[-1]
        )
        if flat:
            assert isinstance(bias, Constant)
            return apply_dense(b, x, w, bias, node.name, node.outputs[0])
        y = apply_dense(b, x, w, None, node.name, "" if bias is not None else node.outputs[0])
    if bias is None:
        return y
    if beta != 1:
        bias = (
            Constant(bias.array * np.float32(beta), bias.name, bias.origin)
            if isinstance(bias, Constant)
            else apply_binary(b, "mul", [bias, scalar(beta)])
        )
    return apply_binary(b, "add", [y, bias], "", node.outputs[0])


def apply_matmul(
    b: SampleBuilder, x: Operand, y: Operand, what: str, name: str = "", output_name: str = ""
) -> Value:
    """NumPy's matmul of operands of which at least one is computed; both of rank 2 or more."""
    try:
        lead = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        lead = None
    if lead is None or x.shape[-1] != y.shape[-2]:
        raise ImportFormatError(f"{what}: shapes {x.shape} and {y.shape} do not multiply")
    rank = len(lead) + 2
    batch = _batch_of_product(b, x, y, rank, what)
    shift = 0 if not b.batched or (rank > 2 and lead[0] == 1) else 1
    edges = []
    for o in (x, y):
        shape = (1,) * (rank - len(o.shape)) + o.shape
        if isinstance(o, Constant):
            edges.append(b.constant(o, shape if shift == 0 else (1, *shape)))
        else:
            edges.append(b.arranged(o, (BATCH, *shape[1 - shift :]) if b.batched else shape))
    return b.value(b.node("matmul", edges, {}, name, output_name), shift, batch, output_name)


def _batch_of_product(
    b: SampleBuilder, x: Operand, y: Operand, rank: int, what: str
) -> Batch | None:
    """Where x @ y holds the batch: in a row of x, in a column of y, or in front of both."""
    if isinstance(x, Value):
        b.check_apart(x, len(x.shape) - 1, what)
    if isinstance(y, Value):
        b.check_apart(y, len(y.shape) - 2, what)
    one = x if y.batch is None else y if x.batch is None else None
    if one is not None and one.batch is not None and one.batch.axis >= len(one.shape) - 2:
        return one.batch.at(one.batch.axis + rank - len(one.shape))
    batch = b.common_batch((x, y), rank, what)
    if b.open and batch is not None and batch.axis >= rank - 2:
        raise mixed(what)
    return batch


def _wider(b: SampleBuilder, x: Value, axis: int) -> Value:
    """A vector as a matrix with the unit axis `axis`."""
    batch = None if x.batch is None else x.batch.at(1 - axis)
    return b.reshaped(x, (1, *x.shape) if axis == 0 else (*x.shape, 1), batch)


def _matmul(b: SampleBuilder, node: OnnxNode) -> Operand:
    x, y = node.operand(0), node.operand(1)
    if not x.shape or not y.shape:
        raise ImportFormatError(f"{node}: MatMul of a scalar")
    weight = isinstance(y, Constant) and len(y.shape) == 2 and y.batch is None
    if isinstance(x, Value) and isinstance(y, Constant) and weight:
        return apply_dense(b, x, y.transposed([1, 0]), None, node.name, node.outputs[0])
    vector_x, vector_y = len(x.shape) == 1, len(y.shape) == 1
    if vector_x:
        x = x.reshaped((1, *x.shape)) if isinstance(x, Constant) else _wider(b, x, 0)
    if vector_y:
        y = y.reshaped((*y.shape, 1)) if isinstance(y, Constant) else _wider(b, y, 1)
    result = apply_matmul(b, x, y, str(node), node.name, node.outputs[0])
    shape, batch = result.shape, result.batch
    if vector_x and batch is not None and batch.axis == len(shape) - 1:
        batch = batch.at(batch.axis - 1)
    if vector_y:
        shape = shape[:-1]
    if vector_x:
        shape = (*shape[:-2], *shape[-1:]) if not vector_y else shape[:-1]
    return b.reshaped(result, shape, batch, node.outputs[0])


LAYERS: dict[str, Converter] = {
    "AveragePool": _pool("avg_pool"),
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("reduce_mean"),
    "GlobalMaxPool": _global_pool("reduce_max"),
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax("log_softmax"),
    "MatMul": _matmul,
    "MaxPool": _pool("max_pool"),
    "ReduceL2": _reduce("l2"),
    "ReduceMax": _reduce("reduce_max"),
    "ReduceMean": _reduce("reduce_mean"),
    "ReduceMin": _reduce("min"),
    "ReduceSum": _reduce("reduce_sum"),
    "Softmax": _softmax("softmax"),
}

__all__ = ["LAYERS", "apply_dense", "apply_matmul", "apply_reduce"]
