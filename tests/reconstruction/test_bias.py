"""Biases from BatchNorm's statistics, against samples of the distributions that they assume."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tersor.reconstruction import (
    absorb_bias,
    absorbable_bias,
    analytic_bias_correction,
    clipped_normal_mean,
)


@given(
    st.floats(-5, 5),
    st.floats(-3, 3).filter(lambda s: abs(s) > 1e-3),
    st.sampled_from([(0.0, math.inf), (0.0, 6.0), (-math.inf, math.inf), (-1.0, 1.0)]),
)
def test_the_mean_of_clipped_normal_values(mean, std, bounds):
    # Midpoints of 20,001 equally likely slices, by the inverse of the distribution.
    x = np.linspace(-9, 9, 40_001)
    density = np.exp(-0.5 * x**2)
    values = np.clip(mean + std * x, *bounds)
    wanted = (values * density).sum() / density.sum()
    got = clipped_normal_mean([mean], [std], low=bounds[0], high=bounds[1])
    np.testing.assert_allclose(got, [wanted], atol=1e-5)


def test_constant_channels():
    got = clipped_normal_mean([-1.0, 2.0, 9.0], [0.0, 0.0, 0.0], high=6.0)
    np.testing.assert_array_equal(got, [0, 2, 6])


@pytest.mark.parametrize("kernel", [(), (3,), (3, 3)])
def test_correction_keeps_the_mean_output(kernel):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(4, 6, *kernel))
    rounded, mean = np.round(w, 1), rng.normal(size=6)
    shift = analytic_bias_correction(w, rounded, mean)
    x = mean.reshape(6, *[1] * len(kernel)) * np.ones((6, *kernel))
    wanted = (w * x).reshape(4, -1).sum(1) - (rounded * x).reshape(4, -1).sum(1)
    np.testing.assert_allclose(shift, wanted, rtol=1e-10)
    np.testing.assert_allclose(
        analytic_bias_correction(w, rounded, np.tile(mean, (4, 1))), wanted, rtol=1e-10
    )


def test_absorbing_keeps_the_function_where_the_relu_is_open():
    rng = np.random.default_rng(0)
    mean, std = np.array([6.0, 4.0, 0.5]), np.array([1.0, -1.0, 1.0])
    w, b = rng.normal(size=(2, 3)), rng.normal(size=2)
    part = absorbable_bias(mean, std)
    np.testing.assert_allclose(part, [3, 1, 0])
    bias, next_bias = absorb_bias(mean, w, b, part)
    noise = rng.normal(size=(10_000, 3)) * std
    before = np.maximum(noise + mean, 0) @ w.T + b
    after = np.maximum(noise + bias, 0) @ w.T + next_bias
    same = np.isclose(before, after).all(axis=1)
    assert same.mean() > 0.997  # three standard deviations on one side, two channels
    assert np.maximum(noise + bias, 0)[:, 0].max() < np.maximum(noise + mean, 0)[:, 0].max() - 2.9


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: clipped_normal_mean([0.0], [1.0], low=1.0, high=1.0), "low must be below high"),
        (lambda: clipped_normal_mean([math.nan], [1.0]), "mean must be finite, got nan"),
        (lambda: clipped_normal_mean([0.0], [math.inf]), "std must be finite, got inf"),
        (lambda: analytic_bias_correction([[1.0]], [[1.0, 2.0]], [0.0]), "rounded must have the"),
        (lambda: analytic_bias_correction([[1.0]], [[1.0]], [0.0, 1.0]), "input_mean must have"),
        (lambda: absorb_bias([1.0], [[1.0]], [0.0], [1.0, 2.0]), "part must have shape"),
        (lambda: absorb_bias([1.0], [[1.0, 2.0]], [0.0], [1.0]), "next_weight must have shape"),
        (lambda: absorbable_bias([math.nan], [0.0]), "mean must be finite, got nan"),
    ],
)
def test_errors_name_the_value(call, text):
    with pytest.raises(ValueError, match=text):
        call()
