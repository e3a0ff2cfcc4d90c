"""Keras layers and operations, each as native operators."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .keras_attention import multi_head_attention
from .keras_builder import KerasBuilder, Tensor, value_of
from .keras_convolution import CONVOLUTIONS

Converter = Callable[..., Any]


def _first_argument(x: Any) -> Tensor:
    if isinstance(x, Tensor):
        return x
    raise UnsupportedError(f"from_keras: expected one tensor, got {type(x).__name__}")


# -- activations

_UNARY: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("relu", {}),
    "relu6": ("clip", {"min": 0.0, "max": 6.0}),
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "gelu": ("gelu", {}),
    "elu": ("elu", {"alpha": 1.0}),
    "leaky_relu": ("leaky_relu", {"alpha": 0.2}),
    "softplus": ("softplus", {}),
    "hard_sigmoid": ("hard_sigmoid", {}),
    "hard_silu": ("hard_swish", {}),
    "hard_swish": ("hard_swish", {}),
    "exponential": ("exp", {}),
    "exp": ("exp", {}),
    "sqrt": ("sqrt", {}),
    "absolute": ("abs", {}),
    "abs": ("abs", {}),
    "negative": ("neg", {}),
    "log": ("log", {}),
    "erf": ("erf", {}),
}

_COMPOSED = ("softmax", "log_softmax", "mish", "selu", "softsign")


def activate(b: KerasBuilder, name: str, x: Tensor) -> Tensor:
    """Apply an activation by its Keras name."""
    if name in ("linear", "None"):
        return x
    if name in _UNARY:
        return b.unary(_UNARY[name][0], x, dict(_UNARY[name][1]))
    if name in ("softmax", "log_softmax"):
        return b.unary(name, x, {"axis": x.axis(-1)})
    if name == "mish":
        return b.binary("mul", x, b.unary("tanh", b.unary("softplus", x)))
    if name == "selu":
        return b.binary("mul", b.unary("elu", x, {"alpha": 1.6732632423543772}), 1.0507009873554805)
    if name == "softsign":
        return b.binary("div", x, b.binary("add", b.unary("abs", x), 1.0))
    raise UnsupportedError(
        f"from_keras: layer {b.layer!r} has the activation {name!r}, which is not supported; "
        f"supported: {', '.join(sorted([*_UNARY, *_COMPOSED]))}"
    )


def activation_name(function: Any) -> str:
    """Name of an activation function."""
    return (
        "linear"
        if function is None
        else str(getattr(function, "__name__", type(function).__name__))
    )


def _with_activation(convert: Converter) -> Converter:
    """The layer itself, then its `activation`."""

    def both(b: KerasBuilder, layer: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
        return activate(
            b, activation_name(layer.activation), convert(b, layer, x, *rest, **options)
        )

    return both


def _activation(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    return activate(b, activation_name(layer.activation), x)


def _relu(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    if float(layer.threshold or 0):
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} has a threshold, which is not supported"
        )
    slope, top = float(layer.negative_slope or 0), layer.max_value
    if slope:
        y = b.unary("leaky_relu", x, {"alpha": slope})
        return y if top is None else b.binary("minimum", y, float(top))
    return (
        b.unary("relu", x) if top is None else b.unary("clip", x, {"min": 0.0, "max": float(top)})
    )


def _prelu(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    turn = (lambda a: np.moveaxis(a, -1, 0)) if x.first else None
    edge = b.weight(layer.alpha, turn, "first" if x.first else "")
    return Tensor(b.node("prelu", [x.edge, edge]), x.shape, x.first)


def _softmax(b: KerasBuilder, layer: Any, x: Tensor, *rest: Any, **options: Any) -> Tensor:
    if not isinstance(layer.axis, int):
        raise UnsupportedError(f"from_keras: layer {b.layer!r} has a softmax over several axes")
    return b.unary("softmax", x, {"axis": x.axis(layer.axis)})


def _same(b: KerasBuilder, layer: Any, x: Any, *rest: Any, **options: Any) -> Any:
    return x


# -- dense, normalisation, embedding


def _dense(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edges = [b.source_order(x), b.weight(layer.kernel, lambda k: k.T)]
    if layer.use_bias:
        edges.append(b.weight(layer.bias))
    return b.tensor(b.node("dense", edges))


def _batch_norm(b: KerasBuilder, layer: Any, x: Tensor, **options: Any) -> Tensor:
    axes = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    axis = axes[0] + x.rank if axes[0] < 0 else axes[0]
    if len(axes) != 1 or axis not in (1, x.rank - 1):
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} normalises axes {axes}; the channel axis is supported"
        )
    first = axis == x.rank - 1 and x.rank > 2
    size = x.shape[axis]
    scale = b.weight(layer.gamma) if layer.scale else b.constant(np.ones(size))
    shift = b.weight(layer.beta) if layer.center else b.constant(np.zeros(size))
    edges = [
        b.channels_first(x) if first else b.source_order(x),
        scale,
        shift,
        b.weight(layer.moving_mean),
        b.weight(layer.moving_variance),
    ]
    return b.tensor(b.node("batch_norm", edges, {"epsilon": float(layer.epsilon)}), first)


def _layer_norm(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    axes = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    chosen = sorted(a + x.rank if a < 0 else a for a in axes)
    if chosen != list(range(chosen[0], x.rank)) or getattr(layer, "rms_scaling", False):
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} normalises axes {axes}; trailing axes are supported"
        )
    shape = x.shape[chosen[0] :]
    scale = b.weight(layer.gamma) if layer.scale else b.constant(np.ones(shape))
    edges = [b.source_order(x), scale]
    if layer.center:
        edges.append(b.weight(layer.beta))
    return b.tensor(
        b.node("layer_norm", edges, {"axis": chosen[0] - x.rank, "epsilon": float(layer.epsilon)})
    )


def _embedding(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    if "float" in str(b.graph.edge(x.edge).dtype):
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} looks up float indices; give the input an integer dtype"
        )
    return b.tensor(b.node("gather", [b.weight(layer._embeddings), b.source_order(x)], {"axis": 0}))


def _rescaling(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    return b.binary(
        "add",
        b.binary("mul", x, np.asarray(layer.scale, np.float32)),
        np.asarray(layer.offset, np.float32),
    )


def _normalization(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    mean, variance = value_of(layer.mean), value_of(layer.variance)
    scale = 1 / np.maximum(np.sqrt(variance), 1e-7)
    if layer.invert:
        return b.binary("add", b.binary("mul", x, np.sqrt(variance)), mean)
    return b.binary("mul", b.binary("sub", x, mean), scale)


# -- merging, moving, reducing


def _merge(op: str) -> Converter:
    def convert(b: KerasBuilder, layer: Any, inputs: Sequence[Tensor], *more: Any) -> Tensor:
        operands = [inputs, *more] if isinstance(inputs, Tensor) else list(inputs)
        result = operands[0]
        for x in operands[1:]:
            result = b.binary(op, result, x)
        return result

    return convert


def _average(b: KerasBuilder, layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    total: Tensor = _merge("add")(b, layer, inputs)
    return b.binary("mul", total, 1 / len(inputs))


def concatenate(b: KerasBuilder, inputs: Sequence[Tensor], axis: int) -> Tensor:
    """Join tensors of one rank along an axis of Keras's shape."""
    first = any(t.first for t in inputs)
    edges = [b.channels_first(t) if first else b.source_order(t) for t in inputs]
    where = Tensor(edges[0], inputs[0].shape, first).axis(axis)
    return b.tensor(b.node("concat", edges, {"axis": where}), first)


