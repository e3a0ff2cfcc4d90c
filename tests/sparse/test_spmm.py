"""Sparse x dense (spmm, spmv) against NumPy in float64 and against the reference kernels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.sparse import SparseMatrix, matmul

EPS = np.finfo(np.float32).eps


def problem(rows, depth, columns, sparsity=0.7, seed=0):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(rows, depth)).astype(np.float32)
    w[rng.random(w.shape) < sparsity] = 0
    shape = (depth,) if columns is None else (depth, columns)
    return w, rng.normal(size=shape).astype(np.float32)


def bound(w, x, extra=0.0):
    """The header's: (entries + 2) * eps * sum |w * x|, plus the epilogue's roundings."""
    entries = np.count_nonzero(w, axis=1).reshape(-1, *[1] * (x.ndim - 1))
    return (entries + 4) * EPS * (np.abs(np.float64(w)) @ np.abs(np.float64(x)) + extra) + 1e-30


def assert_product(w, x, y):
    assert y.dtype == np.float32
    error = np.abs(np.float64(w) @ np.float64(x) - y)
    assert (error <= bound(w, x)).all()


SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 47, 63, 64, 65, 100, 129, 200, 1023]


@pytest.mark.parametrize("columns", [None, 0, *SIZES])
def test_matmul_matches_numpy(isa, columns):
    w, x = problem(37, 150, columns)
    assert_product(w, x, SparseMatrix.from_dense(w) @ x)


@pytest.mark.parametrize("sparsity", [0.0, 0.35, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, None), (513, 70, 20), (20, 700, 33)])
def test_matmul_at_any_sparsity(isa, threads, sparsity, shape):
    w, x = problem(*shape, sparsity)
    assert_product(w, x, SparseMatrix.from_dense(w) @ x)


@pytest.mark.parametrize("shape", [(0, 5, 4), (5, 0, 4), (0, 0, 0), (5, 0, None), (0, 5, None)])
def test_empty_shapes(shape):
    w, x = problem(*shape)
    np.testing.assert_array_equal(SparseMatrix.from_dense(w) @ x, w @ x)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 300),
    st.one_of(st.none(), st.integers(1, 90)),
    st.floats(0, 1),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)
def test_epilogue(rows, depth, columns, sparsity, with_bias, with_residual, seed):
    w, x = problem(rows, depth, columns, sparsity, seed)
    rng = np.random.default_rng(seed + 100)
    bias = rng.normal(size=rows).astype(np.float32) if with_bias else None
    product = np.float64(w) @ np.float64(x)
    residual = rng.normal(size=product.shape).astype(np.float32) if with_residual else None
    y = matmul(
        SparseMatrix.from_dense(w),
        x,
        bias=bias,
        activation="relu6",
        residual=residual,
        post_activation=(-1.0, 2.0) if with_residual else None,
    )
    wanted = product
    if with_bias:
        wanted = wanted + bias.reshape(-1, *[1] * (x.ndim - 1))
    wanted = np.clip(wanted, 0, 6)
    if with_residual:
        wanted = np.clip(wanted + residual, -1, 2)
    assert (np.abs(wanted - y) <= bound(w, x, extra=10)).all()


def plan_of(w, columns, **tiling):
    return _core.sparse.SpmmPlan(SparseMatrix.from_dense(w)._native, columns, **tiling)


def run(plan, x, threads=1, **kwargs):
    free = (-np.inf, np.inf)
    arguments = {"bias": None, "residual": None, "range": free, "post_range": free, "out": None}
    return plan.multiply(x, **{**arguments, **kwargs}, threads=threads)


@pytest.mark.parametrize("together", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("depth", [1, 7, 64, 65535])
def test_every_tiling_gives_the_product(isa, together, depth):
    w, x = problem(45, 130, 77)
    w[3], w[4] = 0, 1
    for block_rows, width, packed in [(45, 200, True), (10, 16, True), (7, 24, False)]:
        plan = plan_of(
            w, 77, together=together, depth=depth, block_rows=block_rows, width=width, packed=packed
        )
        assert_product(w, x, run(plan, x))


def test_inputs_are_read_in_place_without_packing(isa):
    w, x = problem(45, 130, 96)
    assert_product(w, x, run(plan_of(w, 96, together=1, width=32, packed=False), x))


@pytest.mark.parametrize("columns", [1, 8, 40, 196])
def test_variants_equal_the_reference(columns):
    w, x = problem(70, 300, columns, 0.8)
    bias = np.arange(70, dtype=np.float32)
    results = {}
    for isa in ["ref", *tersor.supported_isas()]:
        for op in ("spmm_tile", "spmm_pack", "spmv_tile"):
            _core.base.force_kernel("sparse", op, "ref" if isa == "ref" else "")
        if isa != "ref":
            tersor.force_isa(isa)
        results[isa] = run(plan_of(w, columns), x, bias=bias, range=(0.0, np.inf))
    tersor.force_isa("")
    for y in results.values():
        assert (np.abs(y - results["ref"]) <= 2 * bound(w, x, extra=70)).all()


@pytest.mark.parametrize("columns", [None, 1, 49, 196])
def test_threads_do_not_change_the_result(isa, columns):
    w, x = problem(600, 300, columns)
    ws = SparseMatrix.from_dense(w)
    one = matmul(ws, x, threads=1)
    for threads in (2, 3, 5):
        np.testing.assert_array_equal(matmul(ws, x, threads=threads), one)


@pytest.mark.parametrize("columns", [None, 5, 40])
def test_infinity_and_nan_touch_only_the_rows_that_read_them(isa, columns):
    w, x = problem(33, 50, columns, 0.6)
    w[:, 7] = 0
    w[5, 7] = 1
    clean = SparseMatrix.from_dense(w) @ x
    x[7] = np.nan
    y = SparseMatrix.from_dense(w) @ x
    assert np.isnan(y[5]).all()
    rest = np.arange(33) != 5
    np.testing.assert_array_equal(y[rest], clean[rest])
    x[7] = np.inf
    y = matmul(SparseMatrix.from_dense(w), x, activation=(-10.0, 10.0))
    assert (y[5] == 10).all()


def test_nan_survives_the_activation(isa):
    w = np.float32([[np.nan, 0], [0, 1]])
    y = matmul(SparseMatrix.from_dense(w), np.ones((2, 20), np.float32), activation="relu")
    assert np.isnan(y[0]).all()
    assert (y[1] == 1).all()


def test_out_is_written_and_may_be_the_residual(isa):
    w, x = problem(20, 30, 25)
    ws = SparseMatrix.from_dense(w)
    out = np.full((20, 25), 7, np.float32)
    residual = out.copy()
    wanted = matmul(ws, x, residual=residual)
    assert matmul(ws, x, residual=out, out=out) is not None
    np.testing.assert_array_equal(out, wanted)
    assert np.shares_memory(matmul(ws, x, out=out), out)


def test_unaligned_and_strided_inputs(isa):
    w, x = problem(20, 31, 60)
    ws = SparseMatrix.from_dense(w)
    np.testing.assert_array_equal(ws @ x[:, ::-1], ws @ np.ascontiguousarray(x[:, ::-1]))
    shifted = np.empty(x.size + 1, np.float32)[1:].reshape(x.shape)  # 4 bytes off
    shifted[...] = x
    np.testing.assert_array_equal(ws @ shifted, ws @ x)


def test_formats_give_one_product():
    w, x = problem(24, 64, 33, 0.8)
    wanted = SparseMatrix.from_dense(w, format="csr") @ x
    for format in ("csc", "tiled", "bitmap", "block"):
        np.testing.assert_array_equal(SparseMatrix.from_dense(w, format=format) @ x, wanted)


def test_many_depths_need_several_tiles(isa):
    w, x = problem(3, 140000, 2, 0.99)
    assert_product(w, x, SparseMatrix.from_dense(w) @ x)
    assert_product(w, x[:, 0], SparseMatrix.from_dense(w) @ np.ascontiguousarray(x[:, 0]))


def test_wrong_arguments_are_named():
    w, x = problem(4, 6, 5)
    ws = SparseMatrix.from_dense(w)
    with pytest.raises(ValueError, match=r"x must have shape \(6,\) or \(6, columns\), got \(5,"):
        ws @ x[:5]
    with pytest.raises(ValueError, match="1 or 2 dimensions"):
        ws @ x[None]
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\)"):
        matmul(ws, x, bias=[1, 2])
    with pytest.raises(ValueError, match=r"residual must have shape \(4, 5\)"):
        matmul(ws, x, residual=x)
    with pytest.raises(ValueError, match="activation must be None"):
        matmul(ws, x, activation="gelu")
    with pytest.raises(ValueError, match="post_activation must be None"):
        matmul(ws, x, post_activation="relu")
    with pytest.raises(ValueError, match="threads must be at least 0"):
        matmul(ws, x, threads=-1)
    with pytest.raises(ValueError, match="out must have shape"):
        matmul(ws, x, out=np.zeros((4, 4), np.float32))
    square = SparseMatrix.from_dense(np.eye(5, dtype=np.float32))
    y = np.ones((5, 5), np.float32)
    with pytest.raises(ValueError, match="out must not overlap x"):
        matmul(square, y, out=y)
    with pytest.raises(TypeError, match="SparseMatrix"):
        matmul(w, x)
    for name, value in [("together", 3), ("depth", 65536), ("block_rows", 65536), ("width", -1)]:
        with pytest.raises(ValueError, match=name):
            plan_of(w, 5, **{name: value})
