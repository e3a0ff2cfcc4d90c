"""tersor.codebook.kmeans (partition, bins, companded_bins, assign) against NumPy."""

import warnings

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tersor
from tersor import _core
from tersor.codebook import Codebook, kmeans

INITS = ["linear", "density", "random", "k-means++"]


def optimum(values, k, weights=None):
    """The least squared error, by dynamic programming over all pairs."""
    x = np.asarray(values, np.float64).ravel()
    order = np.argsort(x, kind="stable")
    x = x[order] - x.mean()
    w = np.ones(x.size) if weights is None else np.asarray(weights, np.float64).ravel()[order]
    sums = [np.concatenate([[0], np.cumsum(w * x**p)]) for p in range(3)]
    lo, hi = np.meshgrid(np.arange(x.size + 1), np.arange(x.size + 1), indexing="ij")
    mass, first, second = (s[hi] - s[lo] for s in sums)
    cost = second - np.divide(first**2, mass, out=np.zeros_like(mass), where=mass > 0)
    cost[lo > hi] = np.inf
    best = cost[0]
    for _ in range(k - 1):
        best = (best[:, None] + cost).min(axis=0)
    return max(best[-1], 0.0)


def error(c, w, weights=1.0):
    return float((weights * (np.float64(w) - c.decode()) ** 2).sum())


def check(c, w, k, weights=None):
    """What holds for every codebook."""
    w = np.asarray(w)
    assert c.indices.dtype == np.uint8
    assert c.indices.shape == w.shape
    assert (np.diff(c.centroids) > 0).all()
    assert c.k <= k
    assert set(np.unique(c.indices)) == set(range(c.k)), "every code has members"
    np.testing.assert_array_equal(c.decode(), c.centroids[c.indices])
    rated = 1.0 if weights is None else np.float64(weights)
    scale = (rated * np.float64(w) ** 2).sum()
    assert c.inertia == pytest.approx(error(c, w, rated), rel=1e-6, abs=1e-12 * scale)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 16, 17, 33, 64])
@pytest.mark.parametrize("n", [1, 2, 7, 17, 64, 65, 200])
def test_exact_is_the_optimum(isa, n, k):
    rng = np.random.default_rng(n + k)
    for w in (
        rng.normal(size=n),
        rng.standard_t(2, n),
        rng.integers(-9, 9, n),
        rng.normal(1e3, 1e-2, n),
    ):
        w = w.astype(np.float32)
        c = kmeans(w, k, keep_zero=False)
        check(c, w, k)
        assert c.k == min(k, np.unique(w).size)
        spread = ((np.float64(w) - np.float64(w).mean()) ** 2).sum()
        best = optimum(w, min(k, n))
        assert c.inertia == pytest.approx(best, rel=1e-9, abs=1e-13 * spread)


@pytest.mark.parametrize("k", [3, 16, 40])
def test_exact_by_price_is_the_optimum(k):
    rng = np.random.default_rng(k)
    weights = rng.uniform(0.1, 3, 2000).astype(np.float32)
    for w in (rng.normal(size=2000), rng.standard_t(2, 2000), np.arange(2000.0)):
        for rated in (None, weights):
            c = kmeans(w, k, weights=rated)
            assert c.inertia == pytest.approx(optimum(w, k, rated), rel=1e-9)


@settings(max_examples=60)
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    st.integers(1, 20),
    st.integers(0, 99),
)
def test_exact_with_weights_and_ties(values, k, seed):
    w = np.float32(values) / 4
    weights = np.random.default_rng(seed).integers(0, 4, w.size).astype(np.float32)
    weights[0] += 1
    c = kmeans(w, k, weights=weights, keep_zero=False)
    assert c.indices.max() == c.k - 1
    np.testing.assert_allclose(c.inertia, optimum(w, min(k, w.size), weights), rtol=1e-9, atol=1e-9)
    assert error(c, w, weights) <= c.inertia + 1e-5


