"""Minimum and maximum in one pass against NumPy; NaN and infinity are refused."""

import numpy as np
import pytest

from tersor import _core
from tersor.quantization import MinMaxObserver

SIZES = [1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 1000]


@pytest.mark.parametrize("n", SIZES)
def test_min_max_matches_numpy(isa, n):
    x = np.random.default_rng(n).normal(size=n).astype(np.float32)
    assert _core.quantization.min_max(x) == (x.min(), x.max())


@pytest.mark.parametrize("value", [3.5, -3.5, 0.0, 1e-45, np.finfo(np.float32).max])
def test_min_max_of_a_constant(isa, value):
    x = np.full(77, value, np.float32)
    assert _core.quantization.min_max(x) == (np.float32(value), np.float32(value))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n", SIZES)
def test_min_max_refuses_what_is_not_finite(isa, n, bad):
    for position in {0, n // 2, n - 1}:
        x = np.random.default_rng(n).normal(size=n).astype(np.float32)
        x[position] = bad
        with pytest.raises(ValueError, match="min_max: x must be finite, got"):
            _core.quantization.min_max(x)


def test_min_max_refuses_an_empty_array():
    with pytest.raises(ValueError, match="must not be empty"):
        _core.quantization.min_max(np.empty(0, np.float32))


@pytest.mark.parametrize("shape", [(5,), (3, 7), (4, 65, 3), (2, 3, 4, 33), (6, 1, 1)])
def test_ranges_per_axis_match_numpy(isa, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for axis in range(len(shape)):
        rest = tuple(d for d in range(len(shape)) if d != axis)
        expected = list(zip(x.min(rest).tolist(), x.max(rest).tolist(), strict=True))
        assert MinMaxObserver(axis).observe(x).ranges == expected


@pytest.mark.parametrize("shape", [(3, 70), (70, 3), (5, 2, 4)])
def test_nan_is_found_in_every_channel(isa, shape):
    for axis in range(len(shape)):
        for position in range(shape[axis]):
            x = np.zeros(shape, np.float32)
            np.moveaxis(x, axis, 0)[position].flat[-1] = np.nan
            with pytest.raises(ValueError, match="finite"):
                MinMaxObserver(axis).observe(x)
