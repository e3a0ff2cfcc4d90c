"""Casts equal ml_dtypes (NumPy for float16) over all codes and a dense sample of all floats."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tersor.quantization import cast

FORMATS = {
    "fp16": (np.float16, np.uint16, 10),
    "bf16": (ml_dtypes.bfloat16, np.uint16, 7),
    "fp8_e4m3": (ml_dtypes.float8_e4m3fn, np.uint8, 3),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, np.uint8, 2),
}


def codes_of(name):
    dtype, bits, _ = FORMATS[name]
    return np.arange(np.iinfo(bits).max + 1, dtype=bits).view(dtype)


def assert_same(got, wanted, bits):
    """Equal bits; NaN with the same sign (NumPy keeps payloads of its own way)."""
    with np.errstate(invalid="ignore"):  # signalling ones
        nan = np.isnan(wanted)
        np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got.view(bits)[~nan], wanted.view(bits)[~nan])
    top = np.iinfo(bits).max // 2
    np.testing.assert_array_equal(got.view(bits)[nan] > top, wanted.view(bits)[nan] > top)


def check_narrowing(name, x):
    dtype, bits, _ = FORMATS[name]
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = x.astype(dtype)
    got = cast(x, name)
    assert got.dtype == dtype
    assert_same(got, wanted, bits)


@pytest.mark.parametrize("name", FORMATS)
def test_widening_all_codes(isa, name):
    codes = codes_of(name)
    got = cast(codes, "fp32")
    assert got.dtype == np.float32
    assert_same(got, codes.astype(np.float32), np.uint32)


@pytest.mark.parametrize("name", FORMATS)
def test_codes_come_back(isa, name):
    codes = codes_of(name)
    _, bits, _ = FORMATS[name]
    assert_same(cast(cast(codes, "fp32"), name), codes, bits)


@pytest.mark.parametrize("name", FORMATS)
def test_narrowing_every_exponent_and_sign(isa, name):
    """All 2^16 leading bit patterns with zeros, ones, and random bits behind them."""
    leading = np.arange(2**16, dtype=np.uint32) << 16
    rng = np.random.default_rng(0)
    for rest in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, rng.integers(0, 2**16, leading.size)):
        check_narrowing(name, (leading | np.uint32(rest)).view(np.float32))


@pytest.mark.parametrize("name", FORMATS)
def test_narrowing_around_every_tie(isa, name):
    """Halfway between neighbouring codes, and one float to each side of it."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        codes = cast(codes_of(name), "fp32").astype(np.float64)
    finite = np.unique(codes[np.isfinite(codes)])
    ties = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    x = np.concatenate([ties, np.nextafter(ties, np.float32(np.inf)), finite.astype(np.float32)])
    x = np.concatenate([x, np.nextafter(ties, np.float32(-np.inf))])
    top = np.float32(finite[-1])
    beyond = top * np.linspace(0.9, 1.2, 4001, dtype=np.float32) if top < 1e38 else top
    check_narrowing(name, np.concatenate([x, np.atleast_1d(beyond), -np.atleast_1d(beyond)]))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_narrowing_one_float_in_sixteen(name):
    for part in range(64):
        first = np.uint32(part << 26)
        check_narrowing(name, (first + np.arange(5, 2**26, 16, dtype=np.uint32)).view(np.float32))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 1001])
@pytest.mark.parametrize("name", FORMATS)
def test_sizes_and_out(isa, name, n):
    dtype, bits, _ = FORMATS[name]
    x = np.random.default_rng(n).normal(size=n + 1).astype(np.float32)[1:]
    check_narrowing(name, x)
    out = np.empty(n + 2, dtype)
    out.view(bits)[:] = 77
    assert cast(x, name, out=out[1:-1]) is not None
    assert_same(out[1:-1], x.astype(dtype), bits)
    assert (out.view(bits)[[0, -1]] == 77).all()
    back = np.empty(n, np.float32)
    assert cast(out[1:-1], "fp32", out=back) is back
    np.testing.assert_array_equal(back, x.astype(dtype).astype(np.float32))


@settings(max_examples=200, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=0, max_dims=3, max_side=9),
        elements=st.floats(width=32, allow_subnormal=True),
    ),
    st.sampled_from(sorted(FORMATS)),
)
def test_any_array(x, name):
    check_narrowing(name, np.asarray(x))
    moved = np.asarray(x).T
    assert cast(moved, name).shape == moved.shape


def test_threads_change_nothing(threads):
    x = np.random.default_rng(0).normal(size=300_001).astype(np.float32)
    for name in FORMATS:
        check_narrowing(name, x)


def test_other_dtypes_are_converted():
    assert cast([1, 2], "bf16").tolist() == [1, 2]
    x = np.float64([1.5, 2.5])
    assert cast(x, "fp32").dtype == np.float32
    half = np.float16([1.5, 2.5])
    np.testing.assert_array_equal(cast(half, "fp8_e5m2"), half.astype(ml_dtypes.float8_e5m2))


def test_errors_name_the_value():
    with pytest.raises(ValueError, match=r"format must be fp16, bf16, .*, got 'int8'"):
        cast([1.0], "int8")
    with pytest.raises(TypeError, match="out must have dtype float16, got float32"):
        cast([1.0], "fp16", out=np.zeros(1, np.float32))
    with pytest.raises(ValueError, match=r"out must have shape \(1,\), got \(2,\)"):
        cast([1.0], "fp16", out=np.zeros(2, np.float16))
