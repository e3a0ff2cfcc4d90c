"""Keras layers with windows: convolution, pooling, padding, cropping, up-sampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..base.error import UnsupportedError
from .keras_builder import Array, KerasBuilder, Tensor

Converter = Callable[..., Any]


def _oriented(b: KerasBuilder, layer: Any, x: Tensor) -> tuple[int, bool]:
    """The edge with channels at axis 1, and whether the result has to be turned back."""
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return b.source_order(x), False
    return b.channels_first(x), True


def _several(value: Any, count: int) -> list[int]:
    values = [value] * count if isinstance(value, int) else list(value)
    return [int(v) for v in values]


def _padding(
    mode: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[int]:
    """Pads in front of all axes, then behind."""
    front, behind = [], []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        reach = d * (k - 1)
        if mode == "same":
            total = max(0, (-(-size // s) - 1) * s + reach + 1 - size)
            front.append(total // 2)
            behind.append(total - total // 2)
        else:
            front.append(reach if mode == "causal" else 0)
            behind.append(0)
    return front + behind


def _out_in_first(kernel: Array) -> Array:
    """[spatial..., in, out] to [out, in, spatial...]."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def _depthwise(kernel: Array) -> Array:
    """[spatial..., channels, multiplier] to [channels * multiplier, 1, spatial...]."""
    moved = np.moveaxis(kernel, (-2, -1), (0, 1))
    return moved.reshape(-1, 1, *moved.shape[2:])


def _conv_node(
    b: KerasBuilder,
    layer: Any,
    edge: int,
    weight: int,
    bias: Any,
    strides: Sequence[int],
    dilations: Sequence[int],
    padding: str,
    groups: int,
) -> int:
    sizes, kernel = b.shape(edge)[2:], b.shape(weight)[2:]
    edges = [edge, weight] + ([] if bias is None else [b.weight(bias)])
    return b.node(
        "conv",
        edges,
        {
            "strides": list(strides),
            "dilations": list(dilations),
            "groups": groups,
            "pads": _padding(padding, sizes, kernel, strides, dilations),
        },
    )


