"""Range search: the best of its candidates, the same by every kernel (range_search.h)."""

import numpy as np
import pytest

import tersor
from tersor import _core
from tersor.quantization import HistogramObserver, choose_qparams, dequantize, quantize

SIZES = [1, 2, 31, 32, 33, 1023, 1024, 1025, 5000]


def squared_error(x, scale, lo=-127, hi=127):
    """Sum of squared errors in float64; codes of the float32 quotient, as the kernels have them."""
    quotient = (x.astype(np.float64) / np.float64(np.float32(scale))).astype(np.float32)
    codes = np.clip(np.rint(quotient), lo, hi).astype(np.float64)
    return float(np.square(x - codes * np.float64(np.float32(scale))).sum())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_symmetric_search_is_the_best_of_its_candidates(isa, n, bits):
    x = np.random.default_rng(n).standard_t(3, n).astype(np.float32)
    top = 2 ** (bits - 1) - 1
    largest = float(np.abs(x).max())
    best = min(squared_error(x, largest * (1 - k / 100) / top, -top, top) for k in range(71))
    chosen = squared_error(x, choose_qparams(x, bits, method="mse").scale[0], -top, top)
    assert chosen <= best * (1 + 1e-4) + 1e-6 * largest**2


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shift", [0, 2, -2])
def test_asymmetric_search_is_never_worse_than_the_whole_range(isa, n, shift):
    x = np.random.default_rng(n).standard_t(3, n).astype(np.float32) + np.float32(shift)

    def error(method):
        q = choose_qparams(x, 4, symmetric=False, method=method)
        return float(np.square(x - dequantize(quantize(x, q), q), dtype=np.float64).sum())

    assert error("mse") <= error("minmax") * (1 + 1e-5) + 1e-9


def test_kernels_choose_as_the_reference_does():
    rows = np.random.default_rng(0).standard_t(3, (40, 300)).astype(np.float32)
    _core.base.force_kernel("quantization", "quantization_error", "ref")
    wanted = choose_qparams(rows, 4, axis=0, method="mse").scale
    _core.base.force_kernel("quantization", "quantization_error", "")
    for level in tersor.supported_isas():
        tersor.force_isa(level)
        got = choose_qparams(rows, 4, axis=0, method="mse").scale
        errors = [
            [squared_error(row, scale, -7, 7) for row, scale in zip(rows, scales, strict=True)]
            for scales in (got, wanted)
        ]
        np.testing.assert_allclose(*errors, rtol=1e-4)  # equal candidates may tie
    tersor.force_isa("")


def test_a_histogram_finds_nearly_what_the_values_do():
    x = np.maximum(np.random.default_rng(0).normal(size=100_000), 0).astype(np.float32)

    def error(q):
        return float(np.square(x - dequantize(quantize(x, q), q), dtype=np.float64).sum())

    for bits in (4, 8):
        exact = error(choose_qparams(x, bits, symmetric=False, method="mse"))
        found = error(HistogramObserver("mse").observe(x).qparams(bits))
        assert found <= 1.02 * exact


def test_threads_change_nothing(threads):
    rows = np.random.default_rng(0).normal(size=(64, 500)).astype(np.float32)
    many = choose_qparams(rows, axis=0, method="mse").scale
    single = [choose_qparams(row, method="mse").scale[0] for row in rows]
    np.testing.assert_array_equal(many, single)


def divergence(observer, q):
    """Kullback-Leibler divergence of what the codes tell, bin by bin (range_search.h)."""
    counts, edges = observer.counts.astype(np.float64), observer.edges
    zero = np.flatnonzero(edges[:-1] == 0)
    if zero.size and counts.size > 1:
        i = int(zero[0])
        neighbours = [counts[j] for j in (i - 1, i + 1) if 0 <= j < counts.size]
        counts[i] = min(counts[i], max(neighbours))
    scale, zero_point = np.float64(q.scale[0]), int(q.zero_point[0])
    codes = np.floor((edges[:-1] + edges[1:]) / 2 / scale + 0.5)
    lo, hi = q.code_min - zero_point, q.code_max - zero_point
    inside = np.where((codes >= lo) & (codes <= hi), counts, 0)
    if scale < edges[1] - edges[0] or not inside.any():
        return np.inf
    filled = np.flatnonzero(inside)
    p, shared = inside.copy(), np.zeros_like(inside)
    p[filled[0]] += counts[codes < lo].sum()
    p[filled[-1]] += counts[codes > hi].sum()
    for code in np.unique(codes[filled]):
        members = filled[codes[filled] == code]
        shared[members] = inside[members].mean()
    p, shared = p[filled] / p.sum(), shared[filled] / shared.sum()
    return float((p * np.log(p / shared)).sum())


