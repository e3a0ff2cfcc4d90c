"""Sparse x dense in int8: exact on every instruction set, with every tiling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.sparse import SparseMatrix, matmul


def problem(rows, depth, columns, sparsity=0.7, seed=0, dtype=np.int8, blocks=True):
    rng = np.random.default_rng(seed)
    w = rng.integers(-128, 128, (rows, depth)).astype(np.int8)
    if blocks:
        mask = np.repeat(rng.random((rows, -(-depth // 4))) >= sparsity, 4, axis=1)[:, :depth]
    else:
        mask = rng.random(w.shape) >= sparsity
    shape = (depth,) if columns is None else (depth, columns)
    limits = np.iinfo(dtype)
    return w * mask, rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


def product(w, x):
    return (np.int64(w) @ np.int64(x)).astype(np.int32)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("columns", [None, 0, 1, 3, 7, 8, 9, 15, 16, 17, 64, 65, 100, 129])
def test_matmul_is_exact(isa, dtype, columns):
    w, x = problem(37, 150, columns, dtype=dtype)
    y = SparseMatrix.from_dense(w) @ x
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, product(w, x))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 300),
    st.integers(0, 90),
    st.floats(0, 1),
    st.sampled_from([np.int8, np.uint8]),
    st.booleans(),
    st.integers(0, 3),
)
def test_any_shape_and_mask(rows, depth, columns, sparsity, dtype, blocks, seed):
    w, x = problem(rows, depth, columns, sparsity, seed, dtype, blocks)
    bias = np.random.default_rng(seed).integers(-(2**24), 2**24, rows).astype(np.int32)
    y = matmul(SparseMatrix.from_dense(w), x, bias=bias)
    np.testing.assert_array_equal(y, product(w, x) + bias[:, None])


@pytest.mark.parametrize("extreme", [(-128, 0), (-128, 255), (127, 255), (-128, -128), (127, 127)])
def test_extreme_codes_do_not_saturate(isa, extreme):
    weight, code = extreme
    dtype = np.uint8 if code > 127 else np.int8
    w = np.full((5, 203), weight, np.int8)
    x = np.full((203, 33), code, dtype)
    np.testing.assert_array_equal(
        SparseMatrix.from_dense(w) @ x, np.full((5, 33), 203 * weight * code)
    )


def plan_of(w, columns, **tiling):
    return _core.sparse.SpmmInt8Plan(SparseMatrix.from_dense(w)._native, columns, **tiling)


@pytest.mark.parametrize("together", [1, 2, 4, 8])
@pytest.mark.parametrize("depth", [1, 7, 65535])
def test_every_tiling_gives_the_product(isa, together, depth):
    w, x = problem(45, 130, 77)
    for block_rows, width in [(45, 200), (10, 16), (7, 24)]:
        plan = plan_of(w, 77, together=together, depth=depth, block_rows=block_rows, width=width)
        np.testing.assert_array_equal(plan.multiply(x, None, None, 1), product(w, x))


@pytest.mark.parametrize("quads", [True, False])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("columns", [1, 15, 16, 17, 45, 130])
@pytest.mark.parametrize("depth", [1, 4, 99, 128])
def test_both_forms_are_exact(isa, quads, dtype, columns, depth):
    w, x = problem(21, depth, columns, 0.5, dtype=dtype, blocks=False)
    plan = plan_of(w, columns, quads=quads)
    np.testing.assert_array_equal(plan.multiply(x, None, None, 1), product(w, x))


@pytest.mark.parametrize("op", ["spmm_pairs", "spmm_quads", "spmm_pack_quads"])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_every_variant_is_exact(op, dtype):
    w, x = problem(40, 99, 45, dtype=dtype)
    rows = [r for r in _core.base.kernels() if (r["room"], r["op"]) == ("sparse", op)]
    assert rows[-1]["variant"] == "ref"
    for row in rows:
        if not row["available"]:
            continue
        _core.base.force_kernel("sparse", op, row["variant"])
        try:
            plan = plan_of(w, 45, quads="quads" in op)
            np.testing.assert_array_equal(plan.multiply(x, None, None, 1), product(w, x))
        finally:
            _core.base.force_kernel("sparse", op, "")


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads(threads):
    w, x = problem(600, 200, 100)
    y = matmul(SparseMatrix.from_dense(w), x, threads=threads)
    np.testing.assert_array_equal(y, product(w, x))


def test_wrong_arguments_are_named():
    w, x = problem(4, 6, 5)
    ws = SparseMatrix.from_dense(w)
    with pytest.raises(TypeError, match="x must be int8 or uint8"):
        ws @ np.float32(x)
    with pytest.raises(ValueError, match=r"x must have shape \(6,\)"):
        ws @ x[:5]
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\)"):
        matmul(ws, x, bias=[1])
    with pytest.raises(ValueError, match="activation and residual"):
        matmul(ws, x, activation="relu")
    with pytest.raises(ValueError, match="below 2\\^31"):
        SparseMatrix.from_dense(np.full((1, 70000), 127, np.int8)) @ np.zeros(70000, np.int8)


def test_levels_agree():
    w, x = problem(30, 64, 50)
    results = []
    for isa in tersor.supported_isas():
        tersor.force_isa(isa)
        results.append(SparseMatrix.from_dense(w) @ x)
    tersor.force_isa("")
    for y in results:
        np.testing.assert_array_equal(y, results[0])
