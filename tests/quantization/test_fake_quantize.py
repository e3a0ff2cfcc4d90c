"""fake_quantize and its gradient against NumPy and against quantize and dequantize."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tersor.quantization import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    fake_quantize_backward,
    quantize,
)

SIZES = [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 1000]


def unpacked(mask, x):
    return np.unpackbits(mask, bitorder="little", count=x.size).reshape(x.shape).astype(bool)


def numpy_mask(x, q, scale, zero):
    """Codes before clamping, in the float32 operations of the header."""
    with np.errstate(invalid="ignore", over="ignore"):
        steps = x / scale
        rounded = np.rint(steps + zero) if q.zero_point_float is not None else np.rint(steps) + zero
    return (rounded >= q.code_min) & (rounded <= q.code_max)


def qparams_of(x, **more):
    finite = np.where(np.isfinite(x), x, 0).astype(np.float32)
    return choose_qparams(np.clip(finite, -1, 1.5), **more)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "unsigned", "float"])
def test_per_tensor(isa, n, bits, kind):
    rng = np.random.default_rng(n)
    storage = (2 * rng.normal(size=n + 3)).astype(np.float32)
    x = storage[3:]  # not aligned
    if n > 8:
        x[:5] = np.nan, np.inf, -np.inf, 1e-45, -0.0
    more = {"bits": bits, "symmetric": kind == "symmetric", "signed": kind != "unsigned"}
    more["float_zero_point"] = kind == "float"
    q = qparams_of(x, **more) if n else QParams(scale=[1], zero_point=[0])
    y, mask = fake_quantize(x, q)
    np.testing.assert_array_equal(y, dequantize(quantize(x, q), q))
    assert not (np.signbit(y) & (y == 0)).any()
    zero = q.zero_point[0] if q.zero_point_float is None else q.zero_point_float[0]
    np.testing.assert_array_equal(unpacked(mask, x), numpy_mask(x, q, q.scale[0], zero))
    if n % 8:
        assert mask[-1] >> (n % 8) == 0
    dy = rng.normal(size=n).astype(np.float32)
    np.testing.assert_array_equal(
        fake_quantize_backward(dy, mask), np.where(unpacked(mask, x), dy, 0)
    )


SHAPES = [
    ((3, 5, 7), 0, None),
    ((3, 5, 7), 1, None),
    ((3, 5, 7), 2, None),
    ((40, 16), 1, None),
    ((9, 200), 0, None),
    ((4, 1, 3, 3), 0, None),
    ((2, 600), 1, None),
    ((3, 5, 7), (1, 2), 4),
    ((3, 300), 1, 128),
    ((3, 70), 0, 2),
    ((3, 5, 7), 1, 2),
    ((1, 1), 0, None),
]


@pytest.mark.parametrize(("shape", "axis", "group"), SHAPES)
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric", "float"])
def test_channels_and_groups(isa, shape, axis, group, kind):
    x = np.random.default_rng(1).standard_t(3, size=shape).astype(np.float32)
    more = {"symmetric": kind == "symmetric", "float_zero_point": kind == "float"}
    q = choose_qparams(
        x, 4, axis=axis, group_size=group, method="percentile", percentile=0.8, **more
    )
    y, mask = fake_quantize(x, q)
    codes = quantize(x, q)
    np.testing.assert_array_equal(y, dequantize(codes, q))
    inside = unpacked(mask, x)
    assert inside[(codes > q.code_min) & (codes < q.code_max)].all()
    wide = QParams(
        scale=q.scale,
        zero_point=q.zero_point,
        bits=8,
        axis=q.axis,
        group_size=q.group_size,
        zero_point_float=q.zero_point_float,
    )
    more_codes = quantize(x, wide)  # clamped later
    np.testing.assert_array_equal(inside, codes == more_codes)


@settings(max_examples=150, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=1, max_dims=4, max_side=12),
        elements=st.floats(width=32, allow_subnormal=True),
    ),
    st.integers(2, 8),
    st.booleans(),
    st.data(),
)
def test_any_array(x, bits, signed, data):
    axis = data.draw(st.one_of(st.none(), st.integers(0, x.ndim - 1)))
    group = None if axis is None else data.draw(st.one_of(st.none(), st.integers(1, 20)))
    finite = np.where(np.isfinite(x), x, 0).astype(np.float32)
    q = choose_qparams(finite, bits, False, axis, group, signed=signed)
    y, mask = fake_quantize(x, q)
    np.testing.assert_array_equal(y, dequantize(quantize(x, q), q))
    assert unpacked(mask, x)[np.isnan(x)].sum() == 0
    view = np.asfortranarray(x)
    np.testing.assert_array_equal(fake_quantize(view, q)[0], y)


def test_threads_change_nothing(threads):
    x = np.random.default_rng(0).normal(size=(7, 30_011)).astype(np.float32)
    for axis, group in ((None, None), (0, None), (1, None), (1, 100)):
        q = choose_qparams(x, 4, axis=axis, group_size=group, method="percentile", percentile=0.9)
        y, mask = fake_quantize(x, q)
        np.testing.assert_array_equal(y, dequantize(quantize(x, q), q))
        np.testing.assert_array_equal(
            fake_quantize_backward(x, mask), np.where(unpacked(mask, x), x, 0)
        )


def test_in_place_and_out(isa):
    x = np.random.default_rng(0).normal(size=100).astype(np.float32)
    q = choose_qparams(x, 4, method="percentile", percentile=0.9)
    y, mask = fake_quantize(x, q)
    copy, bits = x.copy(), np.empty_like(mask)
    again, again_mask = fake_quantize(copy, q, out=copy, mask=bits)
    assert again is copy
    assert again_mask is bits
    np.testing.assert_array_equal(copy, y)
    np.testing.assert_array_equal(bits, mask)
    dy = x.copy()
    assert fake_quantize_backward(dy, mask, out=dy) is dy
    np.testing.assert_array_equal(dy, np.where(unpacked(mask, x), x, 0))


def test_errors_name_the_value():
    q = QParams(scale=[1, 2], zero_point=[0, 0], axis=0)
    with pytest.raises(ValueError, match="must have 3 elements, got 2"):
        fake_quantize(np.zeros(3), q)
    with pytest.raises(ValueError, match=r"mask must have shape \(2,\), got \(1,\)"):
        fake_quantize_backward(np.zeros(9), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="out must have shape"):
        fake_quantize(np.zeros(2), q, out=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="scale must be finite and > 0, got 0"):
        fake_quantize(np.zeros(2), QParams(scale=[0], zero_point=[0]))
