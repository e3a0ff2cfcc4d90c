"""choose_qparams, quantize and dequantize (affine_float_zero too) against NumPy in float64."""

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


def groups_of(x, axes, group):
    """The groups of an array as a list of index arrays into x.ravel(), in the order of scales."""
    first, last = axes[0], axes[-1] + 1
    inner = int(np.prod(x.shape[last:], dtype=int))
    flat = np.arange(x.size).reshape(*x.shape[:first], -1, inner)
    flat = flat.reshape(int(np.prod(x.shape[:first], dtype=int)), -1, inner)
    return [
        flat[o, start : start + group, i]
        for o in range(flat.shape[0])
        for start in range(0, flat.shape[1], group)
        for i in range(inner)
    ]


GROUPED = [
    ((4, 6, 8), (1, 2), 16),
    ((4, 6, 8), (1, 2), 7),
    ((4, 6, 8), (2,), 3),
    ((4, 6, 8), (1,), 4),
    ((4, 6, 8), (0,), 3),
    ((3, 5, 2, 2), (1, 2, 3), 32),
    ((130,), (0,), 64),
    ((2, 3), (0, 1), 1),
]


@pytest.mark.parametrize(("shape", "axes", "group"), GROUPED)
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
@pytest.mark.parametrize("kind", [(True, True, False), (False, False, False), (False, True, True)])
def test_groups_equal_group_by_group(isa, shape, axes, group, method, kind):
    symmetric, signed, float_zero = kind
    x = (np.random.default_rng(len(shape)).normal(size=shape) + 0.3).astype(np.float32)
    more = {"symmetric": symmetric, "signed": signed, "float_zero_point": float_zero}
    more |= {"bits": 4, "method": method, "percentile": 0.9}
    q = choose_qparams(x, axis=axes if len(axes) > 1 else axes[0], group_size=group, **more)
    assert (q.group_size, q.axis) == (group, axes if len(axes) > 1 else axes[0])
    codes, values = quantize(x, q), dequantize(quantize(x, q), q)
    indices = groups_of(x, axes, group)
    assert len(q.scale) == len(q.zero_point) == len(indices)
    for s, index in enumerate(indices):
        part = choose_qparams(x.ravel()[index], **more)
        assert q.scale[s] == part.scale[0]
        assert q.zero_point[s] == part.zero_point[0]
        if float_zero:
            assert q.zero_point_float[s] == part.zero_point_float[0]
        np.testing.assert_array_equal(codes.ravel()[index], quantize(x.ravel()[index], part))
        expected = dequantize(codes.ravel()[index], part)
        np.testing.assert_array_equal(values.ravel()[index], expected)


def test_several_axes_are_channels_of_their_own():
    x = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
    q = choose_qparams(x, axis=(1, 2))
    flat = choose_qparams(x.reshape(4, 6, 5), axis=1)
    np.testing.assert_array_equal(q.scale, flat.scale)
    np.testing.assert_array_equal(
        quantize(x, q).reshape(4, 6, 5), quantize(x.reshape(4, 6, 5), flat)
    )


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", [(7, 33), (5, 3, 6), (64,)])
@pytest.mark.parametrize("threads", [1, 2], indirect=True)
def test_float_zero_point_matches_numpy(isa, threads, bits, signed, shape):
    x = (np.random.default_rng(bits).normal(size=shape) + 2).astype(np.float32)
    x.ravel()[:3] = np.inf, -np.inf, np.nan
    finite = np.where(np.isfinite(x), x, 2).astype(np.float32)
    axis = 0 if len(shape) == 2 else len(shape) - 1
    q = choose_qparams(finite, bits, False, axis, signed=signed, float_zero_point=True)
    along = [1] * len(shape)
    along[axis] = -1
    scale, zero = q.scale.reshape(along), q.zero_point_float.reshape(along)
    assert q.zero_point.tolist() == [0] * shape[axis]
    with np.errstate(invalid="ignore"):
        steps = x / scale + zero  # float32, as the kernels
        steps = np.where(np.isnan(x), zero, steps)
    expected = np.clip(np.rint(steps), q.code_min, q.code_max)
    codes = quantize(x, q)
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(
        dequantize(codes, q), (expected.astype(np.float32) - zero) * scale
    )
    if axis == 0:  # the range is covered exactly: at most half a step off
        error = np.abs(dequantize(quantize(finite, q), q).astype(np.float64) - finite)
        assert (error <= scale * 0.501 + 1e-6).all()


