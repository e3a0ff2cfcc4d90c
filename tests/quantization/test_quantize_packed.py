"""Fused quantization and packing against its two steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tersor.quantization import (
    QParams,
    choose_qparams,
    dequantize,
    dequantize_packed,
    pack_bits,
    packed_size,
    quantize,
    quantize_packed,
)


@settings(max_examples=200, deadline=None)
@given(
    arrays(
        np.float32,
        array_shapes(min_dims=1, max_dims=4, max_side=11),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    ),
    st.integers(2, 8),
    st.sampled_from(["symmetric", "asymmetric", "unsigned", "float"]),
    st.data(),
)
def test_fused_equals_two_steps(x, bits, kind, data):
    axis = data.draw(st.one_of(st.none(), st.integers(0, x.ndim - 1)))
    group = None if axis is None else data.draw(st.one_of(st.none(), st.integers(1, 20)))
    q = choose_qparams(
        x,
        bits,
        kind == "symmetric",
        axis,
        group,
        signed=kind != "unsigned",
        float_zero_point=kind == "float",
    )
    codes = quantize(x, q)
    packed = quantize_packed(x, q)
    np.testing.assert_array_equal(packed, pack_bits(codes, bits))
    np.testing.assert_array_equal(dequantize_packed(packed, q, x.shape), dequantize(codes, q))


@pytest.mark.parametrize(("axis", "group"), [(None, None), (0, None), (1, None), (1, 128), (0, 3)])
def test_large_arrays_at_any_number_of_threads(isa, threads, axis, group):
    x = np.random.default_rng(0).normal(size=(37, 4_099)).astype(np.float32)
    q = choose_qparams(x, 4, axis=axis, group_size=group)
    packed = np.empty(packed_size(x.size, 4), np.uint8)
    assert quantize_packed(x, q, out=packed) is packed
    np.testing.assert_array_equal(packed, pack_bits(quantize(x, q), 4))
    np.testing.assert_array_equal(
        dequantize_packed(packed, q, x.shape), dequantize(quantize(x, q), q)
    )


def test_errors_name_the_value():
    q = QParams(scale=[1.0], zero_point=[0], bits=4)
    with pytest.raises(ValueError, match="packed must have 2 bytes"):
        dequantize_packed(np.zeros(3, np.uint8), q, 3)
    with pytest.raises(ValueError, match="scale and zero_point must have 3 elements, got 1 and 1"):
        quantize_packed(np.zeros(3), QParams(scale=[1.0], zero_point=[0], axis=0))
    with pytest.raises(ValueError, match=r"shape must have dimensions >= 0, got \(-3,\)"):
        dequantize_packed(np.zeros(2, np.uint8), q, -3)
