"""Every form of calibration data, and every refusal in one sentence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.data import DataError, Dataset, Preprocess, calibration_batches

X = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
Y = np.arange(10) % 3


def rows_of(batches):
    return np.concatenate(list(batches))


def test_every_form_gives_the_same_rows(tmp_path):
    np.save(tmp_path / "x.npy", X)
    halves = [X[:5], X[5:]]
    forms = [
        X,
        (X, Y),
        (X, Y.tolist()),
        Dataset.from_arrays(X, Y),
        tmp_path / "x.npy",
        str(tmp_path / "x.npy"),
        halves,
        iter(halves),
        [(half, Y[:5]) for half in halves],
        (half for half in halves),
        [[half, Y[:5]] for half in halves],
        tuple(halves),
        [half.tolist() for half in halves],
    ]
    for form in forms:
        rows = rows_of(calibration_batches(form, batch_size=3))
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, X)


def test_preprocessing_applies():
    prepare = Preprocess(1 / 255, 0.5, 0.25, "NCHW")
    rows = rows_of(calibration_batches(X, prepare, shape=(None, 3, 4, 4)))
    np.testing.assert_array_equal(rows, prepare(X))


@given(st.integers(1, 15), st.integers(1, 12), st.integers(0, 99))
def test_limit_draws_without_replacement(limit, size, seed):
    rows = rows_of(calibration_batches(X, limit=limit, batch_size=size, seed=seed))
    again = rows_of(calibration_batches((X, Y), limit=limit, batch_size=7, seed=seed))
    np.testing.assert_array_equal(rows, again)
    assert len(np.unique(rows, axis=0)) == len(rows) == min(limit, 10)


def test_limit_takes_the_first_of_an_iterable_and_stops_there():
    def batches():
        yield X[:4]
        yield X[4:8]
        raise AssertionError("read too far")

    np.testing.assert_array_equal(rows_of(calibration_batches(batches(), limit=6)), X[:6])


def test_mappings_for_networks_of_several_inputs():
    data = {"tokens": np.arange(6).reshape(3, 2), "scale": np.ones((3, 1))}
    batches = list(calibration_batches(data, batch_size=2))
    assert [len(batch["tokens"]) for batch in batches] == [2, 1]
    assert batches[0]["tokens"].dtype == np.int64
    assert batches[0]["scale"].dtype == np.float32
    assert len(list(calibration_batches([data, data]))) == 2
    assert sum(len(b["scale"]) for b in calibration_batches(data, limit=2)) == 2


def broken(value):
    x = np.zeros((4, 2), np.float32)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "calibration set is empty: give at least one sample"),
        (X[:0], "calibration set is empty"),
        ({}, "calibration set is empty"),
        ({"a": X[:0]}, "calibration set is empty"),
        (broken(np.nan), "calibration batch 0 has NaN, first in row 3"),
        (broken(np.inf), "calibration batch 0 has infinite values, first in row 3"),
        ({"a": broken(np.nan)}, "calibration batch 0, input 'a', has NaN"),
        ([np.zeros((2, 2)), broken(-np.inf)], "calibration batch 1 has infinite"),
        (np.full((1, 1), 1e300), "infinite values"),
        ([np.array(["a"])], "must be numeric"),
        ([np.float32(1)], r"must have a row per sample, got shape \(\)"),
        ([X[:0]], r"must have a row per sample, got shape \(0, 4, 4, 3\)"),
        ({"a": X, "b": X[:3]}, r"all inputs must have as many rows, got \[3, 10\]"),
        (3, "must be an array, a path or an iterable of batches, got int"),
    ],
)
# float64 beyond float32's range becomes infinite, which is the point of that case.
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_refused_data(data, message):
    with pytest.raises(DataError, match=message):
        list(calibration_batches(data))


def test_shapes_are_checked():
    with pytest.raises(DataError, match=r"has shape \(10, 4, 4, 3\), the network wants \(N, 3, 5"):
        list(calibration_batches(X, shape=(None, 3, 5, 5)))
    with pytest.raises(DataError, match="the channel axis is elsewhere, give a layout"):
        list(calibration_batches(X, shape=(None, 3, 4, 4)))
    with pytest.raises(DataError, match=r"the network wants \(N, 8\)"):
        list(calibration_batches(X, shape=(None, 8), what="evaluation"))
    assert list(calibration_batches(X, shape=(None, 4, None, 3)))


def test_arguments():
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        list(calibration_batches(X, limit=0))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        list(calibration_batches(X, batch_size=0))
    with pytest.raises(FileNotFoundError, match="data not found"):
        list(calibration_batches("nowhere.npz"))
