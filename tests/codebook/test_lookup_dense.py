"""tersor.codebook.LookupDense against NumPy in float64, within the header's bound."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.codebook import Codebook, LookupDense, kmeans


def layer(outputs, inputs, k=16, group=None, seed=0):
    rng = np.random.default_rng(seed)
    tables = 1 if group is None else -(-outputs // group)
    table = np.sort(rng.normal(size=(tables, k)), axis=1).astype(np.float32)
    codes = rng.integers(0, k, (outputs, inputs)).astype(np.uint8)
    if group is None:
        return Codebook(table[0], codes, 0.0)
    return Codebook(table, codes, 0.0, axis=0, group_size=group)


def check(c, x, **options):
    y = LookupDense(c, **options)(x)
    w = c.decode().astype(np.float64)
    bias = np.float64(options.get("bias", 0))
    size = np.abs(np.float64(x)) @ np.abs(w).T + np.abs(bias)
    expected = np.float64(x) @ w.T + bias
    expected = np.clip(expected, options.get("low", -np.inf), options.get("high", np.inf))
    assert (np.abs(y - expected) <= (w.shape[1] + 8) * 2.0**-23 * size).all()
    return y


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize(
    ("outputs", "inputs"), [(1, 1), (3, 7), (5, 31), (4, 32), (9, 33), (2, 64), (17, 65), (8, 1000)]
)
def test_shapes(isa, rows, outputs, inputs):
    x = np.random.default_rng(rows).normal(size=(rows, inputs)).astype(np.float32)
    for k in (1, 2, 15, 16):
        check(layer(outputs, inputs, k), x)
    for group in (1, 2, 100):
        check(layer(outputs, inputs, 8, group), x, bias=np.ones(outputs, np.float32))


def test_every_entry_is_the_tables_to_the_bit(isa):
    table = np.float32(
        [-3e38, -1, -1e-40, 0, 1e-45, 1e-38, 0.1, 1 / 3, 1, 1.0000001, 2, 7, 9, 1e20, 1e30, 3e38]
    )
    codes = np.arange(16, dtype=np.uint8).repeat(96).reshape(16, 96)
    x = np.zeros((96, 96), np.float32)
    np.fill_diagonal(x, 1)  # row i picks input i
    y = LookupDense(Codebook(table, codes, 0.0))(x)
    np.testing.assert_array_equal(y, np.tile(table, (96, 1)))


def test_every_variant():
    c, x = layer(12, 200), np.random.default_rng(0).normal(size=(2, 200)).astype(np.float32)
    for row in _core.base.kernels():
        if row["op"] == "lookup_dense" and row["available"]:
            _core.base.force_kernel("codebook", "lookup_dense", row["variant"])
            check(c, x)
            assert LookupDense(c).kernel.endswith(row["variant"])
    _core.base.force_kernel("codebook", "lookup_dense", "")


def test_threads_and_rows_change_nothing(isa):
    c = layer(600, 520)
    x = np.random.default_rng(0).normal(size=(3, 520)).astype(np.float32)
    results = []
    for threads in (1, 2):
        tersor.set_threads(threads)
        results.append(check(c, x))
    tersor.set_threads(0)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(LookupDense(c)(x[1:2])[0], results[0][1])


def test_bounds_nan_and_out(isa):
    c = layer(6, 70)
    x = np.random.default_rng(0).normal(size=(3, 70)).astype(np.float32)
    check(c, x, low=0, high=6)
    x[1, 69] = np.nan
    y = np.empty((3, 6), np.float32)
    assert LookupDense(c, low=0)(x, out=y) is y
    assert np.isnan(y[1]).all()
    assert not np.isnan(y[::2]).any()


def test_of_kmeans():
    w = np.random.default_rng(0).normal(size=(64, 1024)).astype(np.float32)
    dense = LookupDense(kmeans(w, 16, axis=0, group_size=16))
    assert dense.packed_bytes <= 64 * 512 + 4 * 16 * 8
    assert "lookup_dense" in dense.kernel


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"codes": np.zeros(3, np.uint8)}, "indices must have 2 dimensions, got 1"),
        ({"codes": np.full((2, 3), 4, np.uint8)}, "indices must be below 4, got 4"),
        ({"table": np.zeros(17, np.float32)}, "centroids must be 1 to 16 a table, got 17"),
        ({"table": np.full(4, np.nan, np.float32)}, "centroids must be finite, got nan"),
        ({"axis": 1}, "codebook must have tables along axis 0, got axis 1"),
        ({"axis": 0}, r"centroids must have shape \(2, k\), got \(1, 4\)"),
        ({"bias": np.zeros(3)}, "bias must have 2 elements, got 3"),
        ({"codes": np.zeros((0, 3), np.uint8)}, "outputs must be at least 1, got 0"),
    ],
)
def test_mistakes(change, text):
    c = Codebook(
        change.get("table", np.zeros(4, np.float32)),
        change.get("codes", np.zeros((2, 3), np.uint8)),
        0.0,
        axis=change.get("axis"),
    )
    with pytest.raises(ValueError, match=text):
        LookupDense(c, change.get("bias"))


def test_inputs_must_fit():
    with pytest.raises(ValueError, match=r"x must have shape \(rows, 3\), got \(2, 4\)"):
        LookupDense(layer(2, 3))(np.zeros((2, 4)))


def within_columns_bound(c, x, y, bias=0.0):
    """The bound of lookup_columns.h."""
    w = c.decode().astype(np.float64)
    size = np.abs(np.float64(x)) @ np.abs(w).T + np.abs(bias)
    units = np.zeros(len(x))
    for start in range(0, w.shape[1], 256):
        tile = np.abs(np.float64(x[:, start : start + 256]))
        units += (tile > 0).sum(1) * tile.max(1) * np.abs(w).max() * 2.0**-27
    bound = (w.shape[1] / 256 + 5) * 2.0**-23 * size + units[:, None]
    return (np.abs(y - (np.float64(x) @ w.T + bias)) <= bound).all()


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(256, 64), (257, 255), (300, 256), (288, 257), (511, 1000)]
)
def test_columns_of_products(isa, outputs, inputs):
    rng = np.random.default_rng(inputs)
    bias = rng.normal(size=outputs).astype(np.float32)
    x = rng.normal(size=(4, inputs)).astype(np.float32)
    x[1] = 0
    x[2, 1:] = 0
    x[3, rng.integers(inputs)] = 1e4
    for k in (1, 2, 15, 16):
        c = layer(outputs, inputs, k, seed=k)
        dense = LookupDense(c, bias)
        assert ("lookup_columns" in dense.kernel) == (tersor.active_isa() in ("avx2", "avxvnni"))
        assert within_columns_bound(c, x, dense(x), bias)
        np.testing.assert_array_equal(dense(x)[1], bias)
    clipped = LookupDense(c, bias, low=0, high=0.5)(x)
    np.testing.assert_array_equal(clipped, np.clip(dense(x), 0, 0.5))


def test_columns_variants_agree_to_the_bit():
    if not set(tersor.supported_isas()) & {"avx2"}:
        pytest.skip("this CPU has no AVX2, so nothing is packed in columns")
    tersor.force_isa("avx2")
    try:
        c = layer(300, 700)
        x = np.random.default_rng(0).normal(size=(2, 700)).astype(np.float32)
        x[1] *= np.logspace(-20, 9, 700, dtype=np.float32)
        dense, results = LookupDense(c), []
        for op in ("lookup_products", "lookup_columns"):
            for variant in ("ref", "avx2"):
                _core.base.force_kernel("codebook", op, variant)
                results.append(dense(x))
                _core.base.force_kernel("codebook", op, "")
        for threads in (1, 2):
            tersor.set_threads(threads)
            results.append(dense(x))
        tersor.set_threads(0)
        for y in results[1:]:
            np.testing.assert_array_equal(y, results[0])
    finally:
        tersor.force_isa("")


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e30])
def test_columns_of_extremes(isa, scale):
    """Where integers cannot stand for the products, float32 does."""
    c = layer(256, 300)
    x = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    x[0] *= np.float32(scale)
    x[1, 7], x[2, 290] = np.inf, np.nan
    y = LookupDense(c)(x)
    w = c.decode().astype(np.float64)
    size = np.abs(np.float64(x[0])) @ np.abs(w).T
    assert (np.abs(y[0] - np.float64(x[0]) @ w.T) <= 308 * 2.0**-23 * size + 300 * 1e-45).all()
    assert not np.isfinite(y[1:]).any()
    tiny = Codebook(c.centroids * np.float32(1e-38), c.indices, 0.0)
    tall = Codebook(c.centroids * np.float32(1e34), c.indices, 0.0)
    ones = np.ones((1, 300), np.float32)
    assert within_columns_bound(tiny, ones, LookupDense(tiny)(ones))
    assert within_columns_bound(tall, ones, LookupDense(tall)(ones))
    zeros = Codebook(np.zeros(3, np.float32), np.zeros((256, 64), np.uint8), 0.0)
    np.testing.assert_array_equal(LookupDense(zeros)(ones[:, :64]), np.zeros((1, 256)))