def _conv(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    weight = b.weight(layer.kernel, _out_in_first)
    edge = _conv_node(
        b,
        layer,
        edge,
        weight,
        layer.bias if layer.use_bias else None,
        _several(layer.strides, x.rank - 2),
        _several(layer.dilation_rate, x.rank - 2),
        layer.padding,
        int(layer.groups),
    )
    return b.tensor(edge, turned)


def _depthwise_conv(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    weight = b.weight(layer.kernel, _depthwise)
    edge = _conv_node(
        b,
        layer,
        edge,
        weight,
        layer.bias if layer.use_bias else None,
        _several(layer.strides, x.rank - 2),
        _several(layer.dilation_rate, x.rank - 2),
        layer.padding,
        b.shape(edge)[1],
    )
    return b.tensor(edge, turned)


def _separable_conv(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    rank = x.rank - 2
    weight = b.weight(layer.depthwise_kernel, _depthwise)
    edge = _conv_node(
        b,
        layer,
        edge,
        weight,
        None,
        _several(layer.strides, rank),
        _several(layer.dilation_rate, rank),
        layer.padding,
        b.shape(edge)[1],
    )
    weight = b.weight(layer.pointwise_kernel, _out_in_first)
    edge = _conv_node(
        b,
        layer,
        edge,
        weight,
        layer.bias if layer.use_bias else None,
        [1] * rank,
        [1] * rank,
        "valid",
        1,
    )
    return b.tensor(edge, turned)


def _conv_transpose(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    rank = x.rank - 2
    strides, dilations = _several(layer.strides, rank), _several(layer.dilation_rate, rank)
    weight = b.weight(
        layer.kernel, _out_in_first
    )  # Keras keeps [spatial..., out, in]; the IR [in, out, spatial...]
    kernel = b.shape(weight)[2:]
    if layer.output_padding is not None:
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} has an output_padding, which is not supported"
        )
    front, behind, extra = [], [], []
    for k, s, d in zip(kernel, strides, dilations, strict=True):
        reach = d * (k - 1) + 1
        total = reach - s  # "same": size * stride comes out; "valid": at least the kernel's reach
        cut = max(0, total) if layer.padding == "same" else 0
        front.append(cut // 2)
        behind.append(cut - cut // 2)
        extra.append(max(0, -total))
    edges = [edge, weight] + ([b.weight(layer.bias)] if layer.use_bias else [])
    edge = b.node(
        "conv_transpose",
        edges,
        {
            "strides": strides,
            "dilations": dilations,
            "pads": front + behind,
            "output_padding": extra,
        },
    )
    return b.tensor(edge, turned)


def _pool(op: str) -> Converter:
    def convert(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
        edge, turned = _oriented(b, layer, x)
        rank = x.rank - 2
        kernel, strides = _several(layer.pool_size, rank), _several(layer.strides, rank)
        pads = _padding(layer.padding, b.shape(edge)[2:], kernel, strides, [1] * rank)
        return b.tensor(
            b.node(op, [edge], {"kernel": kernel, "strides": strides, "pads": pads}), turned
        )

    return convert


def _pairs(value: Any, count: int) -> list[tuple[int, int]]:
    if isinstance(value, int):
        return [(value, value)] * count
    values = list(value)
    if count == 1 and len(values) == 2 and isinstance(values[0], int):
        return [(int(values[0]), int(values[1]))]
    return [(int(v), int(v)) if isinstance(v, int) else (int(v[0]), int(v[1])) for v in values]


def _zero_padding(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    pairs = _pairs(layer.padding, x.rank - 2)
    pads = [0, 0, *(p[0] for p in pairs), 0, 0, *(p[1] for p in pairs)]
    return b.tensor(b.node("pad", [edge], {"pads": pads}), turned)


def _cropping(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    pairs = _pairs(layer.cropping, x.rank - 2)
    sizes = b.shape(edge)[2:]
    edge = b.node(
        "slice",
        [edge],
        {
            "axes": list(range(2, x.rank)),
            "starts": [p[0] for p in pairs],
            "ends": [s - p[1] for s, p in zip(sizes, pairs, strict=True)],
            "steps": [1] * len(pairs),
        },
    )
    return b.tensor(edge, turned)


def _up_sampling(b: KerasBuilder, layer: Any, x: Tensor) -> Tensor:
    edge, turned = _oriented(b, layer, x)
    mode = getattr(layer, "interpolation", "nearest")
    if mode not in ("nearest", "bilinear"):
        raise UnsupportedError(
            f"from_keras: layer {b.layer!r} has interpolation {mode!r}; nearest and bilinear are "
            f"supported"
        )
    factors = _several(layer.size, x.rank - 2)
    attributes = {"sizes": [s * f for s, f in zip(b.shape(edge)[2:], factors, strict=True)]}
    kind = (
        {"mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}
        if mode == "nearest"
        else {"mode": "linear", "coordinates": "half_pixel"}
    )
    return b.tensor(b.node("resize", [edge], {**attributes, **kind}), turned)


# name -> (converter, whether the layer has an `activation`)
CONVOLUTIONS: dict[str, tuple[Converter, bool]] = {
    **{f"Conv{n}D": (_conv, True) for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": (_conv_transpose, True) for n in (1, 2)},
    **{f"DepthwiseConv{n}D": (_depthwise_conv, True) for n in (1, 2)},
    **{f"SeparableConv{n}D": (_separable_conv, True) for n in (1, 2)},
    **{f"MaxPooling{n}D": (_pool("max_pool"), False) for n in (1, 2)},
    **{f"AveragePooling{n}D": (_pool("avg_pool"), False) for n in (1, 2)},
    **{f"ZeroPadding{n}D": (_zero_padding, False) for n in (1, 2)},
    **{f"Cropping{n}D": (_cropping, False) for n in (1, 2)},
    **{f"UpSampling{n}D": (_up_sampling, False) for n in (1, 2)},
}

__all__ = ["CONVOLUTIONS"]
