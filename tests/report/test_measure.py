"""Statistics against NumPy, and what is and is not timed."""

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.report import Latency, measure_latency, peak_rss_bytes


@given(st.lists(st.floats(1e-6, 10), min_size=1, max_size=200))
def test_statistics_match_numpy(times):
    latency = Latency.from_times(times, warmup=3, batch=4)
    assert latency.mean_s == pytest.approx(np.mean(times), rel=1e-12)
    assert latency.median_s == pytest.approx(np.median(times), rel=1e-12)
    assert latency.p95_s == np.quantile(times, 0.95, method="inverted_cdf")
    assert latency.min_s == min(times)
    assert latency.std_s == pytest.approx(np.std(times), rel=1e-9, abs=1e-12)
    assert latency.samples_per_s == pytest.approx(4 / np.mean(times))
    assert (latency.runs, latency.warmup) == (len(times), 3)


def test_only_counted_runs_are_timed():
    calls, now = [], [0.0]

    def run():
        assert not gc.isenabled()
        calls.append(1)
        now[0] += len(calls)

    latency = measure_latency(run, warmup=3, runs=4, clock=lambda: now[0])
    assert len(calls) == 7
    assert gc.isenabled()
    assert (latency.min_s, latency.median_s, latency.p95_s) == (4.0, 5.5, 7.0)


def test_the_collector_comes_back_after_an_error():
    with pytest.raises(ZeroDivisionError):
        measure_latency(lambda: 1 / 0)
    assert gc.isenabled()


@pytest.mark.parametrize("argument", [{"warmup": -1}, {"runs": 0}, {"batch": 0}])
def test_counts_are_checked(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        measure_latency(lambda: None, **argument)


def test_no_times():
    with pytest.raises(ValueError, match="at least one run"):
        Latency.from_times([], warmup=0)


def test_peak_memory_is_plausible_and_grows():
    before = peak_rss_bytes()
    assert 10 << 20 < before < 1 << 40
    block = np.ones(64 << 20, np.uint8)
    assert peak_rss_bytes() >= max(before, block.nbytes)
