"""Slices, samples and limits of data sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.data import DataError, Dataset, as_dataset
from tersor.data import dataset as dataset_module

X = np.arange(30, dtype=np.uint8).reshape(10, 3)
Y = np.arange(10) % 4


@given(st.integers(1, 12), st.integers(1, 12))
def test_batches_partition_the_rows(count, size):
    data = Dataset.from_arrays(X[:count], Y[:count])
    batches = list(data.batches(size))
    assert all(1 <= len(x) <= size for x, _ in batches)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), X[:count])
    np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), Y[:count])


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_subset_and_sample(rows, seed, count):
    data = Dataset.from_arrays(X, Y, "abcd")
    part = data.subset(rows)
    np.testing.assert_array_equal(part.x, X[rows])
    assert part.y.tolist() == Y[rows].tolist()
    drawn = data.sample(count, seed=seed)
    assert len(drawn) == min(count, 10)
    firsts = drawn.x[:, 0].tolist()
    assert firsts == sorted(set(firsts))
    np.testing.assert_array_equal(drawn.x, data.sample(count, seed=seed).x)


def test_sample_draws_from_the_whole_set():
    data = Dataset.from_arrays(np.arange(1000).reshape(-1, 1))
    assert data.sample(50).x.max() > 900


def test_subsets_of_subsets_and_slices():
    data = Dataset.from_arrays(X, Y).subset(slice(2, None)).subset(np.arange(8) % 2 == 0)
    np.testing.assert_array_equal(data.x, X[2::2])


def test_from_arrays_does_not_copy():
    data = Dataset.from_arrays(X)
    assert np.shares_memory(next(data.batches(4))[0], X)


def test_refusals():
    data = Dataset.from_arrays(X, Y)
    with pytest.raises(DataError, match="is empty"):
        data.subset([])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        next(data.batches(0))
    with pytest.raises(ValueError, match="count must be at least 1"):
        data.sample(0)
    with pytest.raises(DataError, match="below the 3 classes, got 3"):
        Dataset.from_arrays(X, Y, "abc")


def test_x_is_bounded_and_batches_are_not(monkeypatch):
    monkeypatch.setattr(dataset_module, "MAX_ARRAY_BYTES", 29)
    data = Dataset.from_arrays(X)
    with pytest.raises(DataError, match=r"use batches\(\) or sample\(\)"):
        _ = data.x
    assert sum(len(x) for x, _ in data.batches(3)) == 10


def test_repr_says_what_it_is():
    data = Dataset.from_arrays(X, Y, "abcd", name="toy")
    assert repr(data) == "Dataset('toy', 10 x (3,) uint8, 4 classes)"


class Tensor:
    """What a tensor of a framework looks like from outside."""

    def __init__(self, array):
        self._array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._array


def test_as_dataset(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for form in (X, X.tolist(), Tensor(X), tmp_path / "x.npy", (X, Y), (Tensor(X), Tensor(Y))):
        np.testing.assert_array_equal(as_dataset(form).x, X)
    data = Dataset.from_arrays(X)
    assert as_dataset(data) is data