@pytest.mark.parametrize("k", [17, 40, 48, 65, 256])
def test_many_clusters_are_solved_in_groups(isa, k):
    w = np.random.default_rng(k).normal(size=400)
    c = kmeans(w, k)
    assert c.centroids.dtype == np.float64
    assert c.inertia == pytest.approx(optimum(w, k), rel=1e-11)
    assert error(c, w) == pytest.approx(c.inertia, rel=1e-12)


def test_kernels_of_partition_bins_and_assign_agree():
    rng = np.random.default_rng(0)
    w = rng.standard_t(3, 3000).astype(np.float32)
    big = rng.standard_t(3, 150_000).astype(np.float32)
    ops = ("best_splits", "count_in_bins", "count_companded", "assign_nearest")
    expected = [kmeans(w, 20), kmeans(big, 20, max_points=1000)]
    for op in ops:
        rows = [r for r in _core.base.kernels() if r["op"] == op]
        assert rows[-1]["variant"] == "ref"
        _core.base.force_kernel("codebook", op, "ref")
        try:
            got = [kmeans(w, 20), kmeans(big, 20, max_points=1000)]
        finally:
            _core.base.force_kernel("codebook", op, "")
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a.centroids, b.centroids)
            np.testing.assert_array_equal(a.indices, b.indices)


