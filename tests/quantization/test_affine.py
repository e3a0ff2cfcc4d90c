"""tersor.quantization.affine against NumPy in float64 and, bit for bit, against the ref kernel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.quantization import dequantize_affine, quantize_affine

SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 1000]
LARGE = 200_001  # several chunks of the thread pool, not a multiple of anything


def numpy_quantize(x, scale, zero_point, lo=-128, hi=127):
    """Float64 truth: a float64 quotient rounded to float32 is the correctly rounded float32 one."""
    scale, zero_point = np.float64(np.float32(scale)), np.asarray(zero_point)
    with np.errstate(over="ignore", invalid="ignore"):
        v = (np.asarray(x, np.float64) / scale).astype(np.float32)
    v = np.where(np.isnan(v), 0, np.clip(v, lo - zero_point, hi - zero_point))
    return (np.rint(v) + zero_point).astype(np.int8)


def near_ties(scale, count=20_000):
    """Values whose quotient is a tie, and their float32 neighbours."""
    ties = (np.arange(count) % 300 - 150 + 0.5) * np.float64(np.float32(scale))
    with np.errstate(over="ignore", under="ignore"):
        x = ties.astype(np.float32)
        up, down = np.nextafter(x, np.float32(np.inf)), np.nextafter(x, np.float32(-np.inf))
    return np.concatenate([x, up, down])


@pytest.mark.parametrize("n", [*SIZES, LARGE])
@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_quantize_affine_matches_numpy(isa, threads, n, zero_point):
    x = np.random.default_rng(n).normal(0, 4, n).astype(np.float32)
    expected = numpy_quantize(x, 0.1, zero_point)
    np.testing.assert_array_equal(quantize_affine(x, 0.1, zero_point), expected)


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0, 7e-3, 1e-38, 1e-42, 3e38, np.pi])
def test_quantize_affine_is_a_true_division(isa, scale):
    x = near_ties(scale)
    np.testing.assert_array_equal(quantize_affine(x, scale, -7), numpy_quantize(x, scale, -7))


@settings(max_examples=200, deadline=None)
@given(
    bits=st.lists(st.integers(0, 2**32 - 1), max_size=40),
    scale=st.floats(2.0**-149, 2.0**127, width=32),
    bounds=st.tuples(st.integers(-128, 127), st.integers(-128, 127), st.integers(-128, 127)),
)
def test_quantize_affine_any_bits(bits, scale, bounds):
    lo, zero_point, hi = sorted(bounds)
    x = np.array(bits, np.uint32).view(np.float32)
    expected = numpy_quantize(x, scale, zero_point, lo, hi)
    try:
        for level in tersor.supported_isas():
            tersor.force_isa(level)
            got = quantize_affine(x, scale, zero_point, lo=lo, hi=hi)
            np.testing.assert_array_equal(got, expected)
    finally:
        tersor.force_isa("")


def test_quantize_affine_edges(isa):
    special = [
        np.nan,
        -np.nan,
        np.inf,
        -np.inf,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        3.4e38,
        -3.4e38,
        0.5,
        1.5,
    ]
    x = np.array(special * 5, np.float32)
    q = quantize_affine(x, 1.0, 2)
    np.testing.assert_array_equal(q, numpy_quantize(x, 1.0, 2))
    np.testing.assert_array_equal(q[:12], [2, 2, 127, -128, 2, 2, 2, 2, 127, -128, 2, 4])


@pytest.mark.parametrize("shape", [(3, 5, 7), (4, 33), (2, 3, 64, 17), (1, 1, 1), (0, 4), (4, 0)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_affine_per_channel(isa, threads, shape, axis):
    rng = np.random.default_rng(axis + 9)
    x = rng.normal(0, 3, shape).astype(np.float32)
    channels = shape[axis]
    scale = rng.uniform(0.01, 0.2, channels).astype(np.float32)
    zero_point = rng.integers(-20, 20, channels).astype(np.int32)
    along = [1] * len(shape)
    along[axis] = channels
    expected = numpy_quantize(x, scale.reshape(along), zero_point.reshape(along))
    q = quantize_affine(x, scale, zero_point, axis=axis)
    np.testing.assert_array_equal(q, expected)
    y = (expected.astype(np.float32) - zero_point.reshape(along)) * scale.reshape(along)
    np.testing.assert_array_equal(
        dequantize_affine(q, scale, zero_point, axis=axis), y.astype(np.float32)
    )


@pytest.mark.parametrize("columns", [1, 3, 16, 100])
def test_affine_columns_across_threads(isa, threads, columns):
    rng = np.random.default_rng(columns)
    x = rng.normal(size=(LARGE // columns, columns)).astype(np.float32)
    scale = rng.uniform(0.01, 0.1, columns).astype(np.float32)
    np.testing.assert_array_equal(
        quantize_affine(x, scale, axis=1), numpy_quantize(x, scale, np.zeros(columns, int))
    )


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_dequantize_affine_all_codes(isa, zero_point):
    q = np.arange(-128, 128, dtype=np.int8)
    expected = (q.astype(np.float32) - np.float32(zero_point)) * np.float32(0.37)
    np.testing.assert_array_equal(dequantize_affine(q, 0.37, zero_point), expected)


def test_affine_round_trip_of_all_codes(isa):
    q = np.arange(-128, 128, dtype=np.int8)
    for scale in (1e-30, 0.1, 0.3, 123.0):
        np.testing.assert_array_equal(quantize_affine(dequantize_affine(q, scale, 5), scale, 5), q)


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_affine_unaligned(isa, offset):
    x = np.random.default_rng(0).normal(size=100).astype(np.float32)[offset:]
    out = np.zeros(100, np.int8)[offset:]
    assert quantize_affine(x, 0.05, out=out) is out
    np.testing.assert_array_equal(out, numpy_quantize(x, 0.05, 0))
    back = np.zeros(100, np.float32)[offset:]
    assert dequantize_affine(out, 0.05, out=back) is back


@pytest.mark.parametrize("op", ["quantize_affine", "quantize_affine_columns"])
def test_quantize_affine_kernels_equal_ref(op):
    """Row by row, whatever the active level prefers."""
    x = np.random.default_rng(1).normal(0, 2, (37, 29)).astype(np.float32)
    scale = np.linspace(0.01, 0.1, 29, dtype=np.float32)
    axis = 1 if op.endswith("columns") else 0
    scale = scale if axis else np.full(37, 0.03, np.float32)
    rows = [r for r in _core.base.kernels() if r["op"] == op and r["available"]]
    results = {}
    for row in rows:
        _core.base.force_kernel("quantization", op, row["variant"])
        results[row["variant"]] = quantize_affine(x, scale, axis=axis)
    _core.base.force_kernel("quantization", op, "")
    assert len(results) >= 2
    for result in results.values():
        np.testing.assert_array_equal(result, results["ref"])


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"scale": 0.0}, r"quantize_affine: scale must be finite and > 0, got 0"),
        ({"scale": np.nan}, r"scale must be finite"),
        ({"scale": np.inf}, r"scale must be finite"),
        ({"scale": 1, "zero_point": 200}, r"zero_point must be in \[-128, 127\], got 200"),
        ({"scale": 1, "zero_point": 2**32}, r"zero_point must hold 32-bit integers"),
        ({"scale": 1, "zero_point": 0.5}, r"zero_point must hold 32-bit integers"),
        ({"scale": 1, "lo": 5}, r"zero_point must be in \[5, 127\], got 0"),
        ({"scale": 1, "lo": 5, "hi": 4}, r"lo and hi must satisfy"),
        ({"scale": 1, "hi": 128}, r"lo and hi must satisfy"),
        ({"scale": [1, 1]}, r"scale must have 1 element without axis, got 2"),
        ({"scale": [1, 1, 1], "axis": 0}, r"scale must have 4 elements, got 3"),
        ({"scale": 1, "axis": 1}, r"axis must be in \[-1, 1\), got 1"),
        ({"scale": 1, "out": np.zeros(3, np.int8)}, r"out must have shape \(4,\), got \(3,\)"),
        ({"scale": 1, "out": np.zeros(8, np.int8)[::2]}, r"C-contiguous"),
    ],
)
def test_quantize_affine_rejects_values(kwargs, says):
    with pytest.raises(ValueError, match=says):
        quantize_affine(np.zeros(4, np.float32), **kwargs)


@pytest.mark.parametrize("out", [np.zeros(4, np.uint8), [0] * 4])
def test_quantize_affine_rejects_types(out):
    with pytest.raises(TypeError, match="quantize_affine: out must"):
        quantize_affine(np.zeros(4, np.float32), 1.0, out=out)