def from_range(lo, hi, bits, symmetric):
    return _core.quantization.qparams_from_range(lo, hi, bits, True, symmetric)


def entropy_data(kind, n=20_000):
    rng = np.random.default_rng(7)
    x = {
        "normal": lambda: rng.normal(size=n),
        "heavy": lambda: rng.standard_t(2, n),
        "relu": lambda: np.maximum(rng.normal(size=n), 0),
        "outliers": lambda: np.append(rng.normal(size=n), [60.0, -55.0, 58.0]),
        "positive": lambda: rng.uniform(100, 101, n),
        "negative": lambda: -rng.gamma(1, 1, n),
    }[kind]()
    return x.astype(np.float32)


KINDS = ["normal", "heavy", "relu", "outliers", "positive", "negative"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_symmetric_entropy_is_the_least_of_its_candidates(kind, bits):
    x = entropy_data(kind)
    observer = HistogramObserver("entropy").observe(x)
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    shrunk = [(lo * (1 - k / 100), hi * (1 - k / 100)) for k in range(95)]
    least = min(divergence(observer, from_range(*r, bits, True)) for r in shrunk)
    chosen = divergence(observer, observer.qparams(bits, symmetric=True))
    np.testing.assert_allclose(chosen, least, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_asymmetric_entropy_follows_its_search(kind):
    x = entropy_data(kind)
    observer = HistogramObserver("entropy").observe(x)
    lo, hi = min(float(x.min()), 0.0), max(float(x.max()), 0.0)

    def error(r):
        return divergence(observer, from_range(*r, 8, False))

    best, least = (lo, hi), error((lo, hi))
    for _ in range(2):  # the upper end, the lower one, and again
        for end in (1, 0):
            start = best
            for k in range(95):
                r = (start[0], hi * (1 - k / 100)) if end else (lo * (1 - k / 100), start[1])
                if error(r) < least * (1 - 1e-12):
                    best, least = r, error(r)
    np.testing.assert_allclose(divergence(observer, observer.qparams()), least, rtol=1e-6)


def test_entropy_really_searches():
    x = entropy_data("outliers")
    whole = choose_qparams(x).scale[0] * 127
    assert whole == np.float32(60)
    assert 3 < choose_qparams(x, method="entropy").scale[0] * 127 < 9  # 1,840 bins, 254 codes
    uniform = np.random.default_rng(0).uniform(-1, 1, 50_000).astype(np.float32)
    kept = choose_qparams(uniform, method="entropy").scale[0] * 127
    assert 0.98 <= kept <= 1


def test_entropy_is_not_drowned_by_zeros():
    x = entropy_data("relu")
    with_zeros = np.append(x, np.zeros(10 * x.size, np.float32))
    scales = [
        choose_qparams(v, symmetric=False, method="entropy").scale[0] for v in (x, with_zeros)
    ]
    assert scales[0] == scales[1]


def test_entropy_of_an_array_is_that_of_its_histogram(isa):
    x = entropy_data("heavy", 5001)
    for bits, symmetric in [(8, True), (8, False), (3, False)]:
        wanted = HistogramObserver("entropy").observe(x).qparams(bits, symmetric)
        assert choose_qparams(x, bits, symmetric, method="entropy") == wanted


@pytest.mark.parametrize("x", [[0.0], [3.0], [-2.0, -2.0], [0.0, 0.0, 1.0], [1e-44, 3e38]])
def test_entropy_of_few_values_keeps_the_whole_range(x):
    for symmetric in (True, False):
        assert choose_qparams(x, 8, symmetric, method="entropy") == choose_qparams(x, 8, symmetric)
