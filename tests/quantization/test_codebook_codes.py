"""Codebooks in QParams: quantize and dequantize against NumPy in float64."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tersor.quantization import (
    DenseCodes,
    QParams,
    dequantize,
    dequantize_packed,
    fake_quantize,
    quantize,
    quantize_packed,
)


def make(rng, k, tables, rows, axis):
    table = np.sort(rng.normal(size=(tables, k)).astype(np.float32), axis=1)
    scale = [0.5] if axis is None else rng.uniform(0.5, 2, rows)
    q = QParams(scale=scale, zero_point=[0] * len(scale), axis=axis, codebook=table)
    per_row = np.repeat(table, -(-rows // tables), axis=0)[:rows]
    return q, per_row, np.broadcast_to(np.asarray(scale, np.float32), rows)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 256),
    st.sampled_from([(1, 1), (4, 1), (4, 4), (5, 3), (7, 2)]),
    st.sampled_from([(), (3,), (2, 5)]),
    st.sampled_from([None, 0]),
    st.integers(0, 9),
)
def test_against_numpy(k, rows_tables, rest, axis, seed):
    rows, tables = rows_tables
    rng = np.random.default_rng(seed)
    q, table, scale = make(rng, k, tables, rows, axis)
    assert (q.bits, q.signed) == (max(1, int(np.ceil(np.log2(k)))), False)
    assert (q.code_min, q.code_max) == (0, k - 1)
    assert q.codebook.shape == (tables, k)
    codes = rng.integers(0, k, (rows, *rest)).astype(np.uint8)
    flat = codes.reshape(rows, -1)
    wanted = np.take_along_axis(table, flat.astype(int), axis=1) * scale[:, None]
    np.testing.assert_array_equal(dequantize(codes, q).reshape(rows, -1), wanted)
    # Values come back as themselves, and everything goes to the nearest value.
    np.testing.assert_array_equal(
        dequantize(quantize(wanted.reshape(codes.shape), q), q), wanted.reshape(codes.shape)
    )
    x = rng.normal(size=codes.shape).astype(np.float32)
    got = dequantize(quantize(x, q), q).reshape(rows, -1)
    values = (table * scale[:, None]).astype(np.float64)
    flat_x = x.reshape(rows, -1).astype(np.float64)
    best = np.abs(flat_x[:, :, None] - values[:, None, :]).min(axis=2)
    np.testing.assert_allclose(np.abs(flat_x - got), best, atol=1e-6)


def test_ties_ends_nan_and_equal_values():
    q = QParams(scale=[1.0], zero_point=[0], codebook=[-1.0, 0.0, 0.0, 1.0])
    x = np.float32([-np.inf, -0.5, -0.4, 0.0, 0.5, 0.6, np.inf, np.nan])
    assert quantize(x, q).tolist() == [0, 0, 1, 1, 1, 3, 3, 1]


def test_groups_of_scales():
    rng = np.random.default_rng(0)
    scale = rng.uniform(0.5, 2, 6).astype(np.float32)
    q = QParams(scale=scale, zero_point=[0] * 6, axis=1, group_size=4, codebook=[-1.0, 0.0, 2.0])
    codes = rng.integers(0, 3, (2, 9)).astype(np.uint8)
    each = np.repeat(scale.reshape(2, 3), 4, axis=1)[:, :9]
    np.testing.assert_array_equal(dequantize(codes, q), q.codebook[0][codes] * each)
    columns = QParams(scale=scale[:3], zero_point=[0] * 3, axis=1, codebook=[-1.0, 0.0, 2.0])
    codes = codes[:, :3].copy()
    np.testing.assert_array_equal(dequantize(codes, columns), q.codebook[0][codes] * scale[:3])


def test_pickle_equality_and_text():
    q = QParams(scale=[1.0], zero_point=[0], codebook=[[0.0, 1.0], [0.5, 2.0]])
    assert pickle.loads(pickle.dumps(q)) == q
    assert q != QParams(scale=[1.0], zero_point=[0], codebook=[[0.0, 1.0], [0.5, 3.0]])
    assert "codebook of 2" in repr(q)
    assert QParams(scale=[1.0], zero_point=[0]).codebook is None


@pytest.mark.parametrize(
    ("more", "shape", "text"),
    [
        ({"codebook": [1.0, 0.0]}, (4,), "codebook must ascend, got 0 after 1"),
        ({"codebook": [0.0, np.nan]}, (4,), "codebook must be finite, got nan"),
        ({"codebook": [0.0, 1.0], "zero_point": [1]}, (4,), "zero_point must be 0"),
        ({"codebook": np.zeros((3, 2))}, (4,), "equal parts of 4 rows, got 3"),
        ({"codebook": np.zeros((5, 2))}, (4,), "equal parts of 4 rows, got 5"),
        ({"codebook": np.zeros(257)}, (4,), "must have 1 to 256 values"),
        ({"codebook": [0.0, 1.0], "zero_point_float": [0.0]}, (4,), "zero_point must be 0"),
    ],
)
def test_mistakes(more, shape, text):
    q = QParams(**{"scale": [1.0], "zero_point": [0], **more})
    with pytest.raises(ValueError, match=text):
        quantize(np.zeros(shape, np.float32), q)


def test_empty_tables_are_refused():
    with pytest.raises(ValueError, match=r"codebook must have shape \(k,\) or \(tables, k\)"):
        QParams(scale=[1.0], zero_point=[0], codebook=[])


def test_operations_without_codebooks_refuse_them():
    q = QParams(scale=[1.0], zero_point=[0], codebook=[0.0, 1.0])
    x = np.zeros((2, 2), np.float32)
    for call in (
        lambda: quantize_packed(x, q),
        lambda: dequantize_packed(np.zeros(1, np.uint8), q, (2, 2)),
        lambda: fake_quantize(x, q),
        lambda: DenseCodes(x.astype(np.uint8), q),
    ):
        with pytest.raises(ValueError, match="must be without a codebook"):
            call()


def test_codes_beyond_the_table_are_refused():
    q = QParams(scale=[1.0], zero_point=[0], codebook=[0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"codes in \[0, 2\], got 3"):
        dequantize(np.uint8([0, 3]), q)
