"""Bootstrap intervals against resampling by hand."""

import numpy as np
import pytest

from tersor.report import bootstrap_accuracy, bootstrap_change


def test_accuracy_is_that_of_resampled_samples():
    random = np.random.default_rng(3)
    correct = random.random(400) < 0.8
    rows = random.integers(0, 400, (20_000, 400))
    low, high = np.quantile(correct[rows].mean(axis=1), [0.025, 0.975])
    found = bootstrap_accuracy(correct)
    assert found.low == pytest.approx(low, abs=0.004)
    assert found.high == pytest.approx(high, abs=0.004)
    assert found == bootstrap_accuracy(correct)


def test_change_is_drawn_in_pairs():
    random = np.random.default_rng(4)
    before = random.random(500) < 0.8
    after = before ^ (random.random(500) < 0.05)
    rows = random.integers(0, 500, (20_000, 500))
    change = after[rows].mean(axis=1) - before[rows].mean(axis=1)
    low, high = np.quantile(change, [0.025, 0.975])
    found = bootstrap_change(after, before)
    assert found.low == pytest.approx(low, abs=0.004)
    assert found.high == pytest.approx(high, abs=0.004)
    alone = bootstrap_accuracy(after)
    assert found.high - found.low < 0.7 * (alone.high - alone.low)


def test_ends():
    assert bootstrap_accuracy([True] * 7).low == 1
    assert bootstrap_accuracy([False]).high == 0
    found = bootstrap_change([True, True], [False, False])
    assert (found.low, found.high) == (1, 1)


def test_errors():
    with pytest.raises(ValueError, match="correct must have at least one sample, got none"):
        bootstrap_accuracy([])
    with pytest.raises(ValueError, match="baseline must have 2 samples, got 1"):
        bootstrap_change([True, True], [True])
    with pytest.raises(ValueError, match=r"level must be in \(0, 1\), got 1"):
        bootstrap_accuracy([True], level=1)
    with pytest.raises(ValueError, match="resamples must be at least 1, got 0"):
        bootstrap_accuracy([True], resamples=0)
