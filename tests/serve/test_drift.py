"""Statistics of drift beside their textbook values and under what nothing changed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tersor.serve import ks_distance, population_stability
from tersor.serve.drift import _chi_square_tail


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 80), m=st.integers(1, 80))
def test_ks_distance_is_that_of_scipy(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, 30, n) / 7, rng.normal(1.5, 1, m).round(1)
    distance, p = ks_distance(a, b)
    assert distance == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert 0 <= p <= 1


@pytest.mark.parametrize(("n", "m"), [(256, 256), (512, 256), (4096, 256)])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 0.5])
def test_ks_p_values_are_close_to_the_exact_ones(n, m, shift):
    rng = np.random.default_rng(n + m)
    a, b = rng.normal(size=n), rng.normal(shift, 1, size=m)
    wanted = stats.ks_2samp(a, b, method="exact").pvalue
    got = ks_distance(a, b)[1]
    assert 0.5 * wanted < got < 1.6 * wanted + 1e-12


@pytest.mark.parametrize("degrees", range(1, 12))
@pytest.mark.parametrize("x", [0.1, 1.0, 5.0, 20.0, 90.0])
def test_chi_square_tail(degrees, x):
    assert _chi_square_tail(x, degrees) == pytest.approx(stats.chi2.sf(x, degrees), rel=1e-9)


def test_psi_by_hand():
    reference = np.repeat(np.arange(2), [500, 500])
    values = np.repeat(np.arange(2), [800, 200])
    index, p = population_stability(reference, values, categories=True)
    assert index == pytest.approx(0.3 * np.log(0.8 / 0.2), rel=0.01)
    assert p < 1e-30
    assert population_stability(values, values, categories=True) == (0.0, 1.0)


def test_p_values_of_unchanged_data_are_hardly_ever_small():
    rng = np.random.default_rng(0)
    small = {"ks": 0, "psi": 0, "class": 0}
    for _ in range(600):
        a, b = rng.gamma(2, size=600), rng.gamma(2, size=256)
        small["ks"] += ks_distance(a, b)[1] < 0.02
        small["psi"] += population_stability(a, b)[1] < 0.02
        small["class"] += population_stability(a // 1, b // 1, categories=True)[1] < 0.02
    # 12 expected; 24 is 3.5 standard deviations above.
    assert max(small.values()) <= 24
    assert small["ks"] >= 2


def test_ties_and_constants():
    assert ks_distance(np.zeros(50), np.zeros(50)) == (0.0, 1.0)
    assert population_stability(np.zeros(50), np.zeros(50)) == (0.0, 1.0)
    assert ks_distance(np.zeros(50), np.ones(50))[1] < 1e-20
    assert population_stability(np.zeros(500), np.ones(500))[0] > 5
    with pytest.raises(ValueError, match="must have values"):
        ks_distance([], [1.0])
