"""TFLite Micro's integer arithmetic in Python integers: the independent truth of `exact`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import operator_truth

Codes = NDArray[Any]


def quantize_multiplier(value: float) -> tuple[int, int]:
    """Q31 mantissa and exponent of a positive real number."""
    fraction, exponent = math.frexp(value)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, exponent = mantissa // 2, exponent + 1
    return (0, 0) if exponent < -31 else (mantissa, exponent)


def scaled(x: Codes, multiplier: tuple[int, int] | list[tuple[int, int]], axis: int = 0) -> Codes:
    """Doubling high multiplication, then a rounding shift; per channel along `axis` for a list."""
    if isinstance(multiplier, list):
        parts = [scaled(x.take([c], axis), m) for c, m in enumerate(multiplier)]
        return np.concatenate(parts, axis)
    mantissa, exponent = multiplier
    product = (x.astype(object) << max(exponent, 0)) * mantissa

    def one(p: int) -> int:
        nudge = 2**30 if p >= 0 else 1 - 2**30
        high = abs(p + nudge) // 2**31 * (1 if p + nudge >= 0 else -1)
        shift = max(-exponent, 0)
        mask = 2**shift - 1
        return (high >> shift) + ((high & mask) > (mask >> 1) + (high < 0))

    return np.array([one(p) for p in product.ravel()], dtype=np.int64).reshape(x.shape)


def _limits(case: Any, q: Any) -> tuple[int, int]:
    zero, scale = int(q.output.zero_point[0]), np.float32(q.output.scale[0])
    name = case.attributes.get("activation", "none")
    low = max(-128, zero) if name != "none" else -128
    high = (
        min(127, zero + math.floor(float(np.float32(6) / scale) + 0.5)) if name == "relu6" else 127
    )
    return low, high


def _finish(case: Any, q: Any, y: Codes) -> Codes:
    return np.clip(y + int(q.output.zero_point[0]), *_limits(case, q)).astype(np.int8)


def affine(case: Any, q: Any) -> Codes:
    """conv, conv_transpose, dense, matmul."""
    x = q.codes[0].astype(np.int64) - int(q.qparams[0].zero_point[0])
    w = q.codes[1].astype(np.int64)
    if case.op == "matmul":
        w = w - int(q.qparams[1].zero_point[0])
    bias = [c.astype(np.int64) for c in q.codes[2:]]
    plain = {**case.attributes, "activation": "none"}
    sums = operator_truth.TRUTH[case.op](plain, x, w, *bias)
    scale_in, scale_out = float(q.qparams[0].scale[0]), float(q.output.scale[0])
    multipliers = [quantize_multiplier(scale_in * float(s) / scale_out) for s in q.qparams[1].scale]
    axis = 1 if case.op.startswith("conv") else sums.ndim - 1
    multipliers *= sums.shape[axis] // len(multipliers)
    return _finish(case, q, scaled(sums, multipliers, axis))


def add(case: Any, q: Any) -> Codes:
    """Add and sub."""
    a, b = (
        c.astype(np.int64) - int(p.zero_point[0]) for c, p in zip(q.codes, q.qparams, strict=True)
    )
    scale_a, scale_b = (float(p.scale[0]) for p in q.qparams)
    twice = 2 * max(scale_a, scale_b)
    left = scaled(a << 20, quantize_multiplier(scale_a / twice))
    right = scaled(b << 20, quantize_multiplier(scale_b / twice))
    total = left + right if case.op == "add" else left - right
    return _finish(
        case, q, scaled(total, quantize_multiplier(twice / (2**20 * float(q.output.scale[0]))))
    )


def mul(case: Any, q: Any) -> Codes:
    a, b = (
        c.astype(np.int64) - int(p.zero_point[0]) for c, p in zip(q.codes, q.qparams, strict=True)
    )
    real = float(q.qparams[0].scale[0]) * float(q.qparams[1].scale[0]) / float(q.output.scale[0])
    return _finish(case, q, scaled(a * b, quantize_multiplier(real)))


def average(sums: Codes, count: Codes) -> Codes:
    """Quotient rounded half away from zero."""
    half = count // 2
    return np.sign(sums) * ((np.abs(sums) + half) // count)


def avg_pool(case: Any, q: Any) -> Codes:
    values, inside, padded = operator_truth._windows(
        case.attributes, q.codes[0].astype(np.int64), 0
    )
    count = (padded if case.attributes["count_include_pad"] else inside).sum(-1)
    outside = count - inside.sum(-1)
    return average(values.sum(-1) + outside * int(q.qparams[0].zero_point[0]), count).astype(
        np.int8
    )


def reduce_mean(case: Any, q: Any) -> Codes:
    axes = tuple(case.attributes["axes"])
    x = q.codes[0].astype(np.int64) - int(q.qparams[0].zero_point[0])
    count = math.prod(x.shape[a] for a in axes)
    mantissa, exponent = quantize_multiplier(
        float(q.qparams[0].scale[0]) / float(q.output.scale[0])
    )
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    sums = x.sum(axes, keepdims=bool(case.attributes["keepdims"]))
    return _finish(case, q, scaled(sums, ((mantissa << shift) // count, exponent - shift)))


def softmax(case: Any, q: Any) -> Codes:
    """Quotients of the 23-bit exponentials, rounded half up."""
    x, axis = q.codes[0].astype(np.int64), case.attributes["axis"]
    table = np.rint(
        2.0**23 * np.exp(-float(np.float32(q.qparams[0].scale[0])) * np.arange(256))
    ).astype(np.int64)
    e = table[x.max(axis, keepdims=True) - x]
    total = e.sum(axis, keepdims=True)
    return (np.minimum((e * 256 + total // 2) // total, 255) - 128).astype(np.int8)


def linear(case: Any, q: Any) -> Codes:
    """relu, leaky_relu."""
    x = q.codes[0].astype(np.int64) - int(q.qparams[0].zero_point[0])
    scale_in, scale_out = float(q.qparams[0].scale[0]), float(q.output.scale[0])
    alpha = float(np.float32(case.attributes.get("alpha", 0)))
    above = scaled(x, quantize_multiplier(scale_in / scale_out))
    below = scaled(x, quantize_multiplier(scale_in * alpha / scale_out))
    return _finish(case, q, np.where(x < 0, below, above))


def hard_swish(case: Any, q: Any) -> Codes:
    """TFLite's 16 bits: x at 128 times its codes times a factor in [0, 1), of 15 bits."""
    x = 128 * (q.codes[0].astype(np.int64) - int(q.qparams[0].zero_point[0]))
    fine = np.float32(1 / 128) * np.float32(q.qparams[0].scale[0])
    multipliers = []
    for real in (fine / np.float32(q.output.scale[0]), fine / np.float32(3 / 32768)):
        mantissa, exponent = quantize_multiplier(float(real))
        multipliers.append((min((mantissa + 2**15) >> 16, 32767), exponent))
    (output, shift), (steep, exponent) = multipliers
    assert shift <= 0

    def high(a: Codes, b: Any) -> Codes:
        return np.sign(a * b) * ((np.abs(a * b) + 2**14) >> 15)

    def halved(a: Codes, right: int) -> Codes:
        half = 2**right // 2
        return np.sign(a) * ((np.abs(a) + half) >> right)

    def bounded(a: Codes) -> Codes:
        return np.clip(a, -32768, 32767)

    factor = high(bounded(x << max(exponent - 1, 0)), steep)
    factor = bounded(factor << min(max(exponent, 0), 1))
    factor = (halved(factor, max(-exponent, 0)) + 2**15) >> 1
    product = factor * high(x, output)
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return _finish(case, q, halved(truncated, -shift))


FORMULAS: dict[str, Callable[[Any, Any], Codes]] = {
    "conv": affine,
    "conv_transpose": affine,
    "dense": affine,
    "matmul": affine,
    "add": add,
    "sub": add,
    "mul": mul,
    "avg_pool": avg_pool,
    "reduce_mean": reduce_mean,
    "softmax": softmax,
    "relu": linear,
    "leaky_relu": linear,
    "hard_swish": hard_swish,
}
