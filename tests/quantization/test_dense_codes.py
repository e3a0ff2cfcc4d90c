"""tersor.quantization.dense_codes against NumPy in float64, within the header's bound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor.quantization import DenseCodes, QParams

EPS = 2.0**-23


def layer(outputs, inputs, bits=4, group=0, zero=None, signed=True, seed=0):
    """Codes, parameters and their reals: scale * (code - zero point)."""
    rng = np.random.default_rng(seed)
    low = -(1 << (bits - 1)) if signed else 0
    codes = rng.integers(low, low + (1 << bits), (outputs, inputs))
    count = -(-inputs // group) if group else 1
    scale = rng.uniform(0.01, 0.1, (outputs, count)).astype(np.float32)
    zeros = np.zeros((outputs, count), np.int64)
    floats = None
    if zero == "float":
        floats = rng.uniform(low, low + (1 << bits), (outputs, count)).astype(np.float32)
    elif zero == "integer":
        zeros = rng.integers(low, low + (1 << bits), (outputs, count))
    q = QParams(
        scale=scale.reshape(-1),
        zero_point=zeros.reshape(-1),
        bits=bits,
        signed=signed,
        axis=1 if group else 0,
        group_size=group,
        zero_point_float=None if floats is None else floats.reshape(-1),
    )
    at = np.arange(inputs) // group if group else np.zeros(inputs, int)
    offset = (zeros if floats is None else floats).astype(np.float64)[:, at]
    scales = scale.astype(np.float64)[:, at]
    size = scales * ((15 if bits <= 4 else np.abs(codes)) + 128 * (not signed) + np.abs(offset))
    return codes.astype(np.int8 if signed else np.uint8), q, scales * (codes - offset), size


def check(codes, q, w, size, x, bias=None):
    dense = DenseCodes(codes, q, bias)
    y = dense(x)
    extra = 0 if bias is None else bias
    expected = x.astype(np.float64) @ w.T + extra
    bound = (w.shape[1] + 8) * EPS * (np.abs(x.astype(np.float64)) @ size.T + np.abs(extra))
    assert (np.abs(y - expected) <= bound).all()
    return y


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("zero", [None, "integer", "float"])
@pytest.mark.parametrize("signed", [True, False])
def test_formats(isa, bits, zero, signed):
    rng = np.random.default_rng(bits)
    for outputs, inputs, group in [(9, 200, 0), (6, 130, 32), (4, 256, 128), (5, 96, 16)]:
        x = rng.normal(size=(3, inputs)).astype(np.float32)
        check(*layer(outputs, inputs, bits, group, zero, signed), x, np.ones(outputs, np.float32))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize(
    ("outputs", "inputs", "group"),
    [(1, 1, 0), (3, 7, 0), (5, 128, 8), (17, 129, 64), (33, 1000, 256), (4, 31, 32), (8, 40, 32)],
)
def test_shapes(isa, rows, outputs, inputs, group):
    x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
    for bits in (4, 8):
        if bits == 8 and group == 8:
            continue
        given = layer(outputs, inputs, bits, group, "float")
        y = check(*given, x)
        for row in range(rows):  # a row does not depend on those beside it
            np.testing.assert_array_equal(DenseCodes(*given[:2])(x[row : row + 1])[0], y[row])


@settings(max_examples=30, deadline=None)
@given(
    outputs=st.integers(1, 40),
    inputs=st.integers(1, 600),
    rows=st.integers(0, 6),
    bits=st.integers(2, 8),
    group=st.sampled_from([0, 16, 32, 64, 128, 384]),
    zero=st.sampled_from([None, "integer", "float"]),
    seed=st.integers(0, 99),
)
def test_any_layer(outputs, inputs, rows, bits, group, zero, seed):
    if bits <= 4 and group == 384 and inputs < 384:
        group = 0
    x = np.random.default_rng(seed).normal(size=(rows, inputs)).astype(np.float32)
    check(*layer(outputs, inputs, bits, group, zero, seed=seed), x)


@pytest.mark.parametrize("bits", [4, 8])
def test_threads_change_nothing(isa, bits):
    codes, q, w, size = layer(520, 520, bits, 0, None)
    x = np.random.default_rng(0).normal(size=(2, 520)).astype(np.float32)
    results = []
    for threads in (1, 2):
        tersor.set_threads(threads)
        results.append(check(codes, q, w, size, x))
    tersor.set_threads(0)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("factor", [2.0**-90, 2.0**90])
def test_small_and_large_inputs(isa, bits, factor):
    codes, q, w, size = layer(5, 300, bits, 32)
    x = (factor * np.random.default_rng(0).normal(size=(2, 300))).astype(np.float32)
    x[0, :7] = 0
    check(codes, q, w, size, x)


@pytest.mark.parametrize("bits", [4, 8])
def test_nan_stays_in_its_row_and_activations_bound(isa, bits):
    codes, q, w, _ = layer(6, 64, bits)
    x = np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32)
    x[1, 5] = np.nan
    y = DenseCodes(codes, q, low=0, high=6)(x)
    assert np.isnan(y[1]).all()
    expected = np.clip(x[::2].astype(np.float64) @ w.T, 0, 6)
    np.testing.assert_allclose(y[::2], expected, atol=1e-4)


def test_zero_inputs_give_the_bias(isa):
    codes, q, _, _ = layer(6, 64, 4, 32, "float")
    bias = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(DenseCodes(codes, q, bias)(np.zeros((2, 64), "f")), [bias] * 2)


def test_memory_and_out():
    codes, q, _, _ = layer(64, 1024, 4, 32)
    dense = DenseCodes(codes, q)
    assert dense.packed_bytes <= 64 * 1024 // 2 + 4 * 64 * 32 + 4 * 64 + 64
    assert "dense_int4" in dense.kernel
    x, y = np.ones((2, 1024), np.float32), np.empty((2, 64), np.float32)
    assert dense(x, out=y) is y
    np.testing.assert_array_equal(dense(x.repeat(2, 1)[:, ::2]), y)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            {"codes": np.zeros((2, 3), np.int16)},
            TypeError,
            "codes must be int8 or uint8, got int16",
        ),
        ({"codes": np.zeros(3, np.int8)}, ValueError, "codes must have 2 dimensions, got 1"),
        ({"codes": np.full((2, 24), 9, np.int8)}, ValueError, r"codes must be in \[-8, 8\), got 9"),
        ({"group_size": 12}, ValueError, "group must be 0, 8, 16, 32, 64 .*, got 12"),
        ({"axis": 1, "group_size": 0, "count": 24}, ValueError, "groups along axis 1, got axis 1"),
        ({"bias": np.zeros(3, "f")}, ValueError, "bias must have 2 elements, got 3"),
        ({"count": 3}, ValueError, "could not be broadcast"),
    ],
)
def test_mistakes(change, error, text):
    codes = change.get("codes", np.zeros((2, 24), np.int8))
    group = change.get("group_size", 0)
    count = change.get("count", 2 * -(-24 // group) if group else 2)
    axis = change.get("axis", 1 if group else 0)
    q = QParams(scale=[1.0] * count, zero_point=[0] * count, bits=4, axis=axis, group_size=group)
    with pytest.raises(error, match=text):
        DenseCodes(codes, q, change.get("bias"))


def test_inputs_must_fit():
    dense = DenseCodes(np.zeros((2, 24), np.int8), QParams(scale=[1.0], zero_point=[0], bits=4))
    with pytest.raises(ValueError, match=r"x must have shape \(rows, 24\), got \(2, 3\)"):
        dense(np.zeros((2, 3), "f"))
