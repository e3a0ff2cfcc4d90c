"""tersor.quantization.dense_dynamic: the formula of its header, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.quantization import DenseDynamic

F = np.float32


def expected(x, w, scale, bias=None, low=-np.inf, high=np.inf):
    """The header's formula in NumPy: float32 where it says so, sums in int64."""
    with np.errstate(all="ignore"):
        lo = np.minimum(x.min(1, initial=0), F(0))
        hi = np.maximum(x.max(1, initial=0), F(0))
        good = np.isfinite(x).all(1) & np.isfinite(hi - lo)
        s = np.maximum((hi - lo) / F(255), F(2.0**-126))
        s = np.where((hi - lo == 0) | ~good, F(1), s)
        z = np.clip(np.rint(F(-128) - lo / s), -128, 127)
        q = np.clip(np.rint(x / s[:, None]) + z[:, None], -128, 127)
        differences = np.where(good[:, None], q - z[:, None], 0).astype(np.int64)
        sums = (differences @ w.T.astype(np.int64)).astype(F)
        y = sums * (np.where(good, s, F(np.nan))[:, None] * scale)
        if bias is not None:
            y = y + bias
        return np.where(np.isnan(y), y, np.clip(y, F(low), F(high)))


def layer(outputs, inputs, rows, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    scale = rng.uniform(0.001, 0.1, outputs).astype(F)
    bias = rng.normal(size=outputs).astype(F)
    return w, scale, bias, rng.normal(1, 2, (rows, inputs)).astype(F)


@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 13, 200])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 1), (10, 64), (16, 17), (33, 576), (300, 31)])
@pytest.mark.parametrize("algorithm", ["automatic", "pairs", "bytes"])
def test_bit_for_bit(isa, rows, outputs, inputs, algorithm):
    w, scale, bias, x = layer(outputs, inputs, rows)
    got = DenseDynamic(w, scale, bias, algorithm=algorithm)(x)
    np.testing.assert_array_equal(got, expected(x, w, scale, bias))


@settings(max_examples=30, deadline=None)
@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 300),
    rows=st.integers(1, 20),
    exponent=st.sampled_from([-130, -100, 0, 60, 100]),
    seed=st.integers(0, 99),
)
def test_any_layer(outputs, inputs, rows, exponent, seed):
    w, scale, bias, x = layer(outputs, inputs, rows, seed)
    x = (x * 2.0**exponent).astype(F)
    np.testing.assert_array_equal(DenseDynamic(w, scale, bias)(x), expected(x, w, scale, bias))


def test_threads_and_rows_change_nothing(isa):
    w, scale, bias, x = layer(700, 200, 300)
    dense, results = DenseDynamic(w, scale, bias), []
    for threads in (1, 2):
        tersor.set_threads(threads)
        results.append(dense(x))
    tersor.set_threads(0)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(dense(x[7:9]), results[0][7:9])


@pytest.mark.parametrize("algorithm", ["pairs", "bytes"])
def test_extreme_sums(isa, algorithm):
    inputs = 2048
    for sign in (1, -1):
        w = np.full((3, inputs), 127 * sign, np.int8)
        x = np.ones((2, inputs), F)
        x[0] = -1
        got = DenseDynamic(w, 1.0, algorithm=algorithm)(x)
        np.testing.assert_array_equal(got, expected(x, w, np.ones(3, F)))


@pytest.mark.parametrize("algorithm", ["pairs", "bytes"])
def test_rows_without_a_range(isa, algorithm):
    w, scale, bias, x = layer(9, 40, 6)
    x[0], x[1, 3], x[2, 4], x[3, :2] = 0, np.nan, np.inf, (3e38, -3e38)
    x[4] = -5
    y = DenseDynamic(w, scale, bias, low=0.0, algorithm=algorithm)(x)
    np.testing.assert_array_equal(y, expected(x, w, scale, bias, low=0))
    np.testing.assert_array_equal(y[0], np.maximum(bias, 0))
    assert np.isnan(y[1:4]).all()


def test_close_to_float(isa):
    """Half a step of each input at most."""
    w, scale, bias, x = layer(50, 300, 8)
    real = x.astype(np.float64) @ (w * scale[:, None].astype(np.float64)).T + bias
    step = (np.maximum(x.max(1), 0) - np.minimum(x.min(1), 0)) / 255
    bound = step[:, None] * (np.abs(w) * scale[:, None]).sum(1)
    assert (np.abs(DenseDynamic(w, scale, bias)(x) - real) <= bound).all()


def test_kernel_and_out():
    w, scale, bias, x = layer(20, 30, 4)
    dense = DenseDynamic(w, scale, bias)
    assert dense.kernel.startswith("dense_dynamic conv_")
    assert dense.packed_bytes >= 20 * 30
    y = np.empty((4, 20), F)
    assert dense(x, out=y) is y


def test_mistakes():
    with pytest.raises(TypeError, match="weights must be int8, got float64"):
        DenseDynamic(np.zeros((2, 3)), 1.0)
    with pytest.raises(ValueError, match="codes must have 2 dimensions, got 1"):
        DenseDynamic(np.zeros(3, np.int8), np.ones(3, F))
    with pytest.raises(ValueError, match="scale must have 2 elements, got 3"):
        DenseDynamic(np.zeros((2, 4), np.int8), np.ones(3, F))
    with pytest.raises(ValueError, match="bias must have 2 elements, got 1"):
        DenseDynamic(np.zeros((2, 4), np.int8), 1.0, [0.0])
    with pytest.raises(ValueError, match=r"inputs must be in \[1, 65793\], got 65794"):
        DenseDynamic(np.zeros((1, 65794), np.int8), 1.0)
    with pytest.raises(ValueError, match="algorithm must be automatic, pairs or bytes, got quads"):
        DenseDynamic(np.zeros((2, 4), np.int8), 1.0, algorithm="quads")
