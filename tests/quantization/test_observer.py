"""Observers: exact counts, merging in any order, ranges found over histograms."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tersor
from tersor.quantization import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    QParams,
    dequantize,
    quantize,
)

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def numpy_counts(observer, x):
    """Values per bin by NumPy in float64; the grid is the observer's."""
    edges = observer.edges
    width = edges[1] - edges[0]
    index = np.floor(x.astype(np.float64) / width).astype(np.int64) - round(edges[0] / width)
    return np.bincount(index.ravel(), minlength=len(observer.counts))


def state(observer):
    return observer.edges.tolist(), observer.counts.tolist(), observer.range, observer.total


@pytest.mark.parametrize("n", [1, 3, 4, 5, 511, 512, 513, 300_000])
@pytest.mark.parametrize(
    "kind", ["normal", "relu", "uniform", "constant", "zero", "tiny", "huge", "both"]
)
def test_histogram_counts_match_numpy(isa, n, kind):
    rng = np.random.default_rng(n)
    x = {
        "normal": lambda: rng.normal(size=n),
        "relu": lambda: np.maximum(rng.normal(size=n), 0),
        "uniform": lambda: rng.uniform(-3, 200, n),
        "constant": lambda: np.full(n, -7.3),
        "zero": lambda: np.zeros(n),
        "tiny": lambda: rng.normal(size=n) * 1e-42,
        "both": lambda: np.resize([3e38, -1e-45, 0.0, -2e-11, 1e-45], n),
        "huge": lambda: rng.uniform(-3e38, 3e38, n),
    }[kind]().astype(np.float32)
    observer = HistogramObserver().observe(x)
    assert observer.counts.sum() == observer.total == n
    assert len(observer.counts) <= 2048
    assert observer.range == (x.min(), x.max())
    np.testing.assert_array_equal(observer.counts, numpy_counts(observer, x))


def test_histogram_uses_its_bins():
    x = np.random.default_rng(0).uniform(0, 5, 100_000).astype(np.float32)
    assert 1024 < len(HistogramObserver().observe(x).counts) <= 2048


@settings(max_examples=100, deadline=None)
@given(st.lists(arrays(np.float32, st.integers(0, 20), elements=FINITE), min_size=1, max_size=4))
def test_histogram_does_not_depend_on_order_or_parts(parts):
    whole = HistogramObserver().observe(np.concatenate(parts))
    for order in itertools.islice(itertools.permutations(parts), 6):
        one, merged = HistogramObserver(), HistogramObserver()
        for part in order:
            one.observe(part)
            merged.merge(HistogramObserver().observe(part))
        if whole.total == 0:
            assert one.total == merged.total == 0
        else:
            assert state(one) == state(merged) == state(whole)


def test_histogram_is_the_same_on_every_instruction_set():
    x = np.random.default_rng(3).normal(size=10_001).astype(np.float32)
    states = []
    for level in tersor.supported_isas():
        tersor.force_isa(level)
        states.append(state(HistogramObserver().observe(x)))
    tersor.force_isa("")
    assert all(other == states[0] for other in states)


@pytest.mark.parametrize("make", [HistogramObserver, MinMaxObserver, MovingAverageObserver])
def test_observers_refuse_nan_and_keep_what_they_had(make):
    observer = make().observe([1.0, 2.0])
    before = observer.qparams()
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="must be finite"):
            observer.observe([0.0, bad])
    assert observer.qparams() == before


@pytest.mark.parametrize("make", [HistogramObserver, MinMaxObserver, MovingAverageObserver])
def test_observers_need_values(make):
    observer = make().observe(np.empty(0, np.float32))
    with pytest.raises(ValueError, match="must have been observed, got none"):
        observer.qparams()


def test_min_max_observer_merges():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 5, 4)).astype(np.float32)
    both = MinMaxObserver(1).observe(a).merge(MinMaxObserver(1).observe(b))
    assert both.ranges == MinMaxObserver(1).observe(np.concatenate([a, b])).ranges
    with pytest.raises(ValueError, match="must have 4 channels as before, got 3"):
        both.observe(np.zeros((2, 3), np.float32))


def test_moving_average_follows_its_formula():
    rng = np.random.default_rng(0)
    observer, lo, hi = MovingAverageObserver(0.1), 0.0, 0.0
    for step in range(20):
        x = rng.normal(size=50).astype(np.float32)
        observer.observe(x)
        rate = 1 if step == 0 else 0.1
        lo, hi = lo + rate * (float(x.min()) - lo), hi + rate * (float(x.max()) - hi)
    np.testing.assert_allclose(observer.range, (lo, hi), rtol=1e-6)
    with pytest.raises(ValueError, match=r"momentum must be in \(0, 1\], got 0"):
        MovingAverageObserver(0)


