"""tersor.quantization.requantize: both arithmetics against their formulas in Python integers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.quantization import requantize

SUMS = [0, 1, -1, 2, -2, 127, -128, 2**24 + 1, -(2**24) - 1, 2**30, -(2**30), 2**31 - 1, -(2**31)]


def fixed(value):
    """TFLite's QuantizeMultiplier."""
    if value == 0:
        return 0, 0
    fraction, shift = math.frexp(value)
    mantissa = math.floor(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    return (0, 0) if shift < -31 else (mantissa, shift)


def exact_code(total, value, zero_point, lo, hi):
    """MultiplyByQuantizedMultiplier with two roundings, in unbounded integers."""
    mantissa, shift = fixed(value)
    product = min(max(total << max(shift, 0), -(2**31)), 2**31 - 1) * mantissa
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)
    right = max(-shift, 0)
    remainder = high & ((1 << right) - 1)
    threshold = (((1 << right) - 1) >> 1) + (1 if high < 0 else 0)
    scaled = (high >> right) + (1 if remainder > threshold else 0)
    return min(max(scaled + zero_point, lo), hi)


def fast_codes(sums, value, zero_point):
    """One rounding in float32, of the product and half a unit of the first rounding of exact."""
    _mantissa, shift = fixed(value)
    offset = np.float32(2.0 ** (shift - 1) if shift < 0 else 0)
    v = sums.astype(np.float32) * np.float32(value)
    v = np.clip(v + np.copysign(offset, v), -128 - zero_point, 127 - zero_point)
    return np.rint(v) + zero_point


@pytest.mark.parametrize(
    "value", [0.0, 1e-12, 2**-32, 1e-6, 0.1, 0.25, 0.5, 0.999999999999, 1.0, 300.0]
)
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_requantize_extremes(value, zero_point):
    sums = np.array(SUMS, np.int32)
    exact = [exact_code(s, value, zero_point, -128, 127) for s in SUMS]
    np.testing.assert_array_equal(requantize(sums, value, zero_point, arithmetic="exact"), exact)
    np.testing.assert_array_equal(
        requantize(sums, value, zero_point), fast_codes(sums, value, zero_point)
    )


@settings(max_examples=300, deadline=None)
@given(total=st.integers(-(2**31), 2**31 - 1), value=st.floats(2.0**-40, 8.0))
def test_requantize_any_sum(total, value):
    expected = exact_code(total, value, 3, -100, 90)
    got = requantize([total], value, 3, lo=-100, hi=90, arithmetic="exact")
    assert got[0] == expected
    assert abs(int(requantize([total], value, 3, lo=-100, hi=90)[0]) - expected) <= 1


@pytest.mark.parametrize("value", [0.0003, 0.0077, 0.04, 0.30902])
def test_fast_is_exact_but_for_float_rounding(value):
    # Every sum whose code is not clamped. Without the offset a sum in 1 / value would differ.
    sums = np.arange(int(-127 / value), int(127 / value), dtype=np.int32)
    differ = requantize(sums, value) != requantize(sums, value, arithmetic="exact")
    assert differ.mean() <= 1e-4


def test_requantize_per_channel():
    sums = np.arange(-6, 6, dtype=np.int32).reshape(2, 2, 3)
    expected = np.rint(sums * np.array([1.0, 0.5, 2.0]))
    np.testing.assert_array_equal(requantize(sums, [1.0, 0.5, 2.0]), expected)
    with pytest.raises(ValueError, match="multiplier must have one element"):
        requantize(sums, [1.0, 2.0])
    with pytest.raises(ValueError, match="32-bit integers"):
        requantize([2**31], 1.0)
