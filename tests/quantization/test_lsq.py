"""lsq_forward and lsq_backward against the formula in float64 and against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tersor.quantization import (
    QParams,
    choose_qparams,
    dequantize,
    lsq_backward,
    lsq_forward,
    quantize,
)

SIZES = [0, 1, 31, 32, 33, 1023, 1024, 1025, 40_000]
RANGES = {(True, False): (-128, 127), (True, True): (-127, 127), (False, False): (0, 255)}


def code_range(bits, signed, narrow):
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1


def formula(dy, x, scale, zero, lo, hi, float_zero):
    """dx, and the terms of dscale and dzero, in float64 with the quotient in float32."""
    low, high, offset = (lo, hi, zero) if float_zero else (lo - zero, hi - zero, 0)
    with np.errstate(invalid="ignore", over="ignore"):
        t = (x / scale + np.float32(offset)).astype(np.float64)
    inside = (low < t) & (t < high)
    c = np.where(t <= low, low, high)
    dy = np.where(np.isnan(t), 0, dy.astype(np.float64))
    dx = np.where(inside, dy, 0)
    with np.errstate(invalid="ignore"):
        by_scale = dy * np.where(inside, np.rint(t) - t, c - np.float64(np.float32(offset)))
    return dx, by_scale, np.where(inside, 0, -np.float64(scale) * dy)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("float_zero", [False, True])
@pytest.mark.parametrize(("signed", "narrow"), [(True, False), (True, True), (False, False)])
def test_per_tensor(isa, n, bits, float_zero, signed, narrow):
    rng = np.random.default_rng(n)
    x, dy = rng.normal(size=(2, n)).astype(np.float32)
    if n > 40:
        x[:4] = np.nan, np.inf, -np.inf, -0.0
    lo, hi = code_range(bits, signed, narrow)
    scale, zero = np.float32(2.0 / hi), np.float32(0.3 if signed else hi / 2 + 0.3)
    more = {"bits": bits, "signed": signed, "narrow": narrow, "float_zero_point": float_zero}
    dx, dscale, dzero = lsq_backward(dy, x, scale, zero, gradient_scale=1.0, **more)
    used = zero if float_zero else np.rint(zero)
    wanted = formula(dy, x, scale, used, lo, hi, float_zero)
    np.testing.assert_array_equal(dx, wanted[0])
    for got, terms in ((dscale, wanted[1]), (dzero, wanted[2])):
        assert got.shape == ()
        np.testing.assert_allclose(got, terms.sum(), atol=1e-5 * np.abs(terms).sum() + 1e-30)
    q = QParams(
        scale=[scale],
        zero_point=[0 if float_zero else int(used)],
        bits=bits,
        signed=signed,
        narrow=narrow,
        zero_point_float=[zero] if float_zero else None,
    )
    y = lsq_forward(x, scale, zero, **more)
    np.testing.assert_array_equal(y, dequantize(quantize(x, q), q))


SHAPES = [
    ((3, 5, 7), 0, None),
    ((3, 5, 7), 1, None),
    ((3, 5, 7), 2, None),
    ((300, 16), 1, None),
    ((2, 40_000), 0, None),
    ((40_000, 2), 1, None),
    ((5, 3, 9_000), 1, None),
    ((3, 5, 7), (1, 2), 4),
    ((3, 300), 1, 128),
    ((150, 4), 0, 100),
]


@pytest.mark.parametrize(("shape", "axis", "group"), SHAPES)
@pytest.mark.parametrize("float_zero", [False, True])
def test_channels_and_groups(isa, shape, axis, group, float_zero):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, *shape)).astype(np.float32)
    q = choose_qparams(
        x,
        4,
        symmetric=False,
        axis=axis,
        group_size=group,
        method="percentile",
        percentile=0.8,
        float_zero_point=float_zero,
    )
    zero = q.zero_point_float if float_zero else q.zero_point.astype(np.float32)
    more = {"bits": 4, "axis": axis, "group_size": group, "float_zero_point": float_zero}
    y = lsq_forward(x, q.scale, zero, **more)
    np.testing.assert_array_equal(y, dequantize(quantize(x, q), q))
    dx, dscale, dzero = lsq_backward(dy, x, q.scale, zero, gradient_scale=1.0, **more)
    # Which scale belongs to which element: the codes of an array of ones times the index.
    ones = QParams(
        scale=np.arange(1, len(q.scale) + 1),
        zero_point=[0] * len(q.scale),
        axis=q.axis,
        group_size=q.group_size,
    )
    index = dequantize(np.ones(shape, np.int8), ones).astype(int) - 1
    wanted = formula(dy, x, q.scale[index], zero[index], q.code_min, q.code_max, float_zero)
    np.testing.assert_array_equal(dx, wanted[0])
    for got, terms in ((dscale, wanted[1]), (dzero, wanted[2])):
        total = np.bincount(index.ravel(), terms.ravel(), len(q.scale))
        size = np.bincount(index.ravel(), np.abs(terms).ravel(), len(q.scale))
        assert (np.abs(got - total) <= 1e-5 * size + 1e-30).all()


def test_gradients_are_finite_differences_of_the_relaxed_quantizer():
    """With rounding frozen (its residual a constant) the gradient is that of a smooth function."""
    rng = np.random.default_rng(3)
    x, dy = rng.normal(size=(2, 400)).astype(np.float32)
    scale, zero, lo, hi = 0.21, 1.3, -8, 7
    residual = np.rint(x / scale + zero) - (x / scale + zero)

    def loss(x, scale, zero):
        t = x / scale + zero
        code = np.where(t <= lo, lo, np.where(t >= hi, hi, t + residual))
        return float(dy.astype(np.float64) @ ((code - zero) * scale))

    x64, step = x.astype(np.float64), 1e-7
    dx, dscale, dzero = lsq_backward(
        dy, x, scale, zero, bits=4, float_zero_point=True, gradient_scale=1.0
    )
    by_scale = (loss(x64, scale + step, zero) - loss(x64, scale - step, zero)) / (2 * step)
    by_zero = (loss(x64, scale, zero + step) - loss(x64, scale, zero - step)) / (2 * step)
    np.testing.assert_allclose(dscale, by_scale, rtol=1e-4)
    np.testing.assert_allclose(dzero, by_zero, rtol=1e-4)
    for i in range(0, 400, 37):
        moved = x64.copy()
        moved[i] += step
        by_x = (loss(moved, scale, zero) - loss(x64, scale, zero)) / step
        np.testing.assert_allclose(dx[i], by_x, atol=1e-4)


def test_gradient_scale_is_the_papers_by_default():
    x = np.random.default_rng(0).normal(size=(10, 50)).astype(np.float32)
    for axis, values in ((None, 500), (0, 50)):
        scale = 0.1 if axis is None else np.full(10, 0.1)
        once = lsq_backward(x, x, scale, bits=4, axis=axis, gradient_scale=1.0)
        default = lsq_backward(x, x, scale, bits=4, axis=axis)
        for a, b in zip(once[1:], default[1:], strict=True):
            np.testing.assert_allclose(b, a / np.sqrt(values * 7), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "axis"), [((200_001,), None), ((64, 3, 999), 1), ((9, 20_000), 0), ((9_000, 20), 1)]
)
def test_bytes_do_not_depend_on_threads(shape, axis):
    import tersor

    x, dy = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    scale = 0.1 if axis is None else np.full(shape[axis], 0.1)
    results = []
    for threads in (1, 2, 3):
        tersor.set_threads(threads)
        results.append([a.tobytes() for a in lsq_backward(dy, x, scale, 3, bits=5, axis=axis)])
    tersor.set_threads(0)
    assert results[0] == results[1] == results[2]


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e4, 1e4, width=32)),
    st.integers(2, 8),
    st.floats(1e-3, 10),
    st.floats(-200, 200),
)
def test_any_zero_point(x, bits, scale, zero):
    dx, dscale, dzero = lsq_backward(np.ones_like(x), x, scale, zero, bits=bits, gradient_scale=1)
    lo, hi = code_range(bits, True, False)
    used = np.clip(np.rint(np.float32(zero)), lo, hi)
    wanted = formula(np.ones_like(x), x, np.float32(scale), used, lo, hi, False)
    np.testing.assert_array_equal(dx, wanted[0])
    np.testing.assert_allclose(dscale, wanted[1].sum(), atol=1e-4 * np.abs(wanted[1]).sum() + 1e-6)
    np.testing.assert_allclose(dzero, wanted[2].sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"scale": 0.0}, "scale must be finite and > 0, got 0"),
        ({"scale": [1.0, 2.0]}, "scale must have 1 element, got 2"),
        ({"scale": [1.0] * 3, "axis": 0}, "scale must have 1 or 2 elements, got 3"),
        ({"scale": 1.0, "bits": 9}, r"bits must be in \[2, 8\], got 9"),
        ({"scale": 1.0, "bits": 4.5}, "bits must be an integer, got 4.5"),
        ({"scale": "a"}, "scale must be numbers, got 'a'"),
        ({"scale": 1.0, "axis": 3}, "axis must be an axis or consecutive axes of x, which has 2"),
        (
            {"scale": 1.0, "group_size": 2},
            "group_size must be at least 1 and have an axis, got 2 and axis None",
        ),
        ({"scale": 1.0, "zero_point": np.nan}, r"zero_point must be in \[-2\^21, 2\^21\]"),
        ({"scale": 1.0, "out": np.zeros(3, np.float32)}, "out must be C-contiguous"),
    ],
)
def test_errors_name_the_value(arguments, text):
    error = TypeError if "integer" in text or "numbers" in text else ValueError
    with pytest.raises(error, match=f"lsq_forward: {text}"):
        lsq_forward(np.zeros((2, 2)), **arguments)
    with pytest.raises(error, match=f"lsq_backward: {text}"):
        lsq_backward(np.zeros((2, 2)), np.zeros((2, 2)), **arguments)


def test_errors_of_the_gradient_name_the_value():
    with pytest.raises(
        ValueError, match=r"lsq_backward: dy must have shape \(2,\) like x, got \(3,"
    ):
        lsq_backward(np.zeros(3), np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="lsq_backward: gradient_scale must be finite, got nan"):
        lsq_backward(np.zeros(2), np.zeros(2), 1.0, gradient_scale=np.nan)