@pytest.mark.parametrize("percentile", [0.9, 0.99, 0.999, 1.0])
def test_percentile_of_a_histogram_is_within_a_bin(percentile):
    x = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    observer = HistogramObserver("percentile", percentile).observe(x)
    width = np.diff(observer.edges)[0]
    rank = int(np.ceil(percentile * x.size))
    q = observer.qparams(symmetric=False)
    hi, lo = np.sort(x)[rank - 1], np.sort(x)[x.size - rank]
    assert abs(q.scale[0] * 255 - (hi - lo)) <= 2 * width


@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_search_is_never_worse_and_better_with_outliers(symmetric):
    rng = np.random.default_rng(0)
    x = rng.normal(size=50_000).astype(np.float32)
    x[:3] = 30, -25, 28

    def error(method):
        q = HistogramObserver(method).observe(x).qparams(4, symmetric)
        return float(np.square(dequantize(quantize(x, q), q) - x, dtype=np.float64).sum())

    assert error("mse") < 0.3 * error("minmax")


def copies(value):
    return [
        copy.copy(value),
        copy.deepcopy(value),
        *(pickle.loads(pickle.dumps(value, protocol=p)) for p in (2, 3, 4, 5)),
    ]


@pytest.mark.parametrize("values", [[], [0.0], [-1.5, 2.0, 3e38], [1e-45, -1e-45]])
@pytest.mark.parametrize(
    "make",
    [
        MinMaxObserver,
        lambda: MinMaxObserver(0),
        lambda: MovingAverageObserver(0.25),
        HistogramObserver,
        lambda: HistogramObserver("percentile", 0.9),
    ],
)
def test_observers_travel(make, values):
    observer = make()
    assert observer == make()
    if values:
        observer.observe(values)
        assert observer != make()
    for twin in copies(observer):
        assert twin == observer
        more = [[4.0, -7.0, 1.0][: len(values) or 3]]
        for x in more:
            twin.observe(x)
        assert twin != observer  # nothing is shared
        assert twin == make().observe(values).observe(more[0])
    assert observer != "observer"
    with pytest.raises(TypeError, match="unhashable"):
        hash(observer)


@settings(max_examples=30, deadline=None)
@given(st.lists(arrays(np.float32, st.integers(0, 50), elements=FINITE), min_size=1, max_size=4))
def test_histograms_merge_exactly_after_their_journey(parts):
    whole, merged = HistogramObserver(), HistogramObserver()
    for part in parts:
        whole.observe(part)
        merged.merge(pickle.loads(pickle.dumps(HistogramObserver().observe(part))))
    assert merged == whole
    assert state(merged) == state(whole) if whole.total else merged.total == 0
    merged = pickle.loads(pickle.dumps(merged))
    assert merged.observe([1.0]) == whole.observe([1.0])


def test_observers_refuse_states_that_cannot_be():
    native = tersor._core.quantization.HistogramObserver
    good = HistogramObserver().observe([0.0, 1.0])._native.__getstate__()
    lo, hi, exponent, first, counts = good
    for bad in (
        (lo, hi, exponent, first),
        (hi, lo - 1, exponent, first, counts),
        (lo, float("nan"), exponent, first, counts),
        (lo, hi, exponent - 1, first, counts),
        (lo, hi, exponent, first + 1, counts),
        (lo, hi, exponent, first, [*counts, 1]),
    ):
        with pytest.raises(ValueError, match=r"HistogramObserver|histogram"):
            native.__new__(native).__setstate__(bad)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"bits": 4, "narrow": True, "axis": 0},
        {"bits": 3, "axis": (1, 2), "group_size": 7},
        {"bits": 2, "signed": False, "axis": 1, "zero_point_float": [0.25, -3.5]},
    ],
)
def test_qparams_travel(more):
    q = QParams(scale=[0.1, 1e-30], zero_point=[0, 0], **more)
    for twin in copies(q):
        assert twin == q
        assert (twin.axis, twin.group_size, twin.narrow) == (q.axis, q.group_size, q.narrow)
        assert twin.scale.tolist() == q.scale.tolist()
    assert copy.deepcopy(q) != QParams(scale=[0.1], zero_point=[0])


def test_unknown_method():
    with pytest.raises(
        ValueError, match="method must be minmax, percentile, mse or entropy, got 'median'"
    ):
        HistogramObserver("median")
