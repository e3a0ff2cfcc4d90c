"""Layers of few rows, sparse products and k-means against the CPU."""

import ml_dtypes
import numpy as np
import pytest

from tersor import codebook as cpu_codebook
from tersor import quantization as cpu
from tersor.sparse import SparseMatrix


@pytest.mark.parametrize(
    ("outputs", "inputs", "rows", "axis", "group"),
    [
        (1, 32, 1, 0, 0),
        (37, 1056, 2, 1, 32),
        (9, 4352, 1, 1, 128),
        (17, 640, 9, 1, 256),
        (5, 192, 3, 1, 64),
        (33, 288, 1, 1, 96),
        (6, 64, 3, 0, 0),
    ],
)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("tensor_cores", [True, False])
def test_dense_int4(cuda, monkeypatch, outputs, inputs, rows, axis, group, symmetric, tensor_cores):
    from tersor.cuda import dense_int4, quantization

    if not tensor_cores:
        monkeypatch.setattr(dense_int4, "_has_tensor_cores", lambda: False)
    rng = np.random.default_rng(0)
    w = rng.normal(size=(outputs, inputs)).astype(np.float32)
    q = cpu.choose_qparams(w, 4, symmetric, axis=axis, group_size=group or None)
    codes = cpu.quantize(w, q)
    bias = rng.normal(size=outputs).astype(np.float32)
    layer = quantization.DenseInt4(codes, q, bias, low=-30.0)
    for dtype in (np.float32, ml_dtypes.bfloat16):
        x = rng.normal(size=(rows, inputs)).astype(dtype)
        wide = x.astype(np.float64)
        decoded = cpu.dequantize(codes, q).astype(np.float64)
        expected = np.maximum(wide @ decoded.T + bias, -30)
        scale = np.repeat(np.abs(q.scale).max(), 1)
        bound = 2**-20 * 24 * np.abs(wide).sum(1, keepdims=True) * scale
        assert (np.abs(layer(cuda.array(x)).numpy() - expected) <= bound).all()
    with pytest.raises(ValueError, match="DenseInt4: x must have shape"):
        layer(cuda.array(np.zeros((1, 31), np.float32)))


def test_dense_int4_keeps_what_is_not_finite_in_its_row(cuda):
    from tersor.cuda import quantization

    codes = np.full((3, 64), 2, np.int8)
    codes[1] = -3
    q = cpu.QParams(scale=[0.5, 1, 2], zero_point=[0, 0, 0], bits=4, axis=0)
    x = np.ones((5, 64), np.float32)
    x[1, 3], x[2, 5], x[3, 7] = np.inf, np.nan, 1e37
    x[4] = 2.0 ** np.arange(-30, 34)
    y = quantization.DenseInt4(codes, q)(cuda.array(x)).numpy()
    np.testing.assert_array_equal(y[0], [64, -192, 256])
    np.testing.assert_array_equal(y[1], [np.inf, -np.inf, np.inf])
    assert np.isnan(y[2]).all()
    np.testing.assert_allclose(y[3], [1e37, -3e37, 4e37], rtol=1e-6)
    np.testing.assert_allclose(y[4], (2.0**34 - 2.0**-30) * np.array([1, -3, 4]), rtol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "inputs", "rows"), [(1, 4, 1), (16, 64, 8), (37, 100, 3), (145, 136, 70)]
)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_dense_24(cuda, outputs, inputs, rows, dtype):
    from tersor import pruning
    from tersor.cuda import sparse

    rng = np.random.default_rng(0)
    w = rng.normal(size=(outputs, inputs)).astype(np.float32)
    w *= pruning.nm_mask(w, 2, 4)
    w[:, 4:8] = 0  # none of four, and one of four
    w[0, 3] = 1 if inputs > 4 else w[0, 3]
    w[:, :3] = 0
    bias = rng.normal(size=outputs).astype(np.float32)
    x = rng.normal(size=(rows, inputs)).astype(ml_dtypes.bfloat16)
    layer = sparse.Dense24(w, bias, high=4.0, dtype=dtype)
    y = layer(cuda.array(x)).numpy().astype(np.float64)
    wide, used = x.astype(np.float64), w.astype(ml_dtypes.bfloat16).astype(np.float64)
    expected = np.minimum(wide @ used.T + bias, 4)
    sizes = np.abs(wide) @ np.abs(used.T) + np.abs(bias)
    rounding = 2.0**-8 * np.abs(expected) if dtype is not np.float32 else 0
    assert (np.abs(y - expected) <= sizes * 2.0**-20 + rounding).all()
    with pytest.raises(ValueError, match="at most 2 of every 4 inputs, got 3"):
        sparse.Dense24(np.float32([[1, 2, 3, 0]]))
    with pytest.raises(ValueError, match="x must have shape"):
        layer(cuda.array(np.zeros((1, inputs + 4), ml_dtypes.bfloat16)))


@pytest.mark.parametrize("axis", [None, 0])
def test_lookup_dense(cuda, axis):
    from tersor.cuda import codebook

    rng = np.random.default_rng(0)
    w = rng.normal(size=(7, 96)).astype(np.float32)
    c = cpu_codebook.kmeans(w, 11, axis=axis, group_size=2 if axis == 0 else 1)
    x = rng.normal(size=(2, 96)).astype(np.float32)
    bias = rng.normal(size=7).astype(np.float32)
    y = codebook.LookupDense(c, bias)(cuda.array(x)).numpy()
    np.testing.assert_allclose(y, x @ c.decode().T + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format", ["csr", "block", "nm"])
@pytest.mark.parametrize("products", [None, 1, 5, 130])
def test_sparse_products(cuda, format, products):
    from tersor.cuda import sparse

    rng = np.random.default_rng(0)
    w = rng.normal(size=(13, 38)).astype(np.float32) * (rng.random((13, 38)) < 0.2)
    if format == "nm":
        w[:, 2::4] = 0
        w[:, 3::4] = 0
    w[4] = 0
    x = rng.normal(size=(38,) if products is None else (38, products)).astype(np.float32)
    x[-1] = np.inf
    w[:, -1] = 0
    bias = rng.normal(size=13).astype(np.float32)
    ws = sparse.from_dense(w, format=format, block=(2, 4))
    y = ws.matmul(cuda.array(x), cuda.array(bias), low=-2.0).numpy()
    x[-1] = 0
    expected = np.maximum((w @ x).T + bias, -2).T
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    if format == "csr":
        again = sparse.DeviceSparseMatrix(SparseMatrix.from_dense(w, format="bitmap"))
        np.testing.assert_allclose((again @ cuda.array(x)).numpy(), w @ x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 2, 16, 64])
def test_kmeans_is_near_the_optimum(cuda, k):
    from tersor.cuda import codebook

    w = np.random.default_rng(0).normal(size=(50, 80)).astype(np.float32)
    found = codebook.kmeans(cuda.array(w), k)
    best = cpu_codebook.kmeans(w, k)
    assert found.inertia <= best.inertia * 1.001
    assert len(found.centroids) == k
    indices = found.indices.numpy()
    assert indices.shape == w.shape
    nearest = np.abs(w[..., None] - found.centroids).argmin(-1)
    np.testing.assert_array_equal(indices, nearest)
    error = w.astype(np.float64) - found.centroids[indices]
    np.testing.assert_allclose(found.inertia, (error**2).sum(), rtol=1e-9)
    with pytest.raises(ValueError, match="kmeans: w must be finite"):
        codebook.kmeans(cuda.array(np.float32([1, np.nan])), 1)