DATA = {
    "normal": lambda rng, n: rng.normal(size=n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2, n),
    "uniform": lambda rng, n: rng.uniform(-1, 3, n),
    "far from zero": lambda rng, n: rng.normal(1000, 1, n),
    "two modes": lambda rng, n: np.concatenate(
        [rng.normal(-1, 0.01, n // 2), rng.normal(1, 0.01, n - n // 2)]
    ),
    "positive": lambda rng, n: rng.lognormal(0, 2, n),
    "tiny": lambda rng, n: 1e-30 * rng.normal(size=n),
}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(("k", "excess"), [(16, 1e-5), (256, 1e-3)])
def test_bins_come_close_to_the_optimum(name, k, excess):
    w = DATA[name](np.random.default_rng(0), 130_000).astype(np.float32)
    binned = kmeans(w, k, max_points=0)
    best = kmeans(w, k)
    check(binned, w, k)
    assert best.inertia * (1 - 1e-9) <= error(binned, w) <= best.inertia * (1 + excess)


def odd_values(rng, n):
    w = rng.normal(size=n)
    yield "pruned", np.where(np.abs(w) < 1.15, 0, w)
    yield "pruned and shifted", np.where(w < 1, 0, w + 1)
    yield "one far out", np.append(w[1:], 1e6)
    yield "infinite quotients", np.append(w[1:], 3e38)
    yield "few values", np.round(w * 4) / 4
    yield "one in two equal", np.where(rng.random(n) < 0.6, 0.25, w)
    yield "negative zeros", np.where(np.abs(w) < 0.3, -0.0, w)
    yield "denormal", w * 1e-40


@pytest.mark.parametrize("k", [5, 16, 64])
def test_values_that_do_not_suit_companded_bins(isa, k):
    rng = np.random.default_rng(k)
    for name, w in odd_values(rng, 40_000):
        w = w.astype(np.float32)
        binned, best = kmeans(w, k, max_points=0), kmeans(w, k)
        check(binned, w, k)
        assert binned.k == best.k, name
        if (w == 0).mean() >= 0.05:
            np.testing.assert_array_equal(binned.decode() == 0, w == 0)
        floor = 1e-12 * (np.float64(w) ** 2).sum()  # rounding of the centroids
        excess = 1e-4 if k <= 16 else 1e-3
        assert error(binned, w) <= best.inertia * (1 + excess) + floor, name


@pytest.mark.parametrize("levels", [3, 100, 255, 256, 257, 5000])
def test_bins_on_few_distinct_values(levels):
    rng = np.random.default_rng(levels)
    table = np.sort(rng.normal(size=levels)).astype(np.float32)
    w = table[rng.integers(0, levels, 140_000)]
    c = kmeans(w, 256, max_points=0)
    check(c, w, 256)
    best = kmeans(w, 256, max_points=w.size)
    assert c.k == min(256, levels)
    assert c.inertia <= best.inertia * (1 + 1e-3) + 1e-12


@pytest.mark.parametrize("algorithm", ["exact", "lloyd"])
@pytest.mark.parametrize("n", [5000, 300_000])
def test_threads_and_calls_change_nothing(n, algorithm):
    rng = np.random.default_rng(0)
    w = rng.normal(size=n).astype(np.float32)
    for weights in (None, rng.uniform(size=n)):
        found = []
        for threads in (1, 2, 1):
            tersor.set_threads(threads)
            found.append(kmeans(w, 24, weights=weights, algorithm=algorithm, init="k-means++"))
        tersor.set_threads(0)
        for c in found[1:]:
            np.testing.assert_array_equal(c.centroids, found[0].centroids)
            np.testing.assert_array_equal(c.indices, found[0].indices)
            assert c.inertia == found[0].inertia


@pytest.mark.parametrize(
    "isa_pair", [(a, tersor.supported_isas()[0]) for a in tersor.supported_isas()]
)
def test_instruction_sets_agree(isa_pair):
    w = np.random.default_rng(0).normal(size=150_000).astype(np.float32)
    found = []
    for level in isa_pair:
        tersor.force_isa(level)
        found.append((kmeans(w, 16), kmeans(w[:5000], 40)))
    tersor.force_isa("")
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a.centroids, b.centroids)
        np.testing.assert_array_equal(a.indices, b.indices)


def lloyd_step(w, centroids):
    """One sweep in NumPy: nearest centroid, then means."""
    codes = np.abs(w[:, None] - centroids[None]).argmin(1)
    return np.array([w[codes == j].mean() for j in range(centroids.size)])


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("k", [1, 2, 16, 60])
def test_lloyd_ends_at_a_fixed_point(init, k):
    w = np.random.default_rng(k).normal(size=3000)
    c = kmeans(w, k, algorithm="lloyd", init=init, seed=3)
    check(c, w, k)
    assert c.k == k
    np.testing.assert_allclose(lloyd_step(w, c.centroids), c.centroids, rtol=1e-9, atol=1e-12)
    best = kmeans(w, k).inertia
    assert best * (1 - 1e-12) <= c.inertia <= 4 * best  # linear and density waste centroids


def test_lloyd_from_linear_is_that_of_numpy():
    w = np.random.default_rng(5).uniform(size=500)
    expected = np.linspace(w.min(), w.max(), 8)
    for _ in range(4):
        expected = lloyd_step(w, expected)
    c = kmeans(w, 8, algorithm="lloyd", init="linear", max_iterations=3)
    np.testing.assert_allclose(c.centroids, expected, rtol=1e-12)


@pytest.mark.parametrize("init", INITS)
def test_lloyd_leaves_no_code_empty(init):
    rng = np.random.default_rng(0)
    clumps = np.concatenate([rng.normal(0, 1e-3, 2000), [50.0, 100.0]]).astype(np.float32)
    for w in (clumps, np.repeat(np.arange(41, dtype=np.float32), 50)):
        for iterations in (1, 300):
            c = kmeans(w, 40, algorithm="lloyd", init=init, max_iterations=iterations)
            check(c, w, 40)


def test_seeds_matter_and_repeat():
    w = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    for init in ("random", "k-means++"):
        a, b, c = (kmeans(w, 30, algorithm="lloyd", init=init, seed=s) for s in (1, 1, 2))
        np.testing.assert_array_equal(a.centroids, b.centroids)
        assert (a.centroids != c.centroids).any()


def test_linear_with_many_clusters_warns():
    w = np.random.default_rng(0).normal(size=1000)
    with pytest.warns(UserWarning, match="linear initialisation with k = 64"):
        kmeans(w, 64, algorithm="lloyd")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kmeans(w, 63, algorithm="lloyd")
        kmeans(w, 64, algorithm="lloyd", init="density")
        kmeans(w, 64)


@pytest.mark.parametrize("algorithm", ["exact", "lloyd"])
@pytest.mark.parametrize("max_points", [0, 10**6])
def test_zeros_of_a_pruned_tensor(isa, algorithm, max_points):
    rng = np.random.default_rng(0)
    w = rng.normal(size=150_000).astype(np.float32)
    w[rng.uniform(size=w.size) < 0.75] = 0
    w[::7] *= -1  # some are -0
    for k in (2, 16, 40):
        c = kmeans(w, k, algorithm=algorithm, init="density", max_points=max_points)
        check(c, w, k)
        assert c.k == k
        np.testing.assert_array_equal(c.decode() == 0, w == 0)
        rest = kmeans(w[w != 0], k - 1, keep_zero=False, max_points=10**6)
        if algorithm == "exact":
            assert error(c, w) <= rest.inertia * (1 + 1e-4)


def test_when_zero_is_kept():
    w = np.array([0.0, 0.0, 1.0, 2.0, 4.0, -3.0], np.float32)
    assert 0 in kmeans(w, 3).centroids
    assert 0 in kmeans(w, 3, keep_zero=True).centroids
    assert kmeans(w, 2, keep_zero=False).centroids.tolist() == [-1.0, pytest.approx(7 / 3)]
    few = np.arange(1.0, 101.0, dtype=np.float32)
    few[0] = 0  # 1 %: not pruned
    assert 0 not in kmeans(few, 4).centroids
    assert 0 in kmeans(few, 4, keep_zero=True).centroids
    assert kmeans(np.zeros(9), 4).centroids.tolist() == [0.0]
    assert kmeans(np.zeros(9), 4, keep_zero=True).centroids.tolist() == [0.0]
    assert kmeans([1.0, 2.0], 2, keep_zero=True).centroids.tolist() == [1.0, 2.0]
    assert kmeans(w, 1).k == 1
    symmetric = np.array([0.0, -1.0, 1.0], np.float32)
    c = kmeans(symmetric, 2, keep_zero=True)
    np.testing.assert_array_equal(c.decode() == 0, symmetric == 0)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("group_size", [1, 2, 3, 100])
def test_tables_of_channels(axis, group_size):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(7, 6, 5)).astype(np.float32)
    weights = rng.uniform(0.1, 1, w.shape)
    c = kmeans(w, 4, axis=axis, group_size=group_size, weights=weights)
    channels = w.shape[axis]
    starts = range(0, channels, group_size)
    assert c.centroids.shape == (len(starts), 4)
    decoded, total = c.decode(), 0.0
    dw = rng.normal(size=w.shape).astype(np.float32)
    gradient = c.centroid_gradient(dw)
    for t, start in enumerate(starts):
        part = np.arange(start, min(channels, start + group_size))
        own = kmeans(w.take(part, axis), 4, weights=weights.take(part, axis))
        np.testing.assert_array_equal(c.centroids[t], own.centroids)
        np.testing.assert_array_equal(c.indices.take(part, axis), own.indices)
        np.testing.assert_array_equal(decoded.take(part, axis), own.decode())
        np.testing.assert_allclose(
            gradient[t], own.centroid_gradient(dw.take(part, axis)), rtol=1e-6, atol=1e-6
        )
        total += own.inertia
    assert c.inertia == pytest.approx(total)


