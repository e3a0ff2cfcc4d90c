"""tersor.codebook.product_kmeans against nearest vectors and means in NumPy."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.codebook import product_kmeans


def rows(w, dim):
    flat = np.asarray(w, np.float64).ravel()
    return np.concatenate([flat, np.zeros(-flat.size % dim)]).reshape(-1, dim)


def check(c, w, k, dim):
    x = rows(w, dim)
    assert c.centroids.shape == (c.k, dim)
    assert c.k <= k
    assert set(np.unique(c.indices)) == set(range(c.k)), "every code has members"
    assert c.indices.shape == (len(x),)
    np.testing.assert_array_equal(
        c.decode(), c.centroids[c.indices].ravel()[: w.size].reshape(w.shape)
    )
    errors = ((x - c.centroids[c.indices]) ** 2).sum(1)
    assert c.inertia == pytest.approx(errors.sum(), rel=1e-9, abs=1e-12)
    best = ((x[:, None] - np.float64(c.centroids)) ** 2).sum(2).min(1)
    scale = (x**2).sum(1) + (np.float64(c.centroids) ** 2).sum(1).max()
    assert (errors <= best + 1e-5 * scale).all(), "the nearest centroid"


@pytest.mark.parametrize("dim", [2, 4, 8])
@pytest.mark.parametrize("k", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("n", [1, 5, 64, 3000])
def test_indices_are_nearest(isa, dim, k, n):
    w = np.random.default_rng(n).normal(size=n).astype(np.float32)
    c = product_kmeans(w, k, dim=dim, keep_zero=False)
    check(c, w, k, dim)
    assert c.k <= len(rows(w, dim))


@pytest.mark.parametrize("dim", [2, 4, 8])
def test_it_finds_clusters(dim):
    rng = np.random.default_rng(0)
    centers = 10 * rng.normal(size=(20, dim))
    x = centers[rng.integers(0, 20, 4000)] + 0.01 * rng.normal(size=(4000, dim))
    c = product_kmeans(x, 20, dim=dim, seed=1)
    assert c.inertia <= 3 * 4000 * dim * 1e-4
    assert product_kmeans(x, 256, dim=dim).inertia < c.inertia


def test_it_beats_scalars_at_the_same_bits():
    w = np.random.default_rng(0).normal(size=40_000).astype(np.float32)
    pairs = product_kmeans(w, 256, dim=2)  # 4 bits a weight
    scalars = tersor.codebook.kmeans(w, 16)
    assert pairs.inertia < 0.92 * scalars.inertia


def test_threads_instruction_sets_and_kernels_agree():
    w = np.random.default_rng(0).normal(size=100_003).astype(np.float32)
    expected = product_kmeans(w, 40, seed=2)
    found = []
    for threads in (1, 2):
        tersor.set_threads(threads)
        found.append(product_kmeans(w, 40, seed=2))
    tersor.set_threads(0)
    for level in tersor.supported_isas():
        tersor.force_isa(level)
        found.append(product_kmeans(w, 40, seed=2))
    tersor.force_isa("")
    _core.base.force_kernel("codebook", "nearest_vectors", "ref")
    found.append(product_kmeans(w, 40, seed=2))
    _core.base.force_kernel("codebook", "nearest_vectors", "")
    for c in found:
        np.testing.assert_array_equal(c.centroids, expected.centroids)
        np.testing.assert_array_equal(c.indices, expected.indices)
        assert c.inertia == expected.inertia
    assert (product_kmeans(w, 40, seed=3).centroids != expected.centroids).any()


def test_zero_vectors_stay():
    w = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    w.reshape(-1, 4)[::2] = 0
    c = product_kmeans(w, 16)
    assert c.k == 16
    np.testing.assert_array_equal((c.decode() == 0).reshape(-1, 4).all(1)[::2], True)
    assert (c.decode().reshape(-1, 4)[1::2] != 0).any(1).all()
    assert product_kmeans(np.zeros(12), 4).decode().tolist() == [0] * 12
    assert product_kmeans(np.zeros(12), 4, keep_zero=False).k == 1


def test_few_distinct_vectors():
    w = np.tile(np.float32([1, 2, 3, 4, 5, 6, 7, 8]), 500)
    c = product_kmeans(w, 256)
    assert c.k == 2
    assert c.inertia == 0
    np.testing.assert_array_equal(c.decode(), w)


def test_gradient_is_a_sum_over_members(threads):
    rng = np.random.default_rng(0)
    w, dw = rng.normal(size=(2, 33, 7)).astype(np.float32)
    c = product_kmeans(w, 12, dim=4)
    expected = np.zeros((c.k, 4))
    np.add.at(expected, c.indices, rows(dw, 4))
    np.testing.assert_allclose(c.centroid_gradient(dw), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="dw must have shape"):
        c.centroid_gradient(dw[:2])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"k": 0}, r"k must be in \[1, 256\], got 0"),
        ({"k": 257}, r"k must be in \[1, 256\], got 257"),
        ({"dim": 3}, "dim must be 2, 4 or 8, got 3"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
        ({"w": []}, "w must have at least 1 value, got 0"),
        ({"w": [1.0, np.nan]}, "w must be finite"),
        ({"w": [1.0, np.inf]}, "w must be finite"),
    ],
)
def test_mistakes(arguments, text):
    given = {"w": [0.0, 1.0, 2.0]} | arguments
    with pytest.raises(ValueError, match=f"^product_kmeans: {text}"):
        product_kmeans(given.pop("w"), **given)