def _concatenate(b: KerasBuilder, layer: Any, inputs: Sequence[Tensor]) -> Tensor:
    return concatenate(b, inputs, layer.axis)


def reshape(b: KerasBuilder, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshape the sample; `shape` without the batch, -1 for the rest."""
    wanted = [int(d) for d in shape]
    size = math.prod(x.shape[1:])
    if -1 in wanted:
        wanted[wanted.index(-1)] = size // -math.prod(wanted)
    flat = x.rank >= 3 and (math.prod(x.shape[1:-1]) == 1 or x.shape[-1] == 1)
    edge = (
        x.edge if flat else b.source_order(x)
    )  # one pixel or one channel: both orders hold the same numbers
    return b.tensor(b.node("reshape", [edge], {"shape": [x.shape[0], *wanted]}))


def _flatten(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    return x if x.rank == 2 else reshape(b, x, [-1])


def _reshape(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    return reshape(b, x, layer.target_shape)


def _permute(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    return b.tensor(b.node("transpose", [b.source_order(x)], {"perm": [0, *layer.dims]}))


def _repeat_vector(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge = b.node("reshape", [x.edge], {"shape": [-1, 1, x.shape[1]]})
    return b.tensor(b.node("expand", [edge], {"shape": [-1, layer.n, x.shape[1]]}))


def reduce(
    b: KerasBuilder, op: str, x: Tensor, axes: Sequence[int] | int | None, keepdims: bool
) -> Tensor:
    """Reduce axes of Keras's shape."""
    if axes is None:
        raise UnsupportedError(f"from_keras: {b.layer!r} reduces over the batch")
    chosen = [a + x.rank if a < 0 else a for a in ([axes] if isinstance(axes, int) else axes)]
    if 0 in chosen:
        raise UnsupportedError(f"from_keras: {b.layer!r} reduces over the batch")
    whole = set(chosen) == set(range(1, x.rank - 1))  # all spatial axes: [N, C] whatever the order
    if not keepdims and not whole and x.first:
        x = Tensor(b.source_order(x), x.shape)
    edge = b.node(
        op, [x.edge], {"axes": sorted(x.axis(a) for a in chosen), "keepdims": int(keepdims)}
    )
    return b.tensor(edge, x.first and keepdims)


def _global_pool(op: str) -> Converter:
    def convert(b: KerasBuilder, layer: Any, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        first = layer.data_format == "channels_first"
        axes = range(2, x.rank) if first else range(1, x.rank - 1)
        if not first:
            x = Tensor(b.channels_first(x), x.shape, True)
        return reduce(b, op, x, list(axes), bool(layer.keepdims))

    return convert


# -- keras.ops


def _op_binary(op: str) -> Converter:
    def convert(b: KerasBuilder, operation: Any, x1: Any, x2: Any) -> Tensor:
        values = [t if isinstance(t, (Tensor, float, int)) else value_of(t) for t in (x1, x2)]
        return b.binary(op, *values)

    return convert


def _op_unary(name: str) -> Converter:
    def convert(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
        op, attributes = _UNARY[name]
        attributes = dict(attributes)
        if name == "gelu":
            attributes["approximate"] = "tanh" if operation.approximate else "none"
        if name == "leaky_relu":
            attributes["alpha"] = float(operation.negative_slope)
        return b.unary(op, _first_argument(x), attributes)

    return convert


def _op_reduce(op: str) -> Converter:
    def convert(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
        return reduce(b, op, _first_argument(x), operation.axis, bool(operation.keepdims))

    return convert


def _op_matmul(b: KerasBuilder, operation: Any, x1: Any, x2: Any) -> Tensor:
    x, y = _first_argument(x1), _first_argument(x2)
    return b.tensor(b.node("matmul", [b.source_order(x), b.source_order(y)]))


def _op_reshape(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
    shape = [-1 if d is None else int(d) for d in operation.newshape]
    x = _first_argument(x)
    if shape and shape[0] == -1 and -1 not in shape[1:]:
        return reshape(b, x, shape[1:])
    raise UnsupportedError(
        f"from_keras: {b.layer!r} reshapes to {shape}; the batch must stay in front"
    )


def _op_transpose(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
    return b.tensor(
        b.node("transpose", [b.source_order(_first_argument(x))], {"perm": list(operation.axes)})
    )


def _op_clip(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
    return b.unary(
        "clip", _first_argument(x), {"min": float(operation.x_min), "max": float(operation.x_max)}
    )


def _op_square(b: KerasBuilder, operation: Any, x: Any) -> Tensor:
    return b.binary("mul", x, x)


def _op_concatenate(b: KerasBuilder, operation: Any, xs: Any, *rest: Any, **options: Any) -> Tensor:
    return concatenate(b, list(xs), operation.axis)


def _op_softmax(b: KerasBuilder, operation: Any, x: Any, *rest: Any, **options: Any) -> Tensor:
    return _softmax(b, operation, _first_argument(x))


LAYERS: dict[str, Converter] = {
    "Activation": _activation,
    "ActivityRegularization": _same,
    "Add": _merge("add"),
    "AlphaDropout": _same,
    "Average": _average,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Dense": _with_activation(_dense),
    "Dropout": _same,
    "ELU": lambda b, layer, x: b.unary("elu", x, {"alpha": float(layer.alpha)}),
    "Embedding": _embedding,
    "Flatten": _flatten,
    "GaussianDropout": _same,
    "GaussianNoise": _same,
    "GlobalAveragePooling1D": _global_pool("reduce_mean"),
    "GlobalAveragePooling2D": _global_pool("reduce_mean"),
    "GlobalMaxPooling1D": _global_pool("reduce_max"),
    "GlobalMaxPooling2D": _global_pool("reduce_max"),
    "Identity": _same,
    "LayerNormalization": _layer_norm,
    "LeakyReLU": lambda b, layer, x: b.unary(
        "leaky_relu", x, {"alpha": float(layer.negative_slope)}
    ),
    "Maximum": _merge("maximum"),
    "Minimum": _merge("minimum"),
    "MultiHeadAttention": multi_head_attention,
    "Multiply": _merge("mul"),
    "Normalization": _normalization,
    "PReLU": _prelu,
    "Permute": _permute,
    "ReLU": _relu,
    "RepeatVector": _repeat_vector,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialDropout1D": _same,
    "SpatialDropout2D": _same,
    "Subtract": _merge("sub"),
    **{
        name: _with_activation(convert) if activated else convert
        for name, (convert, activated) in CONVOLUTIONS.items()
    },
}

OPERATIONS: dict[str, Converter] = {
    "Absolute": _op_unary("absolute"),
    "Add": _op_binary("add"),
    "Clip": _op_clip,
    "Concatenate": _op_concatenate,
    "Divide": _op_binary("div"),
    "Elu": _op_unary("elu"),
    "Erf": _op_unary("erf"),
    "Exp": _op_unary("exp"),
    "Gelu": _op_unary("gelu"),
    "HardSigmoid": _op_unary("hard_sigmoid"),
    "HardSilu": _op_unary("hard_silu"),
    "LeakyRelu": _op_unary("leaky_relu"),
    "Log": _op_unary("log"),
    "Matmul": _op_matmul,
    "Max": _op_reduce("reduce_max"),
    "Maximum": _op_binary("maximum"),
    "Mean": _op_reduce("reduce_mean"),
    "Minimum": _op_binary("minimum"),
    "Multiply": _op_binary("mul"),
    "Negative": _op_unary("negative"),
    "Power": _op_binary("pow"),
    "Relu": _op_unary("relu"),
    "Relu6": _op_unary("relu6"),
    "Reshape": _op_reshape,
    "Sigmoid": _op_unary("sigmoid"),
    "Silu": _op_unary("silu"),
    "Softmax": _op_softmax,
    "Softplus": _op_unary("softplus"),
    "Sqrt": _op_unary("sqrt"),
    "Square": _op_square,
    "Subtract": _op_binary("sub"),
    "Sum": _op_reduce("reduce_sum"),
    "Tanh": _op_unary("tanh"),
    "Transpose": _op_transpose,
    "TrueDivide": _op_binary("div"),
}

__all__ = ["LAYERS", "OPERATIONS"]
