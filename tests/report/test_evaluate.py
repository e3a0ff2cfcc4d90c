"""Accuracy, agreement and signal-to-noise ratio against hand-worked values."""

import math

import numpy as np
import pytest

from tersor.data import DataError, Dataset, Preprocess
from tersor.report.evaluate import (
    accuracy,
    prepare_dataset,
    run_batches,
    signal_to_noise_db,
    top1,
)
from tersor.zoo import load_digits_data, load_digits_network


def test_accuracy():
    outputs = np.float32([[0, 1, 0], [2, 1, 0], [1, 1, 0], [0, 0, 3]])
    assert top1(outputs).tolist() == [1, 0, 0, 2]
    assert accuracy(outputs, np.array([1, 0, 1, 2])) == 0.75
    with pytest.raises(DataError, match="labels must be below the 3 classes, got 3"):
        accuracy(outputs, np.array([0, 0, 0, 3]))
    with pytest.raises(DataError, match=r"outputs of shape \(n, classes\), got \(4,\)"):
        top1(outputs[:, 0])


def test_signal_to_noise():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    noisy = (x + 0.01 * np.random.default_rng(1).normal(size=1000)).astype(np.float32)
    assert signal_to_noise_db(noisy, x) == pytest.approx(40, abs=0.5)
    assert signal_to_noise_db(x, x) == math.inf
    assert signal_to_noise_db(x, np.zeros_like(x)) == -math.inf


def test_bytes_go_through_the_preprocessing_that_the_network_carries():
    graph, data = load_digits_network(), load_digits_data().subset(slice(5))
    (raw,) = prepare_dataset(data, graph)()
    assert raw.shape == (5, 1, 8, 8)
    assert raw.max() == 1
    ready = Dataset.from_arrays(raw, data.y)
    (same,) = prepare_dataset(ready, graph)()
    np.testing.assert_array_equal(same, raw)
    halved = Preprocess(1 / 32, layout="NCHW")
    (other,) = prepare_dataset(data, graph, halved)()
    np.testing.assert_array_equal(other, raw / 2)
    (same,) = prepare_dataset(ready, graph, halved)()
    np.testing.assert_array_equal(same, raw)


def test_shapes_are_checked():
    data = Dataset.from_arrays(np.zeros((2, 1, 8, 9), np.float32))
    with pytest.raises(DataError, match=r"evaluation \(data\) batch 0 has shape"):
        next(iter(prepare_dataset(data, load_digits_network())()))


def test_run_batches_joins_the_first_output():
    batches = [np.ones((2, 3), np.float32), np.zeros((1, 3), np.float32)]
    assert run_batches(lambda x: (x * 2, x), batches).tolist() == [[2, 2, 2], [2, 2, 2], [0, 0, 0]]