def test_tables_of_different_length():
    w = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]], np.float32)
    c = kmeans(w, 3, axis=0)
    assert c.counts.tolist() == [1, 3]
    assert c.centroids[0].tolist() == [1.0, 1.0, 1.0]
    assert c.indices[0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8])
def test_narrow_dtypes(dtype):
    w = (10 * np.random.default_rng(0).normal(size=2000)).astype(dtype)
    c = kmeans(w, 16)
    assert c.centroids.dtype == np.float32
    np.testing.assert_array_equal(c.centroids, kmeans(w.astype(np.float32), 16).centroids)


def test_layouts(isa):
    w = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32)
    c, strided = kmeans(np.ascontiguousarray(w.T[::2]), 8), kmeans(w.T[::2], 8)
    np.testing.assert_array_equal(c.centroids, strided.centroids)
    np.testing.assert_array_equal(c.indices, strided.indices)
    assert kmeans(np.float32(3), 4).indices.shape == ()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30, 3e38])
def test_extremes(isa, scale):
    w = (np.linspace(-1, 1, 41) * scale).astype(np.float32)
    for max_points in (0, 100):
        c = kmeans(w, 5, max_points=max_points)
        assert np.isfinite(c.centroids).all()
        assert c.k == 5
        assert len(np.unique(c.indices)) == 5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_are_refused(isa, value, dtype):
    for n in (1, 20, 140_000):
        w = np.ones(n, dtype)
        w[n // 2] = value
        for algorithm in ("exact", "lloyd"):
            with pytest.raises(ValueError, match="kmeans: w must be finite, got"):
                kmeans(w, 4, algorithm=algorithm)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"k": 0}, r"k must be in \[1, 256\], got 0"),
        ({"k": 257}, r"k must be in \[1, 256\], got 257"),
        ({"w": []}, "w must have between 1 and"),
        ({"algorithm": "best"}, "algorithm must be exact or lloyd, got best"),
        ({"init": "first"}, "init must be linear, density, random or k-means[+][+], got first"),
        ({"weights": [1.0, -1.0, 1.0]}, "weights must be finite and at least 0, got -1"),
        ({"weights": [1.0, np.nan, 1.0]}, "weights must be finite and at least 0, got nan"),
        ({"weights": [0.0, 0.0, 0.0]}, "weights must have a positive sum"),
        ({"weights": [1.0]}, r"weights must have shape \(3,\), got \(1,\)"),
        ({"axis": 1}, r"axis must be in \[-1, 1\), got 1"),
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
        ({"max_points": -1}, "max_points must be at least 0, got -1"),
        ({"k": 1, "keep_zero": True}, "k must be at least 2 where zero is kept, got 1"),
    ],
)
def test_mistakes(arguments, text):
    given = {"w": [0.0, 1.0, 2.0], "k": 2} | arguments
    with pytest.raises(ValueError, match=f"^kmeans: {text}"):
        kmeans(given.pop("w"), given.pop("k"), **given)


@pytest.mark.parametrize("n", [1, 3, 4, 5, 1000, 200_001])
@pytest.mark.parametrize("k", [1, 16, 256])
def test_centroid_gradient_is_a_sum_over_members(threads, n, k):
    rng = np.random.default_rng(n)
    codes = rng.integers(0, k, n).astype(np.uint8)
    c = Codebook(np.arange(k, dtype=np.float32), codes, 0.0)
    dw = rng.normal(size=n).astype(np.float32)
    expected = np.bincount(codes, np.float64(dw), k)
    np.testing.assert_allclose(c.centroid_gradient(dw), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(c.decode(), codes)


def test_codes_beyond_the_table_are_refused():
    c = Codebook(np.float32([0, 1]), np.uint8([0, 1, 2]), 0.0)
    with pytest.raises(ValueError, match="decode: codes must be below 2, got 2"):
        c.decode()
    with pytest.raises(ValueError, match="centroid_gradient: codes must be below 2, got 2"):
        c.centroid_gradient(np.ones(3))
    with pytest.raises(ValueError, match=r"dw must have shape \(3,\), got \(2,\)"):
        c.centroid_gradient(np.ones(2))