def test_float_zero_point_of_constants_and_far_ranges():
    for value in (0.0, 3.5, -1e-3, 1e6):
        for dtype in ("float32", "float16"):
            x = np.full(32, value, np.float32)
            q = choose_qparams(x, 4, False, float_zero_point=True, scale_dtype=dtype)
            np.testing.assert_allclose(dequantize(quantize(x, q), q), x, rtol=1e-3, atol=1e-6)
            assert np.isfinite(q.zero_point_float).all()


@settings(max_examples=200, deadline=None)
@given(
    arrays(np.float32, st.integers(1, 70), elements=st.floats(-6e4, 6e4, width=32)),
    st.integers(2, 8),
    st.sampled_from([(True, False), (False, False), (False, True)]),
    st.sampled_from(["minmax", "mse"]),
)
def test_float16_scales_are_float16_values(x, bits, kind, method):
    symmetric, float_zero = kind
    more = {"method": method, "float_zero_point": float_zero, "scale_dtype": "float16"}
    q = choose_qparams(x, bits, symmetric, 0, 32, **more)
    np.testing.assert_array_equal(q.scale, q.scale.astype(np.float16).astype(np.float32))
    assert (q.scale > 0).all()
    if float_zero:
        zero = q.zero_point_float
        np.testing.assert_array_equal(zero, zero.astype(np.float16).astype(np.float32))
    full = choose_qparams(x, bits, symmetric, 0, 32, float_zero_point=float_zero)
    error, exact = (np.abs(dequantize(quantize(x, p), p) - x).max() for p in (q, full))
    if method == "minmax":
        assert error <= exact + 0.6 * q.scale.max()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_tiny_float16_scales_do_not_clip(bits):
    for size in np.geomspace(1e-7, 6e-5, 50, dtype=np.float32) * (2**bits - 1):
        q = choose_qparams([0, size], bits, False, scale_dtype="float16")
        assert abs(dequantize(quantize([size], q), q)[0] - size) <= 0.51 * q.scale[0]
        assert q.scale[0] == np.float16(q.scale[0])


def test_groups_that_do_not_fit():
    x = np.ones((4, 6), np.float32)
    with pytest.raises(ValueError, match="axis must be given where group_size is"):
        choose_qparams(x, group_size=2)
    with pytest.raises(ValueError, match="axis must be a tuple of consecutive axes"):
        choose_qparams(x, axis=(1, 0))
    with pytest.raises(ValueError, match="axis must be a tuple of consecutive axes"):
        QParams(scale=[1], zero_point=[0], axis=(0, 2))
    with pytest.raises(ValueError, match="must have 12 elements, got 1 and 1"):
        quantize(x, QParams(scale=[1], zero_point=[0], axis=1, group_size=2))
    with pytest.raises(ValueError, match="symmetric must be False where float_zero_point is"):
        choose_qparams(x, float_zero_point=True)
    with pytest.raises(ValueError, match="scale_dtype must be float32 or float16, got int8"):
        choose_qparams(x, scale_dtype="int8")
    with pytest.raises(ValueError, match="at most 65504"):
        choose_qparams(x * 1e9, scale_dtype="float16")
    with pytest.raises(ValueError, match=r"zero_point must be in \[-2\^21, 2\^21\]"):
        quantize(x, QParams(scale=[1], zero_point=[0], zero_point_float=[1e9]))


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
