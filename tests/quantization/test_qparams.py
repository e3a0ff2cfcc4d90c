"""choose_qparams, quantize and dequantize against NumPy in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tersor.quantization import QParams, choose_qparams, dequantize, quantize

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
ASYMMETRIC = {"symmetric": False}


def numpy_qparams(x, bits, symmetric, signed):
    lo, hi = min(0.0, float(x.min())), max(0.0, float(x.max()))
    code_min = -(2 ** (bits - 1)) if signed else 0
    if symmetric:
        return max(-lo, hi) / (2 ** (bits - 1) - 1), 0
    scale = float(np.float32((hi - lo) / (2**bits - 1)))
    scale = scale if hi > lo else 1.0
    return scale, int(np.clip(np.rint(code_min - lo / scale), code_min, code_min + 2**bits - 1))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize(("symmetric", "signed"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize("shift", [0, 3, -3])
def test_choose_qparams_matches_numpy(isa, bits, symmetric, signed, shift):
    x = (np.random.default_rng(bits).normal(size=333) + shift).astype(np.float32)
    q = choose_qparams(x, bits, symmetric, signed=signed)
    scale, zero_point = numpy_qparams(x, bits, symmetric, signed)
    np.testing.assert_allclose(q.scale, [scale], rtol=1e-6)
    assert q.zero_point.tolist() == [zero_point]
    assert (q.bits, q.signed, q.axis) == (bits, signed, None)


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float32, array_shapes(max_dims=3, max_side=6), elements=FINITE),
    st.integers(2, 8),
    st.sampled_from([(True, True), (False, True), (False, False)]),
    st.sampled_from(["minmax", "percentile", "mse"]),
)
def test_zero_is_a_code_and_scales_are_normal(x, bits, kind, method):
    symmetric, signed = kind
    q = choose_qparams(x, bits, symmetric, signed=signed, method=method)
    assert (q.scale >= np.finfo(np.float32).tiny).all()
    assert np.isfinite(q.scale).all()
    assert ((q.code_min <= q.zero_point) & (q.zero_point <= q.code_max)).all()
    assert (dequantize(quantize(np.zeros(x.shape, np.float32), q), q) == 0).all()


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32)))
def test_round_trip_error_is_half_a_step(x):
    # A step more than half: the zero point is rounded, which may cut up to half a step off one end.
    for q in (choose_qparams(x), choose_qparams(x, symmetric=False)):
        error = np.abs(dequantize(quantize(x, q), q).astype(np.float64) - x)
        assert (error <= q.scale[0] * (1.001 if not q.narrow else 0.501)).all()


@pytest.mark.parametrize("shape", [(4, 3, 5), (1, 8), (6,)])
def test_per_channel_equals_channel_by_channel(isa, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for axis in range(-len(shape), len(shape)):
        for method in ("minmax", "mse", "percentile", "entropy"):
            q = choose_qparams(x, axis=axis, method=method)
            parts = np.moveaxis(x, axis, 0)
            singles = [choose_qparams(p, method=method).scale[0] for p in parts]
            np.testing.assert_array_equal(q.scale, singles)
            codes = np.stack([quantize(p, choose_qparams(p, method=method)) for p in parts])
            np.testing.assert_array_equal(np.moveaxis(quantize(x, q), axis, 0), codes)


def test_groups_are_rows_of_their_own():
    x = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
    q = choose_qparams(x, 4, axis=0, group_size=16)
    rows = x.reshape(-1, 16)
    assert q.group_size == 16
    np.testing.assert_array_equal(q.scale, choose_qparams(rows, 4, axis=0).scale)
    expected = quantize(rows, choose_qparams(rows, 4, axis=0)).reshape(x.shape)
    np.testing.assert_array_equal(quantize(x, q), expected)
    assert np.abs(dequantize(expected, q) - x).max() <= q.scale.max() * 0.501
    with pytest.raises(ValueError, match="group_size must divide 48, got 7"):
        choose_qparams(x, axis=0, group_size=7)
    with pytest.raises(ValueError, match="axis must be 0 where group_size is given"):
        choose_qparams(x, axis=1, group_size=2)


def test_zero_channels_take_the_median_scale():
    x = np.array([[0, 0], [1, -2], [4, 3], [0, 0], [-8, 1]], np.float32)
    q = choose_qparams(x, axis=0)
    np.testing.assert_allclose(q.scale * 127, [4, 2, 4, 4, 8], rtol=1e-6)
    assert choose_qparams(np.zeros((3, 2)), axis=0).scale.tolist() == [1, 1, 1]


def test_unsigned_codes_are_uint8():
    x = np.linspace(-1, 3, 256, dtype=np.float32)
    q = choose_qparams(x, signed=False, symmetric=False)
    codes = quantize(x, q)
    assert codes.dtype == np.uint8
    assert (codes.min(), codes.max()) == (0, 255)
    same = choose_qparams(x, symmetric=False)
    np.testing.assert_array_equal(codes.astype(int) - 128, quantize(x, same))
    np.testing.assert_array_equal(dequantize(codes, q), dequantize(quantize(x, same), same))


def test_out_is_written():
    x = np.linspace(-1, 3, 20, dtype=np.float32).reshape(4, 5)
    for signed in (True, False):
        q = choose_qparams(x, signed=signed, symmetric=False)
        codes = np.empty((4, 5), np.int8 if signed else np.uint8)
        assert quantize(x, q, out=codes) is codes
        values = np.empty((4, 5), np.float32)
        assert dequantize(codes, q, out=values) is values
        np.testing.assert_array_equal(codes, quantize(x, q))
        np.testing.assert_array_equal(values, dequantize(codes, q))


def test_mse_of_an_array_is_the_best_of_its_candidates():
    x = np.random.default_rng(0).standard_t(3, 2000).astype(np.float32)

    def error(scale):
        codes = np.clip(np.rint(x.astype(np.float64) / scale), -7, 7)
        return np.square(codes * scale - x).sum()

    largest = np.abs(x).max() / 7
    candidates = [error(largest * (1 - k / 100)) for k in range(71)]
    chosen = error(float(choose_qparams(x, 4, method="mse").scale[0]))
    np.testing.assert_allclose(chosen, min(candidates), rtol=1e-4)


def test_percentile_of_an_array_is_an_order_statistic():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    q = choose_qparams(x, symmetric=True, method="percentile", percentile=0.99)
    ordered = np.sort(x)
    np.testing.assert_allclose(q.scale[0] * 127, max(ordered[989], -ordered[10]), rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"x": []}, "must not be empty"),
        ({"x": [np.nan]}, "must be finite, got nan"),
        ({"x": [np.inf]}, "must be finite, got inf"),
        ({"x": [1.0], "bits": 9}, r"bits must be in \[2, 8\], got 9"),
        ({"x": [1.0], "bits": 1}, r"bits must be in \[2, 8\], got 1"),
        (
            {"x": [1.0], "method": "best"},
            "method must be minmax, percentile, mse or entropy, got 'best'",
        ),
        ({"x": [1.0], "axis": 1}, r"axis must be in \[-1, 1\), got 1"),
        ({"x": [1.0], "axis": 0, "group_size": 0}, "group_size must be at least 1, got 0"),
        ({"x": [1.0], "signed": False}, "signed must be True where symmetric is"),
        ({"x": [1.0], "method": "percentile", "percentile": 0.5}, r"in \(0.5, 1\], got 0.5"),
    ],
)
def test_errors_name_the_value(arguments, text):
    with pytest.raises(ValueError, match=text):
        choose_qparams(**arguments)


def test_qparams_compare_by_value():
    a = QParams(scale=[0.5], zero_point=[3])
    assert a == QParams(scale=[0.5], zero_point=[3])
    assert a != QParams(scale=[0.5], zero_point=[4])
